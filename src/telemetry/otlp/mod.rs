//! Export to an OpenTelemetry collector, by OTLP over gRPC.
//!
//! Invariant: the pipeline never waits for a collector. Exports run on threads of their own, over
//! bounded outboxes; the end of the process waits for them no longer than it was told to.

mod bounded;
mod outbox;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, Sampler, SdkTracerProvider};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Runtime;

use super::{semantic, span, with_causes};
use bounded::{Admitting, Delivering};
use outbox::{CAPACITY, Outbox};

pub use outbox::Signal;

/// The metric of what was dropped.
pub(super) const DROPPED: &str = "penstock.telemetry.dropped";

/// Where to export what.
#[derive(Clone, Debug)]
pub struct OtlpOptions {
    /// URL of the collector; `https` for TLS.
    pub endpoint: String,
    /// Headers of every export, as `name=value,name=value`.
    pub headers: SecretString,
    /// File with a further trusted authority, as PEM.
    pub ca_file: Option<PathBuf>,
    /// How long one export may take, and the flush at the end of the process.
    pub timeout: Duration,
    /// What is exported.
    pub signals: Vec<Signal>,
    /// Share, 0 to 1, of the traces begun here that are recorded.
    pub sample_ratio: f64,
    /// How often metrics are exported.
    pub metrics_interval: Duration,
}

/// Why nothing can be exported: correct the settings. A collector that does not answer is no reason.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The threads could not be started.
    #[error("the threads of the export could not be started")]
    Threads(#[source] io::Error),
    /// The headers are none.
    #[error(
        "telemetry.otlp.headers is not name=value,name=value with names of lower-case letters, digits, \
         - and _, and values of printable characters"
    )]
    Headers,
    /// The file of the authority cannot be read.
    #[error("telemetry.otlp.ca_file: {} cannot be read", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        cause: io::Error,
    },
    /// The endpoint is none, or the authority.
    #[error("telemetry.otlp.endpoint or telemetry.otlp.ca_file cannot be used")]
    Build(#[source] ExporterBuildError),
    /// Spans are recorded for somebody else.
    #[error("the export was already started")]
    Started,
}

/// Reads `name=value,name=value`; none when a part of it is no header.
pub fn parse_otlp_headers(text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        let mut value = HeaderValue::from_str(value.trim()).ok()?;
        value.set_sensitive(true);
        // The suffix means bytes to gRPC.
        if name.as_str().ends_with("-bin") {
            return None;
        }
        headers.append(name, value);
    }
    Some(headers)
}

/// An export that is under way.
pub(super) struct Otlp {
    options: OtlpOptions,
    headers: HeaderMap,
    resource: Resource,
    // Serves the connections.
    runtime: Runtime,
    outboxes: Vec<Arc<Outbox>>,
    tracers: Option<SdkTracerProvider>,
    loggers: Option<SdkLoggerProvider>,
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp").field("endpoint", &self.options.endpoint).finish_non_exhaustive()
    }
}

