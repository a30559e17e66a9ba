//! An intake of a test's own.

use std::time::Duration;

use penstock::intake::IntakeOptions;

/// Bounds and times that a test reaches only when it means to.
pub(crate) fn options() -> IntakeOptions {
    IntakeOptions {
        outcome_wait: Duration::from_secs(20),
        max_wait: Duration::from_secs(30),
        publish_timeout: Duration::from_secs(15),
        body_timeout: Duration::from_secs(30),
        max_items: 1_000,
        max_body_bytes: 200_000,
        max_bytes_in_flight: 64 * 1_024 * 1_024,
        max_header_bytes: 16 * 1_024,
        event_type_prefix: "penstock".to_owned(),
    }
}
