//! What Kafka clients tell of themselves. Labels are the client (`publisher`, `replier`, `inbox`, or a
//! group with the number of its member), the broker's id, the topic and the partition.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::series::{Series, SeriesGauge};

/// Bucket bounds, in seconds, for what a rebalance takes.
const REBALANCE_BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

/// The instruments of all clients; cheap to clone.
#[derive(Clone, Debug)]
pub struct KafkaMetrics {
    broker_up: SeriesGauge,
    round_trip_mean: SeriesGauge,
    round_trip_p99: SeriesGauge,
    queued_records: SeriesGauge,
    queued_bytes: SeriesGauge,
    consumer_lag: SeriesGauge,
    request_timeouts: Counter<u64>,
    request_retries: Counter<u64>,
    rebalances: Counter<u64>,
    rebalance_duration: Histogram<f64>,
    commit_failures: Counter<u64>,
    rebuilds: Counter<u64>,
    misplaced: Counter<u64>,
}

/// What a client knows of a broker.
#[derive(Clone, Copy, Debug)]
pub struct BrokerSample {
    /// The broker's id.
    pub id: i32,
    /// Whether the client is connected to it.
    pub is_up: bool,
    /// Mean time of a request and its answer, of the last interval.
    pub round_trip_mean: Duration,
    /// The same time, which 99 of 100 requests stayed below.
    pub round_trip_p99: Duration,
    /// Requests without an answer in time, since the client began.
    pub timeouts: u64,
    /// Requests sent again, since the client began.
    pub retries: u64,
}

/// A part of a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalancePhase {
    /// From new partitions to the first record of them, or to knowing that there is none.
    Assign,
    /// From partitions asked back to their being given back.
    Revoke,
}

/// The series of one client; told for as long as this is held.
#[derive(Debug)]
pub struct KafkaClientMetrics {
    metrics: KafkaMetrics,
    client: KeyValue,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    brokers: BTreeMap<i32, BrokerSeries>,
    queue: Option<(Arc<Series>, Arc<Series>)>,
    lag: BTreeMap<(String, i32), Arc<Series>>,
    rebalances: u64,
}

#[derive(Debug)]
struct BrokerSeries {
    up: Arc<Series>,
    round_trip_mean: Arc<Series>,
    round_trip_p99: Arc<Series>,
    timeouts: u64,
    retries: u64,
}

impl KafkaMetrics {
    /// Creates the instruments on a meter.
    pub(super) fn create(meter: &Meter) -> Self {
        let gauge =
            |name, unit, description| SeriesGauge::create(meter, name, unit, description, |value| value);
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        Self {
            broker_up: gauge(
                "penstock.kafka.broker.up",
                "",
                "1 while the client is connected to the broker.",
            ),
            round_trip_mean: gauge(
                "penstock.kafka.broker.round_trip.mean",
                "s",
                "Mean time of a request and its answer.",
            ),
            round_trip_p99: gauge(
                "penstock.kafka.broker.round_trip.p99",
                "s",
                "Time of a request and its answer, 99th percentile.",
            ),
            queued_records: gauge(
                "penstock.kafka.producer.queue.records",
                "",
                "Records that wait for acknowledgement.",
            ),
            queued_bytes: gauge(
                "penstock.kafka.producer.queue",
                "By",
                "Bytes of records that wait for acknowledgement.",
            ),
            consumer_lag: gauge(
                "penstock.kafka.consumer.lag",
                "",
                "Records after the committed offset, by partition of the member.",
            ),
            request_timeouts: counter(
                "penstock.kafka.request.timeouts",
                "Requests without an answer in time.",
            ),
            request_retries: counter("penstock.kafka.request.retries", "Requests sent again."),
            rebalances: counter(
                "penstock.kafka.consumer.rebalances",
                "Rebalances the member took part in.",
            ),
            rebalance_duration: meter
                .f64_histogram("penstock.kafka.consumer.rebalance.duration")
                .with_unit("s")
                .with_description(
                    "Time from new partitions to their first record (assign) and from partitions asked \
                     back to their being given back (revoke).",
                )
                .with_boundaries(REBALANCE_BUCKETS.to_vec())
                .build(),
            commit_failures: counter(
                "penstock.kafka.consumer.commit.failures",
                "Commits of offsets that failed.",
            ),
            rebuilds: counter("penstock.kafka.client.rebuilds", "Clients replaced, by reason."),
            misplaced: counter(
                "penstock.kafka.consumer.misplaced",
                "Records read from another partition than their key belongs to.",
            ),
        }
    }

