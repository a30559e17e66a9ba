//! The metrics of callbacks. Endpoints are labels: there are few, and their names are the operator's.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::series::{Series, SeriesGauge};

/// Bucket bounds, in seconds, for an attempt.
const ATTEMPT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// The instruments; cheap to clone.
#[derive(Clone, Debug)]
pub struct CallbackMetrics {
    attempts: Counter<u64>,
    attempt_duration: Histogram<f64>,
    ends: Counter<u64>,
    lag_records: SeriesGauge,
    backlog: SeriesGauge,
    backlog_age: SeriesGauge,
    breaker_open: SeriesGauge,
    active: SeriesGauge,
    quiet: SeriesGauge,
    operational_events: Counter<u64>,
    operator_reports: Counter<u64>,
    handshakes: Counter<u64>,
    retries: Counter<u64>,
}

/// How far one deliverer is behind; told for as long as this is held.
#[derive(Debug)]
pub struct DelivererLag(Arc<Series>);

impl DelivererLag {
    /// How many events of its partitions are still to be polled.
    #[allow(clippy::cast_precision_loss, reason = "a gauge")]
    pub fn set(&self, records: u64) {
        self.0.set(records as f64);
    }
}

/// What is parked for an endpoint; told for as long as this is held.
#[derive(Debug)]
pub struct BacklogGauges {
    count: Arc<Series>,
    age: Arc<Series>,
}

impl BacklogGauges {
    /// So many deliveries are parked, the oldest for so long.
    #[allow(clippy::cast_precision_loss, reason = "a gauge")]
    pub fn set(&self, count: u64, age: Duration) {
        self.count.set(count as f64);
        self.age.set(age.as_secs_f64());
    }
}

/// How an endpoint stands as one process knows it; told for as long as this is held.
#[derive(Debug)]
pub struct EndpointGauges {
    breaker_open: Arc<Series>,
    active: Arc<Series>,
    quiet: Arc<Series>,
}

impl EndpointGauges {
    /// Whether it is to be used, whether it seems to work, and how long it still wants to be left alone.
    pub fn set(&self, is_active: bool, is_breaker_open: bool, quiet: Duration) {
        self.quiet.set(quiet.as_secs_f64());
        self.active.set(f64::from(u8::from(is_active)));
        self.breaker_open.set(f64::from(u8::from(is_breaker_open)));
    }
}

impl CallbackMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, description: &'static str| {
            meter.u64_counter(name).with_description(description).build()
        };
        let gauge = |name: &'static str, unit: &'static str, description: &'static str| {
            SeriesGauge::create(meter, name, unit, description, |value| value)
        };
        Self {
            attempts: counter(
                "penstock.callbacks.attempts",
                "Requests to endpoints, by endpoint and HTTP status; none without an answer.",
            ),
            attempt_duration: meter
                .f64_histogram("penstock.callbacks.attempt.duration")
                .with_unit("s")
                .with_description("Time of a request, by endpoint.")
                .with_boundaries(ATTEMPT_BUCKETS.to_vec())
                .build(),
            ends: counter(
                "penstock.callbacks.deliveries",
                "Deliveries recorded, by endpoint and state; repeated ones were recorded before. Not recorded at all \
                 are skipped ones, as the endpoint is disabled, and early ones, as it gets events from later on.",
            ),
            lag_records: gauge(
                "penstock.callbacks.lag.records",
                "",
                "Events appended but not yet polled, of the partitions of this process.",
            ),
            backlog: gauge(
                "penstock.callbacks.backlog",
                "",
                "Parked deliveries, by endpoint; told by one process for all.",
            ),
            backlog_age: gauge(
                "penstock.callbacks.backlog.age",
                "s",
                "Age of the oldest parked delivery, by endpoint; told by one process for all.",
            ),
            breaker_open: gauge(
                "penstock.callbacks.breaker.open",
                "",
                "1 while an endpoint's breaker is open, by endpoint; each process tells what it knows.",
            ),
            active: gauge(
                "penstock.callbacks.endpoint.active",
                "",
                "1 unless an endpoint is paused or disabled, by endpoint; each process tells what it knows.",
            ),
            quiet: gauge(
                "penstock.callbacks.endpoint.quiet",
                "s",
                "How long an endpoint still wants to be left alone, by endpoint.",
            ),
            operational_events: counter(
                "penstock.callbacks.operational_events",
                "Endpoints that failed, answered 410, recovered or had deliveries given up, by endpoint and event.",
            ),
            operator_reports: counter(
                "penstock.callbacks.operator.reports",
                "Reports to callbacks.operator.url, by outcome: told or lost.",
            ),
            handshakes: counter(
                "penstock.callbacks.handshakes",
                "Receivers asked for their consent, by endpoint and outcome: granted, denied or failed.",
            ),
            retries: counter("penstock.callbacks.retries", "Steps tried again, by reason."),
        }
    }

    /// A request was answered with `status`, or not at all.
    pub fn attempt(&self, endpoint: &str, status: Option<u16>, duration: Duration) {
        let endpoint = KeyValue::new("endpoint", endpoint.to_owned());
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.attempt_duration.record(duration.as_secs_f64(), std::slice::from_ref(&endpoint));
        self.attempts.add(1, &[endpoint, KeyValue::new("status", status)]);
    }

    /// A delivery was recorded in `state`.
    pub fn ended(&self, endpoint: &str, state: &'static str) {
        let endpoint = KeyValue::new("endpoint", endpoint.to_owned());
        self.ends.add(1, &[endpoint, KeyValue::new("state", state)]);
    }

    /// Tells from now on how far a deliverer is behind.
    pub fn deliverer_lag(&self) -> DelivererLag {
        let lag = DelivererLag(self.lag_records.begin(Vec::new()));
        lag.set(0);
        lag
    }

    /// Tells from now on how an endpoint stands.
    pub fn endpoint(&self, endpoint: &str) -> EndpointGauges {
        let labels = || vec![KeyValue::new("endpoint", endpoint.to_owned())];
        let gauges = EndpointGauges {
            breaker_open: self.breaker_open.begin(labels()),
            active: self.active.begin(labels()),
            quiet: self.quiet.begin(labels()),
        };
        gauges.set(true, false, Duration::ZERO);
        gauges
    }

    /// Tells from now on what is parked for an endpoint, which one process does for all.
    pub fn backlog(&self, endpoint: &str) -> BacklogGauges {
        let labels = || vec![KeyValue::new("endpoint", endpoint.to_owned())];
        BacklogGauges { count: self.backlog.begin(labels()), age: self.backlog_age.begin(labels()) }
    }

    /// Operators are told of an endpoint.
    pub fn operational_event(&self, endpoint: &str, event: &'static str) {
        let endpoint = KeyValue::new("endpoint", endpoint.to_owned());
        self.operational_events.add(1, &[endpoint, KeyValue::new("event", event)]);
    }

    /// A report to operators has ended: `told` or `lost`.
    pub fn operator_report(&self, outcome: &'static str) {
        self.operator_reports.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A receiver was asked for its consent: `granted`, `denied` or `failed`.
    pub fn handshake(&self, endpoint: &str, outcome: &'static str) {
        let endpoint = KeyValue::new("endpoint", endpoint.to_owned());
        self.handshakes.add(1, &[endpoint, KeyValue::new("outcome", outcome)]);
    }

    /// A step is tried again.
    pub fn retried(&self, reason: &'static str) {
        self.retries.add(1, &[KeyValue::new("reason", reason)]);
    }
}
