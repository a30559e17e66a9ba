//! Metrics as Prometheus reads them, with those of the process itself.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

use super::otlp::{DROPPED, Otlp};
use super::{Metrics, TelemetryError, semantic};

/// Where metrics gather until they are read; cheap to clone.
#[derive(Clone, Debug)]
pub struct Exporter {
    registry: Registry,
    provider: SdkMeterProvider,
    metrics: Metrics,
}

impl Exporter {
    /// Starts to gather. `version` and `commit` become labels of `penstock_build_info`.
    pub fn start(version: &'static str, commit: &'static str) -> Result<Self, OTelSdkError> {
        Self::gather(SdkMeterProvider::builder(), version, commit)
    }

    /// Starts to gather, and to export what is gathered if that is to be.
    pub(super) fn start_with(
        version: &'static str,
        commit: &'static str,
        otlp: &mut Otlp,
    ) -> Result<Self, TelemetryError> {
        let mut builder = SdkMeterProvider::builder().with_resource(otlp.resource());
        if let Some(reader) = otlp.metric_reader()? {
            builder = builder.with_reader(reader);
        }
        let exporter = Self::gather(builder, version, commit)?;
        observe_dropped(&exporter.provider.meter_with_scope(semantic::scope()), otlp);
        Ok(exporter)
    }

    fn gather(
        builder: MeterProviderBuilder,
        version: &'static str,
        commit: &'static str,
    ) -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let provider = builder.with_reader(reader).build();
        let meter = provider.meter_with_scope(semantic::scope());
        observe_process(&meter, version, commit);
        let metrics = Metrics::new(&meter);
        Ok(Self { registry, provider, metrics })
    }

    pub(super) fn meters(&self) -> SdkMeterProvider {
        self.provider.clone()
    }

    /// Tells from now on how many lines the log has dropped.
    pub(super) fn observe_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        let _registered = self
            .provider
            .meter_with_scope(semantic::scope())
            .u64_observable_counter("penstock.log.dropped")
            .with_description("Lines of the log that were dropped because nobody read them in time.")
            .with_callback(move |counter| counter.observe(dropped(), &[]))
            .build();
    }

    /// The instruments that are gathered here.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// What could not be exported.
fn observe_dropped(meter: &Meter, otlp: &Otlp) {
    let dropped = otlp.dropped();
    let _registered = meter
        .u64_observable_counter(DROPPED)
        .with_description("Spans, points of metrics and lines of the log that could not be exported.")
        .with_callback(move |counter| {
            for (signal, count) in dropped() {
                counter.observe(count, &[KeyValue::new("signal", signal.name())]);
            }
        })
        .build();
}

/// Gauges that are read when somebody asks; their callbacks live as long as the provider.
fn observe_process(meter: &Meter, version: &'static str, commit: &'static str) {
    let labels = [KeyValue::new("version", version), KeyValue::new("commit", commit)];
    let _registered = meter
        .u64_observable_gauge("penstock.build.info")
        .with_description("1, with what the binary is made of.")
        .with_callback(move |gauge| gauge.observe(1, &labels))
        .build();
    let _registered = meter
        .u64_observable_gauge("process.resident_memory")
        .with_unit("By")
        .with_description("Memory of the process that is in RAM.")
        .with_callback(|gauge| {
            if let Some(bytes) = resident_bytes() {
                gauge.observe(bytes, &[]);
            }
        })
        .build();
}

