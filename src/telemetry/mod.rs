//! What operators see: logs, metrics and probes. Account numbers, IBANs and names are in none.

mod admin;
mod causes;
mod exporter;
mod finding;
mod logging;
mod metrics;

pub use admin::{Check, Readiness, serve_admin};
pub use causes::with_causes;
pub use exporter::Exporter;
pub use finding::{Finding, Verdict, clock_finding};
pub use logging::{LineFormat, LogError, start_log};
pub use metrics::Metrics;
