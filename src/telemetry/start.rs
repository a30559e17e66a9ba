//! Everything a process tells, from its start to its end.

use opentelemetry_sdk::error::OTelSdkError;

use super::otlp::Otlp;
use super::{Exporter, LineFormat, Log, LogError, OtlpError, OtlpOptions};

/// What a process tells, and to whom.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// Name of the process among others, as `service.name`.
    pub service: String,
    /// Its release.
    pub version: &'static str,
    /// The commit it was built from; empty when that is not known.
    pub commit: &'static str,
    /// Form of the log's lines.
    pub line_format: LineFormat,
    /// What is logged: a level, or levels by module.
    pub log_filter: String,
    /// Most bytes of lines that wait for whoever reads the log.
    pub max_log_bytes: usize,
    /// Where telemetry is exported to besides stderr and `/metrics`.
    pub otlp: Option<OtlpOptions>,
}

/// Why a process cannot tell anything.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// There is no log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There are no metrics.
    #[error("the metrics could not be started")]
    Metrics(#[from] OTelSdkError),
    /// Nothing can be exported.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
}

/// Log, metrics and traces of a process.
#[derive(Debug)]
pub struct Telemetry {
    exporter: Exporter,
    log: Log,
    otlp: Option<Otlp>,
}

impl Telemetry {
    /// Starts all of it; once in a process.
    pub fn start(options: TelemetryOptions) -> Result<Self, TelemetryError> {
        let TelemetryOptions { service, version, commit, line_format, log_filter, max_log_bytes, otlp } =
            options;
        let mut otlp = otlp.map(|otlp| Otlp::start(otlp, &service, version)).transpose()?;
        let exporter = match &mut otlp {
            Some(otlp) => Exporter::start_with(version, commit, otlp)?,
            None => Exporter::start(version, commit)?,
        };
        let loggers = otlp.as_ref().and_then(Otlp::loggers);
        let log = Log::start_with(line_format, &log_filter, max_log_bytes, loggers)?;
        let of_metrics = log.clone();
        exporter.observe_log(move || of_metrics.dropped());
        Ok(Self { exporter, log, otlp })
    }

    /// The metrics.
    pub fn exporter(&self) -> &Exporter {
        &self.exporter
    }

    /// Ends it. What is to be exported still is, within the time one export may take, and what was logged
    /// is written, within a second; so call it where waiting disturbs nobody.
    pub fn shutdown(self) {
        if let Some(otlp) = self.otlp {
            otlp.shutdown(self.exporter.meters());
        }
        self.log.flush();
    }
}