impl Otlp {
    /// Begins to record and export spans and log lines. `service` names the process among others.
    pub(super) fn start(options: OtlpOptions, service: &str, version: &str) -> Result<Self, OtlpError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()
            .map_err(OtlpError::Threads)?;
        let mut otlp = Self {
            headers: parse_otlp_headers(options.headers.expose_secret()).ok_or(OtlpError::Headers)?,
            resource: resource(service, version),
            options,
            runtime,
            outboxes: Vec::new(),
            tracers: None,
            loggers: None,
        };
        otlp.start_traces()?;
        otlp.start_logs()?;
        Ok(otlp)
    }

    /// Where the log goes besides stderr.
    pub(super) fn loggers(&self) -> Option<&SdkLoggerProvider> {
        self.loggers.as_ref()
    }

    pub(super) fn resource(&self) -> Resource {
        self.resource.clone()
    }

    /// What exports metrics, if they are to be.
    pub(super) fn metric_reader(
        &mut self,
    ) -> Result<
        Option<PeriodicReader<impl opentelemetry_sdk::metrics::exporter::PushMetricExporter>>,
        OtlpError,
    > {
        let Some(outbox) = self.outbox(Signal::Metrics) else { return Ok(None) };
        let exporter = self.connected(MetricExporter::builder().with_tonic(), |it| it.build())?;
        let interval = self.options.metrics_interval;
        let exporter = Delivering { exporter, outbox };
        Ok(Some(PeriodicReader::builder(exporter).with_interval(interval).build()))
    }

    /// What was dropped so far, by signal.
    pub(super) fn dropped(&self) -> impl Fn() -> Vec<(Signal, u64)> + Send + Sync + use<> {
        let outboxes = self.outboxes.clone();
        move || outboxes.iter().map(|outbox| (outbox.signal(), outbox.dropped())).collect()
    }

    fn start_traces(&mut self) -> Result<(), OtlpError> {
        let Some(outbox) = self.outbox(Signal::Traces) else { return Ok(()) };
        let exporter = self.connected(SpanExporter::builder().with_tonic(), |it| it.build())?;
        let config = trace::BatchConfigBuilder::default().with_max_queue_size(CAPACITY).build();
        let exporter = Delivering { exporter, outbox: Arc::clone(&outbox) };
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let begun_here = Sampler::TraceIdRatioBased(self.options.sample_ratio);
        let provider = SdkTracerProvider::builder()
            .with_resource(self.resource())
            .with_sampler(Sampler::ParentBased(Box::new(begun_here)))
            .with_span_processor(Admitting { processor, outbox })
            .build();
        if !span::record_spans_with(provider.tracer_with_scope(semantic::scope())) {
            return Err(OtlpError::Started);
        }
        self.tracers = Some(provider);
        Ok(())
    }

    fn start_logs(&mut self) -> Result<(), OtlpError> {
        let Some(outbox) = self.outbox(Signal::Logs) else { return Ok(()) };
        let exporter = self.connected(LogExporter::builder().with_tonic(), |it| it.build())?;
        let config = logs::BatchConfigBuilder::default().with_max_queue_size(CAPACITY).build();
        let exporter = Delivering { exporter, outbox: Arc::clone(&outbox) };
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
        let provider = SdkLoggerProvider::builder()
            .with_resource(self.resource())
            .with_log_processor(Admitting { processor, outbox })
            .build();
        self.loggers = Some(provider);
        Ok(())
    }

    /// A new outbox for a signal that is to be exported.
    fn outbox(&mut self, signal: Signal) -> Option<Arc<Outbox>> {
        if !self.options.signals.contains(&signal) {
            return None;
        }
        let timers = self.runtime.handle().clone();
        let outbox = Arc::new(Outbox::new(signal, timers, self.options.timeout));
        self.outboxes.push(Arc::clone(&outbox));
        Some(outbox)
    }

    /// An exporter that connects when there is something to export.
    fn connected<B: WithExportConfig + WithTonicConfig, E>(
        &self,
        builder: B,
        build: impl FnOnce(B) -> Result<E, ExporterBuildError>,
    ) -> Result<E, OtlpError> {
        let _connections = self.runtime.enter();
        let mut builder = builder
            .with_endpoint(&self.options.endpoint)
            .with_timeout(self.options.timeout)
            .with_metadata(MetadataMap::from_headers(self.headers.clone()));
        if self.options.endpoint.starts_with("https:") {
            let mut tls = ClientTlsConfig::new().with_native_roots();
            if let Some(path) = &self.options.ca_file {
                let pem = std::fs::read(path)
                    .map_err(|cause| OtlpError::Authority { path: path.clone(), cause })?;
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            builder = builder.with_tls_config(tls);
        }
        build(builder).map_err(OtlpError::Build)
    }

    /// Exports what still waits, for as long as one export may take; what is left then is lost.
    pub(super) fn shutdown(self, meters: SdkMeterProvider) {
        type Flush = Box<dyn FnOnce() -> OTelSdkResult + Send>;
        let limit = self.options.timeout;
        let (done, flushed) = channel();
        let mut work: Vec<Flush> = vec![Box::new(move || meters.shutdown_with_timeout(limit))];
        if let Some(tracers) = self.tracers {
            work.push(Box::new(move || tracers.shutdown_with_timeout(limit)));
        }
        if let Some(loggers) = self.loggers {
            work.push(Box::new(move || loggers.shutdown_with_timeout(limit)));
        }
        let count = work.len();
        for flush in work {
            let done = done.clone();
            // Nobody waits any more when this one is late.
            std::thread::spawn(move || drop(done.send(flush())));
        }
        let deadline = Instant::now() + limit;
        for _ in 0..count {
            match flushed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %with_causes(&error), "telemetry was lost at the end");
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    tracing::warn!(
                        limit_seconds = limit.as_secs(),
                        "telemetry was lost at the end: the collector did not take it in time"
                    );
                    break;
                }
            }
        }
        self.runtime.shutdown_background();
    }
}

/// Which process this is. `OTEL_RESOURCE_ATTRIBUTES` adds to it.
fn resource(service: &str, version: &str) -> Resource {
    let attributes = [
        KeyValue::new(semantic::service::VERSION, version.to_owned()),
        KeyValue::new(semantic::service::INSTANCE_ID, uuid::Uuid::new_v4().to_string()),
    ];
    Resource::builder()
        .with_service_name(service.to_owned())
        .with_schema_url(attributes, semantic::SCHEMA_URL)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_pairs() {
        let headers = parse_otlp_headers("authorization=Bearer a=b, x-tenant = bank ,").unwrap();
        assert_eq!(headers["authorization"], "Bearer a=b");
        assert_eq!(headers["x-tenant"], "bank");
        assert!(headers.values().all(HeaderValue::is_sensitive));
        assert!(parse_otlp_headers("").unwrap().is_empty());
        for wrong in ["novalue", "a b=c", "a=b\u{0}c", "trace-bin=AA"] {
            assert!(parse_otlp_headers(wrong).is_none(), "{wrong:?}");
        }
    }
}
