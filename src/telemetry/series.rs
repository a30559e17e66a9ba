//! Gauges whose series come and go: each is told for as long as somebody holds it, so that nothing is
//! told of what is no longer there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

/// A gauge of any number of series.
#[derive(Clone, Debug, Default)]
pub(super) struct SeriesGauge(Arc<Mutex<Vec<Weak<Series>>>>);

/// One series; dropping it ends it.
#[derive(Debug)]
pub(super) struct Series {
    labels: Vec<KeyValue>,
    /// The bits of a number; of NaN while there is nothing to tell.
    value: AtomicU64,
}

impl SeriesGauge {
    /// Creates the gauge on a meter. `read` makes of what a series was set to what is told when
    /// somebody asks.
    pub(super) fn create(
        meter: &Meter,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        read: fn(f64) -> f64,
    ) -> Self {
        let gauge = Self::default();
        let told = gauge.clone();
        let _registered = meter
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |instrument| told.tell(instrument, read))
            .build();
        gauge
    }

    /// Begins a series, which tells nothing before it is set.
    pub(super) fn begin(&self, labels: Vec<KeyValue>) -> Arc<Series> {
        let series = Arc::new(Series { labels, value: AtomicU64::new(f64::NAN.to_bits()) });
        self.lock().push(Arc::downgrade(&series));
        series
    }

    fn tell(&self, instrument: &dyn AsyncInstrument<f64>, read: fn(f64) -> f64) {
        self.lock().retain(|series| {
            let Some(series) = series.upgrade() else { return false };
            if let Some(value) = series.get() {
                instrument.observe(read(value), &series.labels);
            }
            true
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Series>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    pub(super) fn set(&self, value: f64) {
        self.value.store(value.to_bits(), Ordering::Release);
    }

    pub(super) fn get(&self) -> Option<f64> {
        let value = f64::from_bits(self.value.load(Ordering::Acquire));
        (!value.is_nan()).then_some(value)
    }
}
