//! Records for the dead-letter topic.

use super::{Received, Record, Topic};

/// The record for the dead-letter topic: the original bytes, key and headers, where they stood, and why
/// they are put aside. `class` is one of a few words; `reason` has no personal data in it.
pub fn dead_letter(received: &Received, origin: Topic, class: &'static str, reason: &str) -> Record {
    let mut headers = received.record.headers.clone();
    let Received { partition, offset, appended_at, record } = received;
    headers.push("penstock-dead-letter-class", class);
    headers.push("penstock-dead-letter-reason", reason);
    headers.push("penstock-origin-topic", origin.name());
    headers.push_text("penstock-origin-partition", partition.0);
    headers.push_text("penstock-origin-offset", offset.0);
    headers.push_text("penstock-origin-timestamp", appended_at);
    Record { key: record.key.clone(), value: record.value.clone(), headers }
}
