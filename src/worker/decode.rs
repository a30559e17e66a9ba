//! From a record to a submission, or to a dead letter when it is none.

use crate::account::{Account, Generation, LogPartition, Offset, Place, SchemaError, Submission};
use crate::queue::{self, Envelope, Received, Record, Topic};

/// A record that was polled, with what it is.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The record as it was read.
    pub(crate) received: Received,
    /// What it is.
    pub(crate) content: Content,
}

/// What a record is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// An account to decide on.
    Submission(Box<Submission>, Envelope),
    /// No account at all, for a reason without personal data.
    Unreadable(String),
}

impl Item {
    pub(crate) fn decode(received: Received, generation: Generation) -> Self {
        let envelope = Envelope::from_headers(&received.record.headers);
        let log = LogPartition { generation, partition: received.partition };
        let content = match parse(&received.record.value) {
            Ok(account) => {
                let unit = envelope.default_business_unit.clone();
                let submission = Submission::new(account, unit, log.at(received.offset))
                    .put_back_from(queue::redriven_origin(&received.record.headers));
                Content::Submission(Box::new(submission), envelope)
            }
            Err(reason) => Content::Unreadable(reason),
        };
        Self { received, content }
    }

    pub(crate) fn submission(&self) -> Option<&Submission> {
        match &self.content {
            Content::Submission(submission, _) => Some(submission),
            Content::Unreadable(_) => None,
        }
    }

    /// The offset after this record.
    pub(super) fn next_offset(&self) -> Offset {
        self.received.offset.next()
    }
}

fn parse(value: &[u8]) -> Result<Account, String> {
    let text = std::str::from_utf8(value)
        .map_err(|error| format!("the record is not UTF-8 at byte {}", error.valid_up_to()))?;
    Account::parse(text).map_err(|errors| {
        let message = |(field, problem): (Option<&'static str>, _)| {
            SchemaError { place: field.map_or(Place::Body, Place::BodyField), problem }.to_string()
        };
        bounded(errors.into_iter().map(message))
    })
}

/// Largest reason of a dead letter, in bytes.
const MAX_REASON_BYTES: usize = 1_024;
/// What is left of it for how many problems more there are.
const MORE_BYTES: usize = 40;

/// Problems one after the other as far as there is room, and how many more there are.
fn bounded(problems: impl ExactSizeIterator<Item = String>) -> String {
    let mut reason = String::new();
    let mut left = problems.len();
    for problem in problems {
        let separator = if reason.is_empty() { "" } else { "; " };
        let room = MAX_REASON_BYTES - MORE_BYTES - reason.len();
        if separator.len() + problem.len() > room {
            if reason.is_empty() {
                reason.push_str(&problem[..problem.floor_char_boundary(room)]);
                left -= 1;
            }
            break;
        }
        reason.push_str(separator);
        reason.push_str(&problem);
        left -= 1;
    }
    match left {
        0 => reason,
        more => format!("{reason}; and {more} more"),
    }
}

/// The class of letters that hold a submission which the store could not take.
pub(crate) const NOT_STORABLE: &str = "not_storable";

/// Why a record is put aside, as header and metric tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeadLetterClass {
    /// It is no account by the schema.
    NotAnAccount,
    /// The store cannot hold it.
    NotStorable,
}

impl DeadLetterClass {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotAnAccount => "not_an_account",
            Self::NotStorable => NOT_STORABLE,
        }
    }
}

/// The record for the dead-letter topic.
pub(super) fn dead_letter(received: &Received, class: DeadLetterClass, reason: &str) -> Record {
    queue::dead_letter(received, Topic::Submitted, class.as_str(), reason)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::account::{Partition, Timestamp};
    use crate::queue::Headers;

    fn received(value: &'static [u8]) -> Received {
        let mut headers = Headers::default();
        headers.push("trace", "kept");
        Received {
            partition: Partition(4),
            offset: Offset(17),
            appended_at: Timestamp::from_unix_millis(1_700_000_000_123),
            record: Record {
                key: Bytes::from_static(b"key"),
                value: Bytes::from_static(value),
                headers,
            },
        }
    }

    #[test]
    fn what_is_no_account_is_told_without_its_content() {
        for (value, expected) in [
            (&b"\xff\xfe"[..], "the record is not UTF-8 at byte 0"),
            (b"[1]", "body: must be an object"),
            (b"{\"accountNumber\":7}", "accountNumber: must be a string"),
        ] {
            let Content::Unreadable(reason) = Item::decode(received(value), Generation(1)).content
            else {
                panic!("{value:?} was taken for an account");
            };
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn a_reason_is_bounded_however_much_is_wrong() {
        let repeated = format!("{{{}\"bic\":0}}", "\"bic\":0,".repeat(40_000));
        let reason = parse(repeated.as_bytes()).unwrap_err();
        assert_eq!(reason.matches("more than once").count(), 1, "{reason}");
        assert!(reason.len() <= MAX_REASON_BYTES);
        let problems = (0..500).map(|number| format!("field{number}: \u{fc}ber"));
        let reason = bounded(problems);
        assert!(reason.len() <= MAX_REASON_BYTES && reason.starts_with("field0: "), "{reason}");
        let told = reason.matches("field").count();
        assert!(reason.ends_with(&format!("; and {} more", 500 - told)), "{reason}");
        let long = bounded(["\u{fc}".repeat(2_000), "next".to_owned()].into_iter());
        assert!(long.len() <= MAX_REASON_BYTES && long.ends_with("\u{fc}; and 1 more"), "{long}");
    }

    #[test]
    fn a_dead_letter_keeps_bytes_and_tells_the_origin() {
        let origin = received(b"\xff\x00");
        let letter = dead_letter(&origin, DeadLetterClass::NotAnAccount, "no UTF-8");
        assert_eq!((&letter.key, &letter.value), (&origin.record.key, &origin.record.value));
        let header = |name| letter.headers.text(name).unwrap().to_owned();
        assert_eq!(header("trace"), "kept");
        assert_eq!(header("penstock-dead-letter-class"), "not_an_account");
        assert_eq!(header("penstock-dead-letter-reason"), "no UTF-8");
        assert_eq!(header("penstock-origin-topic"), "accounts.submitted");
        assert_eq!(header("penstock-origin-partition"), "4");
        assert_eq!(header("penstock-origin-offset"), "17");
        assert_eq!(header("penstock-origin-timestamp"), "2023-11-14T22:13:20.123Z");
    }
}
