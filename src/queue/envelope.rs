//! What the intake writes beside a submission. Every header is optional: any producer may write to
//! the submitted topic.

use uuid::Uuid;

use crate::account::{BusinessUnit, Timestamp};

use super::{BatchId, Headers, Received, Record, ReplyAddress};

const BATCH: &str = "penstock-batch";
const ITEM: &str = "penstock-item";
const REPLY_TO: &str = "penstock-reply-to";
const BUSINESS_UNIT: &str = "penstock-business-unit";
/// When a record was appended to the log that it was copied from.
pub(super) const APPENDED_AT: &str = "penstock-appended-at";

/// With the trace that is told beside it.
const MOST_HEADERS: usize = 6;
/// Of the values of all that is always there, and of `traceparent`.
const USUAL_BYTES: usize = 128;

/// The headers of a submission, read or to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The batch and the item's number within it.
    pub item: Option<(BatchId, u32)>,
    /// Who waits for the outcome.
    pub reply_to: Option<ReplyAddress>,
    /// The unit an account without one counts for.
    pub default_business_unit: Option<BusinessUnit>,
}

impl Envelope {
    /// The names of all headers it may have.
    pub(super) const NAMES: [&'static str; 4] = [BATCH, ITEM, REPLY_TO, BUSINESS_UNIT];

    /// The headers that carry it.
    pub fn to_headers(&self) -> Headers {
        let mut headers = Headers::with_capacity(MOST_HEADERS, USUAL_BYTES);
        if let Some((batch, item)) = self.item {
            headers.push(BATCH, batch.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
            headers.push_text(ITEM, item);
        }
        if let Some(ReplyAddress(address)) = self.reply_to {
            headers.push_text(REPLY_TO, address);
        }
        if let Some(unit) = &self.default_business_unit {
            headers.push(BUSINESS_UNIT, unit.as_str());
        }
        headers
    }

    /// Reads what is there; a header that is not as written here counts as absent.
    pub fn from_headers(headers: &Headers) -> Self {
        let batch = headers.text(BATCH).and_then(|text| Uuid::parse_str(text).ok()).map(BatchId);
        let item = headers.text(ITEM).and_then(|text| text.parse().ok());
        let reply_to = headers.text(REPLY_TO).and_then(|text| text.parse().ok());
        let unit = headers.text(BUSINESS_UNIT).and_then(|text| BusinessUnit::parse(text).ok());
        Self { item: batch.zip(item), reply_to: reply_to.map(ReplyAddress), default_business_unit: unit }
    }
}

/// When a record was appended to the first of the logs that it was on.
pub fn first_appended_at(received: &Received) -> Timestamp {
    let told = received.record.headers.text(APPENDED_AT);
    let told = told.and_then(|text| Timestamp::parse(text).ok());
    told.map_or(received.appended_at, |told| told.min(received.appended_at))
}

/// Whether a record was copied from another log.
pub fn is_copied(received: &Received) -> bool {
    first_appended_at(received) != received.appended_at
}

/// The record for another log, which tells when it was appended first.
pub fn copied(received: &Received) -> Record {
    let mut record = received.record.clone();
    let first = first_appended_at(received).to_string();
    record.headers.replace_last(APPENDED_AT, first.as_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Offset, Partition};

    #[test]
    fn what_is_written_is_read() {
        let envelope = Envelope {
            item: Some((BatchId::now(), 7)),
            reply_to: Some(ReplyAddress(3)),
            default_business_unit: Some(BusinessUnit::parse("sandbox").unwrap()),
        };
        assert_eq!(Envelope::from_headers(&envelope.to_headers()), envelope);
    }

    #[test]
    fn foreign_headers_count_as_absent() {
        let mut headers = Headers::default();
        headers.push(BATCH, "not a uuid");
        headers.push(ITEM, "-1");
        headers.push(REPLY_TO, vec![0xff]);
        assert_eq!(Envelope::from_headers(&headers), Envelope::default());
    }

    #[test]
    fn a_copy_tells_when_the_first_was_appended() {
        let mut record = Record { key: "k".into(), value: "v".into(), headers: Headers::default() };
        record.headers.push("other", "kept");
        let received = |record, millis| Received {
            partition: Partition(0),
            offset: Offset(0),
            appended_at: Timestamp::from_unix_millis(millis),
            record,
        };
        let original = received(record, 1_700_000_000_123);
        assert_eq!(first_appended_at(&original), original.appended_at);
        let copy = received(copied(&original), 1_800_000_000_000);
        let copy_of_copy = received(copied(&copy), 1_900_000_000_000);
        assert_eq!(first_appended_at(&copy_of_copy), original.appended_at);
        assert_eq!(copy_of_copy.record, copy.record, "one header tells it");
        assert_eq!(copy.record.headers.text("other"), Some("kept"));
    }
}
