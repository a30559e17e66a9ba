//! How far a lane is behind. The age is computed when somebody asks, so that it grows while the lane
//! stands still.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::account::Timestamp;

use super::pulse::{Pulse, Pulses};
use super::series::{Series, SeriesGauge};

/// What a caught-up lane's oldest submission is set to.
const NONE: f64 = f64::INFINITY;

/// The instruments of all lanes.
#[derive(Clone, Debug)]
pub(super) struct LagGauges {
    records: SeriesGauge,
    age: SeriesGauge,
    pulses: Pulses,
}

/// How far one lane is behind; told for as long as this is held.
#[derive(Debug)]
pub struct LaneLag {
    records: Arc<Series>,
    oldest_millis: Arc<Series>,
    pulse: Arc<Pulse>,
}

impl LagGauges {
    /// The instruments on a meter; lanes that stand still are missed among `pulses`.
    pub(super) fn create(meter: &Meter, pulses: Pulses) -> Self {
        Self {
            pulses,
            records: SeriesGauge::create(
                meter,
                "penstock.worker.lag.records",
                "",
                "Submissions appended but not yet polled, by lane.",
                |records| records,
            ),
            age: SeriesGauge::create(
                meter,
                "penstock.worker.lag",
                "s",
                "Age of the oldest submission that is polled but not done, by lane.",
                age_seconds,
            ),
        }
    }

    pub(super) fn begin(&self, lane: usize) -> LaneLag {
        let labels = vec![KeyValue::new("lane", i64::try_from(lane).unwrap_or(i64::MAX))];
        let lag = LaneLag {
            records: self.records.begin(labels.clone()),
            oldest_millis: self.age.begin(labels),
            pulse: self.pulses.begin(format!("lane {lane}")),
        };
        lag.caught_up();
        lag
    }
}

impl LaneLag {
    /// The lane has `records` still to poll, and works on submissions of which the oldest was appended
    /// at `oldest`.
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of this epoch are exact")]
    pub fn works(&self, records: u64, oldest: Timestamp) {
        self.pulse.beat();
        self.records.set(records as f64);
        self.oldest_millis.set(oldest.unix_millis() as f64);
    }

    /// The lane was brought nothing although `records` are still to be polled: they are at least as old
    /// as what it worked on last, or as the first time this happened.
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of this epoch are exact")]
    pub fn waits(&self, records: u64) {
        if records == 0 {
            return self.caught_up();
        }
        self.records.set(records as f64);
        if self.oldest_millis.get() == Some(NONE) {
            self.oldest_millis.set(now_millis());
        }
    }

    /// Nothing is left to do.
    pub fn caught_up(&self) {
        self.pulse.beat();
        self.records.set(0.0);
        self.oldest_millis.set(NONE);
    }
}

/// Zero for what seems to come from the future, and for nothing.
fn age_seconds(oldest_millis: f64) -> f64 {
    ((now_millis() - oldest_millis) / 1_000.0).max(0.0)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of this epoch are exact")]
fn now_millis() -> f64 {
    Timestamp::from(SystemTime::now()).unix_millis() as f64
}
