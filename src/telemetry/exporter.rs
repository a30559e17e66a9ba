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
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::account::{RejectionCode, Verdict};
    use crate::telemetry::{QueueUse, ServedRequest, StoreCall};

    fn rendered() -> String {
        let exporter = Exporter::start("1.2.3", "abc").unwrap();
        let metrics = exporter.metrics();
        metrics.items_accepted(3);
        metrics.batch_answered(200, Duration::from_millis(4));
        metrics.bytes_in_flight(10);
        metrics.outcomes(Verdict::Accepted, 2);
        metrics.outcomes(Verdict::Rejected(RejectionCode::A001), 1);
        metrics.repeated(1);
        metrics.dead_letters("malformed", 1);
        metrics.lag(0, 7, Duration::from_secs(2));
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
            "penstock_intake_batches_total{status=\"200\"} 1",
            "penstock_worker_outcomes_total{code=\"A001\"} 1",
            "penstock_worker_lag_seconds{lane=\"0\"} 2",
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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_the_process_is_known() {
        assert!(resident_bytes().unwrap() > 1_000_000);
    }
}