/// What Linux says; nothing elsewhere.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant, SystemTime};

    use futures_util::FutureExt;

    use super::*;
    use crate::account::{RejectionCode, Timestamp, Verdict};
    use crate::telemetry::{BrokerSample, QueueUse, RebalancePhase, ServedRequest, StoreCall};

    fn an_hour_ago() -> Timestamp {
        Timestamp::from(SystemTime::now() - Duration::from_hours(1))
    }

    fn broker(id: i32, timeouts: u64) -> BrokerSample {
        BrokerSample {
            id,
            is_up: true,
            round_trip_mean: Duration::from_millis(2),
            round_trip_p99: Duration::from_millis(8),
            timeouts,
            retries: 1,
        }
    }

    fn rendered() -> String {
        let exporter = Exporter::start("1.2.3", "abc").unwrap();
        exporter.observe_log(|| 4);
        let metrics = exporter.metrics();
        metrics.items_accepted(3);
        metrics.batch_answered(200, Duration::from_millis(4));
        metrics.bytes_in_flight(10);
        metrics.outcomes(Verdict::Accepted, 2);
        metrics.outcomes(Verdict::Rejected(RejectionCode::A001), 1);
        metrics.repeated(1);
        metrics.dead_letters("malformed", 1);
        let lag = metrics.lane_lag(0);
        lag.works(7, an_hour_ago());
        let client = metrics.kafka().client("workers-0");
        client.brokers(&[broker(1, 3)]);
        client.brokers(&[broker(1, 5)]);
        client.queue(4, 2_000);
        client.lag(&[("accounts.submitted".to_owned(), 2, 9)]);
        client.rebalances(2);
        client.rebalanced(RebalancePhase::Assign, Duration::from_millis(300));
        client.commit_failed();
        client.misplaced();
        client.rebuilt("stalled");
        metrics.store_operation("apply", Duration::from_millis(3));
        metrics.retried("store");
        every_call(&metrics);
        exporter.render().unwrap()
    }

    /// Calls are async for the sake of what they measure; nothing here waits.
    fn every_call(metrics: &Metrics) {
        let done = || std::future::ready(Ok::<_, ()>(()));
        let topic = QueueUse { system: "kafka", topic: "accounts.submitted" };
        let call = StoreCall { system: "postgresql", operation: "load", collection: None };
        topic.polled(metrics, 1, &[], Duration::from_millis(1));
        topic.processed(metrics, Duration::from_millis(1));
        ServedRequest::start(metrics, Some("GET"), Some("/a/{b}"), None).answered(metrics, 503);
        let calls = async {
            topic.send(metrics, topic.send_span(1), 1, done(), |_| Some("overloaded")).await.unwrap();
            topic.commit(metrics, None, done(), |()| "unavailable").await.unwrap();
            call.measure(metrics, done(), |()| "unavailable").await.unwrap();
        };
        assert!(calls.now_or_never().is_some());
    }

    #[test]
    fn every_metric_has_the_name_that_dashboards_know() {
        let text = rendered();
        let names: BTreeSet<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let expected = [
            "db_client_operation_duration_seconds",
            "http_server_active_requests",
            "http_server_request_duration_seconds",
            "messaging_client_consumed_messages_total",
            "messaging_client_operation_duration_seconds",
            "messaging_client_sent_messages_total",
            "messaging_process_duration_seconds",
            "penstock_build_info",
            "penstock_intake_accepted_items_total",
            "penstock_intake_batch_duration_seconds",
            "penstock_intake_batches_total",
            "penstock_intake_in_flight_bytes",
            "penstock_kafka_broker_round_trip_mean_seconds",
            "penstock_kafka_broker_round_trip_p99_seconds",
            "penstock_kafka_broker_up",
            "penstock_kafka_client_rebuilds_total",
            "penstock_kafka_consumer_commit_failures_total",
            "penstock_kafka_consumer_lag",
            "penstock_kafka_consumer_misplaced_total",
            "penstock_kafka_consumer_rebalance_duration_seconds",
            "penstock_kafka_consumer_rebalances_total",
            "penstock_kafka_producer_queue_bytes",
            "penstock_kafka_producer_queue_records",
            "penstock_kafka_request_retries_total",
            "penstock_kafka_request_timeouts_total",
            "penstock_log_dropped_total",
            "penstock_store_operation_duration_seconds",
            "penstock_worker_dead_letters_total",
            "penstock_worker_lag_records",
            "penstock_worker_lag_seconds",
            "penstock_worker_outcomes_total",
            "penstock_worker_repeated_total",
            "penstock_worker_retries_total",
            "process_resident_memory_bytes",
        ];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn samples_carry_their_labels_and_no_others() {
        let text = rendered();
        for sample in [
            "penstock_intake_accepted_items_total 3",
            "penstock_log_dropped_total 4",
            "penstock_intake_batches_total{status=\"200\"} 1",
            "penstock_worker_outcomes_total{code=\"A001\"} 1",
            "penstock_worker_lag_records{lane=\"0\"} 7",
            "penstock_kafka_broker_up{broker=\"1\",client=\"workers-0\"} 1",
            "penstock_kafka_request_timeouts_total{broker=\"1\",client=\"workers-0\"} 5",
            "penstock_kafka_consumer_lag{client=\"workers-0\",partition=\"2\",topic=\"accounts.submitted\"} 9",
            "penstock_build_info{commit=\"abc\",version=\"1.2.3\"} 1",
            "http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 0",
            "db_client_operation_duration_seconds_count{db_operation_name=\"load\",\
             db_system_name=\"postgresql\"} 1",
            "http_server_request_duration_seconds_count{error_type=\"503\",http_request_method=\"GET\",\
             http_response_status_code=\"503\",http_route=\"/a/{b}\",url_scheme=\"http\"} 1",
        ] {
            assert!(text.lines().any(|line| line == sample), "no {sample} in\n{text}");
        }
    }

    fn sample(exporter: &Exporter, name: &str) -> Option<f64> {
        let text = exporter.render().unwrap();
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn the_lag_of_a_lane_that_stands_still_grows() {
        let exporter = Exporter::start("1.2.3", "abc").unwrap();
        let lag = exporter.metrics().lane_lag(0);
        let seconds = || sample(&exporter, "penstock_worker_lag_seconds").unwrap();
        assert!(seconds() < 0.001, "nothing is left to do at first");
        lag.works(7, an_hour_ago());
        let first = seconds();
        assert!((3_600.0..3_700.0).contains(&first), "{first}");
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert!(seconds() > first, "nobody set it again");
        lag.waits(3);
        assert!(seconds() > first, "what is still to be polled is as old at least");
        lag.waits(0);
        assert!(seconds() < 0.001);
    }

    #[test]
    fn a_lane_that_is_brought_nothing_while_there_is_work_is_missed() {
        let metrics = Exporter::start("1.2.3", "abc").unwrap().metrics();
        let lag = metrics.lane_lag(0);
        let other = metrics.pulse("other");
        // Of the two the one that was silent for longer.
        let missed = || metrics.missed(Duration::ZERO).unwrap().0;
        lag.waits(3);
        assert_eq!(missed(), "lane 0");
        lag.works(3, an_hour_ago());
        assert_eq!(missed(), "other");
        other.beat();
        assert_eq!(missed(), "lane 0");
        lag.waits(0);
        assert_eq!(missed(), "other", "having nothing to do is no standstill");
        assert_eq!(metrics.missed(Duration::from_hours(1)), None);
    }

    #[test]
    fn callbacks_tell_their_lag_from_the_start_and_the_backlog_where_it_is_counted() {
        let exporter = Exporter::start("1.2.3", "abc").unwrap();
        let metrics = exporter.metrics();
        let (lag, backlog) = ("penstock_callbacks_lag_records", "penstock_callbacks_backlog{");
        assert_eq!(sample(&exporter, lag), None, "nobody delivers");
        let deliverer = metrics.callbacks().deliverer_lag();
        assert_eq!(sample(&exporter, lag), Some(0.0));
        deliverer.set(7);
        assert_eq!(sample(&exporter, lag), Some(7.0));
        drop(deliverer);
        assert_eq!(sample(&exporter, lag), None);

        let endpoint = metrics.callbacks().endpoint("risk");
        assert_eq!(sample(&exporter, "penstock_callbacks_endpoint_active{"), Some(1.0));
        endpoint.set(false, true, Duration::ZERO);
        assert_eq!(sample(&exporter, "penstock_callbacks_breaker_open{"), Some(1.0));
        assert_eq!(sample(&exporter, backlog), None, "another process counts it");
        let counted = metrics.callbacks().backlog("risk");
        counted.set(3, Duration::from_secs(2));
        assert_eq!(sample(&exporter, backlog), Some(3.0));
        drop(counted);
        assert_eq!(sample(&exporter, backlog), None);
    }

    #[test]
    fn a_series_ends_with_what_it_tells_of() {
        let exporter = Exporter::start("1.2.3", "abc").unwrap();
        let client = exporter.metrics().kafka().client("workers-0");
        client.lag(&[("t".to_owned(), 0, 5), ("t".to_owned(), 1, 6)]);
        client.lag(&[("t".to_owned(), 1, 7)]);
        assert_eq!(sample(&exporter, "penstock_kafka_consumer_lag{"), Some(7.0));
        drop(client);
        assert_eq!(sample(&exporter, "penstock_kafka_consumer_lag{"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_the_process_is_known() {
        assert!(resident_bytes().unwrap() > 1_000_000);
    }
}
