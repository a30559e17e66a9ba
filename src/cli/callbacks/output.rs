//! Deliveries as the commands print them.

use serde::Serialize;

pub(super) use crate::cli::output::{cell, note, optional_time, shown, table, time, write_json};
use crate::store::{Attempt, Counted, DeliveryRecord};

/// What was answered, in a word.
pub(super) fn status(attempt: &Attempt) -> String {
    attempt.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}

/// A delivery for programs.
#[derive(Debug, Serialize)]
pub(super) struct DeliveryJson {
    endpoint: String,
    event_id: String,
    communication_number: String,
    state: &'static str,
    recorded_at: String,
    since: String,
    reason: Option<String>,
    due_at: Option<String>,
    attempts: u32,
    last_attempt: Option<AttemptJson>,
}

impl DeliveryJson {
    pub(super) fn of(record: &DeliveryRecord) -> Self {
        Self {
            endpoint: record.key.endpoint.to_string(),
            event_id: record.key.event.to_string(),
            communication_number: record.number.clone(),
            state: record.state.as_str(),
            recorded_at: time(record.recorded_at),
            since: time(record.since),
            reason: record.reason.clone(),
            due_at: record.due_at.map(time),
            attempts: record.attempts,
            last_attempt: record.last_attempt.as_ref().map(AttemptJson::of),
        }
    }
}

/// An attempt for programs.
#[derive(Debug, Serialize)]
pub(super) struct AttemptJson {
    at: String,
    duration_ms: u64,
    status: Option<u16>,
    answer: String,
}

impl AttemptJson {
    pub(super) fn of(attempt: &Attempt) -> Self {
        Self {
            at: time(attempt.at),
            duration_ms: millis(attempt.duration),
            status: attempt.status,
            answer: attempt.answer.clone(),
        }
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// So many deliveries, in words.
pub(super) fn deliveries(count: u64) -> String {
    format!("{count} {}", if count == 1 { "delivery" } else { "deliveries" })
}

/// So many deliveries, or more, in words.
pub(super) fn counted(counted: Counted) -> String {
    let more = if counted.may_be_more { "at least " } else { "" };
    format!("{more}{}", deliveries(counted.count))
}
