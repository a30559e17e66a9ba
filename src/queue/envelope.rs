//! What the intake writes beside a submission. Every header is optional: any producer may write to
//! the submitted topic.

use uuid::Uuid;

use crate::account::BusinessUnit;

use super::{BatchId, Headers, ReplyAddress};

const BATCH: &str = "penstock-batch";
const ITEM: &str = "penstock-item";
const REPLY_TO: &str = "penstock-reply-to";
const BUSINESS_UNIT: &str = "penstock-business-unit";

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