    /// The series of one client, by the name it has in labels.
    pub fn client(&self, client: impl Into<String>) -> KafkaClientMetrics {
        let client = KeyValue::new("client", client.into());
        KafkaClientMetrics { metrics: self.clone(), client, state: Mutex::default() }
    }
}

impl KafkaClientMetrics {
    /// What the client knows of its brokers, all of them.
    pub fn brokers(&self, samples: &[BrokerSample]) {
        let mut state = self.lock();
        state.brokers.retain(|id, _| samples.iter().any(|sample| sample.id == *id));
        for sample in samples {
            let labels = [self.client.clone(), KeyValue::new("broker", i64::from(sample.id))];
            let series = state.brokers.entry(sample.id).or_insert_with(|| self.begin_broker(&labels));
            series.up.set(if sample.is_up { 1.0 } else { 0.0 });
            series.round_trip_mean.set(sample.round_trip_mean.as_secs_f64());
            series.round_trip_p99.set(sample.round_trip_p99.as_secs_f64());
            let timeouts = sample.timeouts.saturating_sub(series.timeouts);
            let retries = sample.retries.saturating_sub(series.retries);
            self.metrics.request_timeouts.add(timeouts, &labels);
            self.metrics.request_retries.add(retries, &labels);
            (series.timeouts, series.retries) = (sample.timeouts, sample.retries);
        }
    }

    fn begin_broker(&self, labels: &[KeyValue]) -> BrokerSeries {
        BrokerSeries {
            up: self.metrics.broker_up.begin(labels.to_vec()),
            round_trip_mean: self.metrics.round_trip_mean.begin(labels.to_vec()),
            round_trip_p99: self.metrics.round_trip_p99.begin(labels.to_vec()),
            timeouts: 0,
            retries: 0,
        }
    }

    /// What waits for acknowledgement.
    #[allow(clippy::cast_precision_loss, reason = "a gauge of what fits into memory")]
    pub fn queue(&self, records: u64, bytes: u64) {
        let mut state = self.lock();
        let (queued_records, queued_bytes) = state.queue.get_or_insert_with(|| {
            let labels = vec![self.client.clone()];
            let records = self.metrics.queued_records.begin(labels.clone());
            (records, self.metrics.queued_bytes.begin(labels))
        });
        queued_records.set(records as f64);
        queued_bytes.set(bytes as f64);
    }

    /// Records after the committed offset, of all partitions the member has.
    #[allow(clippy::cast_precision_loss, reason = "a gauge needs no more")]
    pub fn lag(&self, partitions: &[(String, i32, u64)]) {
        let mut state = self.lock();
        let is_there = |(topic, number): &(String, i32)| {
            partitions.iter().any(|(known, partition, _)| known == topic && partition == number)
        };
        state.lag.retain(|key, _| is_there(key));
        for (topic, partition, lag) in partitions {
            let series = state.lag.entry((topic.clone(), *partition)).or_insert_with(|| {
                self.metrics.consumer_lag.begin(vec![
                    self.client.clone(),
                    KeyValue::new("topic", topic.clone()),
                    KeyValue::new("partition", i64::from(*partition)),
                ])
            });
            series.set(*lag as f64);
        }
    }

    /// Rebalances since the client began.
    pub fn rebalances(&self, total: u64) {
        let mut state = self.lock();
        let new = total.saturating_sub(state.rebalances);
        state.rebalances = total;
        self.metrics.rebalances.add(new, std::slice::from_ref(&self.client));
    }

    /// A part of a rebalance took `duration`.
    pub fn rebalanced(&self, phase: RebalancePhase, duration: Duration) {
        let phase = match phase {
            RebalancePhase::Assign => "assign",
            RebalancePhase::Revoke => "revoke",
        };
        let labels = [self.client.clone(), KeyValue::new("phase", phase)];
        self.metrics.rebalance_duration.record(duration.as_secs_f64(), &labels);
    }

    /// A commit failed.
    pub fn commit_failed(&self) {
        self.metrics.commit_failures.add(1, std::slice::from_ref(&self.client));
    }

    /// A record is on another partition than its key belongs to.
    pub fn misplaced(&self) {
        self.metrics.misplaced.add(1, std::slice::from_ref(&self.client));
    }

    /// The client was replaced.
    pub fn rebuilt(&self, reason: &'static str) {
        self.metrics.rebuilds.add(1, &[self.client.clone(), KeyValue::new("reason", reason)]);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
