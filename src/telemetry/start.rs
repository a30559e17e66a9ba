//! Everything a process tells, from its start to its end.

use opentelemetry_sdk::error::OTelSdkError;

use super::logging::start_log_with;
use super::otlp::Otlp;
use super::{Exporter, LineFormat, LogError, OtlpError, OtlpOptions};

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
    otlp: Option<Otlp>,
}

impl Telemetry {
    /// Starts all of it; once in a process.
    pub fn start(options: TelemetryOptions) -> Result<Self, TelemetryError> {
        let TelemetryOptions { service, version, commit, line_format, log_filter, otlp } = options;
        let mut otlp = otlp.map(|otlp| Otlp::start(otlp, &service, version)).transpose()?;
        let exporter = match &mut otlp {
            Some(otlp) => Exporter::start_with(version, commit, otlp)?,
            None => Exporter::start(version, commit)?,
        };
        start_log_with(line_format, &log_filter, otlp.as_ref().and_then(Otlp::loggers))?;
        Ok(Self { exporter, otlp })
    }

    /// The metrics.
    pub fn exporter(&self) -> &Exporter {
        &self.exporter
    }

    /// Ends it. What is to be exported still is, within the time one export may take; so call it where
    /// waiting disturbs nobody.
    pub fn shutdown(self) {
        if let Some(otlp) = self.otlp {
            otlp.shutdown(self.exporter.meters());
        }
    }
}
