//! Records for the dead-letter topic.

use super::{Received, Record, Topic};

const CLASS: &str = "penstock-dead-letter-class";
const REASON: &str = "penstock-dead-letter-reason";
pub(super) const TOPIC: &str = "penstock-origin-topic";
const PARTITION: &str = "penstock-origin-partition";
const OFFSET: &str = "penstock-origin-offset";
const TIMESTAMP: &str = "penstock-origin-timestamp";
/// The headers above, which come after all those of the origin.
#[cfg(feature = "kafka")]
pub(super) const OWN_HEADERS: [&str; 6] = [CLASS, REASON, TOPIC, PARTITION, OFFSET, TIMESTAMP];

/// Most of a reason that is told.
const MAX_REASON_BYTES: usize = 1_024;
/// The record for the dead-letter topic: the original bytes, key and headers, where they stood, and why
/// they are put aside. `class` is one of a few words; `reason` has no personal data in it, and only its
/// beginning is told when it is long.
pub fn dead_letter(received: &Received, origin: Topic, class: &'static str, reason: &str) -> Record {
    let mut headers = received.record.headers.clone();
    let Received { partition, offset, appended_at, record } = received;
    headers.push(CLASS, class);
    headers.push(REASON, &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]);
    headers.push(TOPIC, origin.name());
    headers.push_text(PARTITION, partition.0);
    headers.push_text(OFFSET, offset.0);
    headers.push_text(TIMESTAMP, appended_at);
    Record { key: record.key.clone(), value: record.value.clone(), headers }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::account::{Offset, Partition, Timestamp};
    use crate::queue::Headers;

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let received = Received {
            partition: Partition(7),
            offset: Offset(9),
            appended_at: Timestamp::from_unix_millis(1_700_000_000_000),
            record: Record { key: Bytes::new(), value: Bytes::new(), headers: Headers::default() },
        };
        let letter = dead_letter(&received, Topic::Submitted, "not_an_account", &"ą".repeat(2_000));
        assert_eq!(letter.headers.text(REASON).unwrap().len(), MAX_REASON_BYTES);
    }
}
