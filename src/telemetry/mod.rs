//! What operators see: logs, metrics, traces and probes. Account numbers, IBANs and names are in none.

mod admin;
mod callbacks;
mod calls;
mod causes;
mod exporter;
mod finding;
mod kafka;
mod lag;
mod line_buffer;
mod lines;
mod logging;
mod metrics;
mod otlp;
mod pulse;
pub mod semantic;
mod series;
mod span;
mod start;
mod trace_context;

pub use admin::{Check, Readiness, check, serve_admin};
pub use callbacks::{BacklogGauges, CallbackMetrics, DelivererLag, EndpointGauges};
pub use calls::{QueueUse, ServedRequest, StoreCall};
pub use causes::with_causes;
pub use exporter::Exporter;
pub use finding::{Finding, Verdict, clock_finding};
pub use kafka::{BrokerSample, KafkaClientMetrics, KafkaMetrics, RebalancePhase};
pub use lag::LaneLag;
pub use logging::{LineFormat, Log, LogError};
pub use metrics::Metrics;
pub use otlp::{OtlpError, OtlpOptions, Signal, parse_otlp_headers};
pub use pulse::Pulse;
pub use span::{Span, in_current_span};
pub use start::{Telemetry, TelemetryError, TelemetryOptions};
pub use trace_context::{TraceContext, TraceHeaders};
