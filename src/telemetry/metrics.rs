//! Every metric of penstock: its name, unit and labels, in one place. Labels have few values; numbers,
//! keys and other data of a communication are never among them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use crate::account::Verdict;

use super::callbacks::CallbackMetrics;
use super::calls::CallMetrics;
use super::kafka::KafkaMetrics;
use super::lag::{LagGauges, LaneLag};
use super::pulse::{Pulse, Pulses};

/// Bucket bounds, in seconds, for what a client waits for.
const LATENCY_BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The instruments; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    items_accepted: Counter<u64>,
    batches: Counter<u64>,
    batch_duration: Histogram<f64>,
    bytes_in_flight: UpDownCounter<i64>,
    outcomes: Counter<u64>,
    repeated: Counter<u64>,
    dead_letters: Counter<u64>,
    lag: LagGauges,
    pulses: Pulses,
    store_duration: Histogram<f64>,
    retries: Counter<u64>,
    pub(super) calls: CallMetrics,
    kafka: KafkaMetrics,
    callbacks: CallbackMetrics,
}

impl Metrics {
    /// Creates the instruments on a meter.
    pub fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, description: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(LATENCY_BUCKETS.to_vec())
                .build()
        };
        let counter = |name: &'static str, description: &'static str| {
            meter.u64_counter(name).with_description(description).build()
        };
        let pulses = Pulses::default();
        Self {
            items_accepted: counter("penstock.intake.accepted.items", "Items durably queued."),
            batches: counter("penstock.intake.batches", "Batches answered, by HTTP status."),
            batch_duration: seconds("penstock.intake.batch.duration", "Time from request to answer."),
            bytes_in_flight: meter
                .i64_up_down_counter("penstock.intake.in_flight")
                .with_unit("By")
                .with_description("Bytes of requests that are being worked on.")
                .build(),
            outcomes: counter("penstock.worker.outcomes", "Submissions decided, by code."),
            repeated: counter(
                "penstock.worker.repeated",
                "Submissions that got their first outcome again.",
            ),
            dead_letters: counter("penstock.worker.dead_letters", "Records put aside, by reason."),
            lag: LagGauges::create(meter, pulses.clone()),
            pulses,
            store_duration: seconds("penstock.store.operation.duration", "Time of a store operation."),
            retries: counter("penstock.worker.retries", "Batches tried again, by reason."),
            calls: CallMetrics::new(meter),
            kafka: KafkaMetrics::create(meter),
            callbacks: CallbackMetrics::new(meter),
        }
    }

    /// Instruments that record nothing.
    pub fn disabled() -> Self {
        use opentelemetry::metrics::MeterProvider;
        Self::new(&opentelemetry::metrics::noop::NoopMeterProvider::new().meter("penstock"))
    }

    /// `items` were durably queued.
    pub fn items_accepted(&self, items: usize) {
        self.items_accepted.add(items as u64, &[]);
    }

    /// A batch was answered with `status` after `duration`.
    pub fn batch_answered(&self, status: u16, duration: Duration) {
        self.batches.add(1, &[KeyValue::new("status", i64::from(status))]);
        self.batch_duration.record(duration.as_secs_f64(), &[]);
    }

    /// The bytes in flight changed by `delta`.
    pub fn bytes_in_flight(&self, delta: i64) {
        self.bytes_in_flight.add(delta, &[]);
    }

    /// `count` submissions were decided so for the first time.
    pub fn outcomes(&self, verdict: Verdict, count: u64) {
        self.outcomes.add(count, &[KeyValue::new("code", verdict.as_str())]);
    }

    /// `count` submissions got their first outcome again.
    pub fn repeated(&self, count: u64) {
        self.repeated.add(count, &[]);
    }

    /// `count` records were put aside.
    pub fn dead_letters(&self, reason: &'static str, count: u64) {
        self.dead_letters.add(count, &[KeyValue::new("reason", reason)]);
    }

    /// Tells from now on how far a lane is behind.
    pub fn lane_lag(&self, lane: usize) -> LaneLag {
        self.lag.begin(lane)
    }

    /// Begins the life of a loop that is missed when it stands still; a lane's begins with its lag.
    pub fn pulse(&self, of: &str) -> Arc<Pulse> {
        self.pulses.begin(of.to_owned())
    }

    /// The loop that has stood still for longest although there was something to do, and for how long,
    /// when that is longer than `limit`.
    pub fn missed(&self, limit: Duration) -> Option<(String, Duration)> {
        self.pulses.missed(limit)
    }

    /// The instruments of Kafka clients.
    pub fn kafka(&self) -> &KafkaMetrics {
        &self.kafka
    }

    /// A store operation took `duration`.
    pub fn store_operation(&self, operation: &'static str, duration: Duration) {
        self.store_duration.record(duration.as_secs_f64(), &[KeyValue::new("operation", operation)]);
    }

    /// A batch is tried again.
    pub fn retried(&self, reason: &'static str) {
        self.retries.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// What callbacks measure.
    pub fn callbacks(&self) -> &CallbackMetrics {
        &self.callbacks
    }
}
