//! What operators see: logs and metrics. Account numbers, IBANs and names are never in either.

mod metrics;

pub use metrics::Metrics;
