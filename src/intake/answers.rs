//! What is answered to a request that was served, in the contract's field order.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::account::{AccountExtId, BusinessUnit, CommunicationNumber, Outcome, Verdict};
use crate::events::{REQUEST_ACCEPTED, REQUEST_REJECTED};
use crate::queue::Answer;

use super::errors::{FAILED_CODE, FAILED_DESCRIPTION};

/// Who an item of a batch is, as its answer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) number: CommunicationNumber,
    pub(super) account_ext_id: AccountExtId,
    /// The unit it counts for.
    pub(super) business_unit: Option<BusinessUnit>,
}

/// An item and what is known of it when the answer is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) subject: Subject,
    /// None while it is durably queued and not yet decided.
    pub(super) answer: Option<Answer>,
    pub(super) elapsed: Duration,
}

/// The answer to one item.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BatchAccountResultApi)]
pub(super) struct ItemResult<'a> {
    /// Whether the item was accepted.
    result_type: &'static str,
    /// Unique number of the communication.
    #[schema(max_length = 255)]
    communication_number: &'a str,
    /// External account identification number.
    account_ext_id: &'a str,
    /// The business unit the account counts for, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    business_unit: Option<&'a str>,
    /// Code of the reason for a rejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_code: Option<&'static str>,
    /// The code in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_description: Option<&'static str>,
    /// Time from queueing to the outcome, in milliseconds.
    #[schema(format = Int64)]
    time_elapsed_ms: u64,
}

impl<'a> From<&'a Settled> for ItemResult<'a> {
    fn from(item: &'a Settled) -> Self {
        let error = match item.answer {
            None | Some(Answer::Decided(Outcome { verdict: Verdict::Accepted, .. })) => None,
            Some(Answer::Decided(Outcome { verdict: Verdict::Rejected(code), .. })) => {
                Some((code.code(), code.description()))
            }
            Some(Answer::DeadLettered) => Some((FAILED_CODE, FAILED_DESCRIPTION)),
        };
        Self {
            result_type: if error.is_some() { REQUEST_REJECTED } else { REQUEST_ACCEPTED },
            communication_number: item.subject.number.as_str(),
            account_ext_id: item.subject.account_ext_id.as_str(),
            business_unit: item.subject.business_unit.as_ref().map(BusinessUnit::as_str),
            error_code: error.map(|(code, _)| code),
            error_description: error.map(|(_, description)| description),
            time_elapsed_ms: millis(item.elapsed),
        }
    }
}

impl ItemResult<'_> {
    /// Whether the item was rejected.
    pub(super) fn is_rejected(&self) -> bool {
        self.error_code.is_some()
    }
}

/// The answer to a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BatchAccountsResponseDataApi)]
pub(super) struct BatchAnswer<'a> {
    /// One result per item, in the order of the request.
    results: Vec<ItemResult<'a>>,
    /// Time from the request to the answer, in milliseconds.
    #[schema(format = Int64)]
    time_elapsed_ms: u64,
}

impl<'a> BatchAnswer<'a> {
    /// The answer to `items`, given `elapsed` after the request.
    pub(super) fn new(items: &'a [Settled], elapsed: Duration) -> Self {
        let results = items.iter().map(ItemResult::from).collect();
        Self { results, time_elapsed_ms: millis(elapsed) }
    }
}

/// A duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The JSON text of an answer. The answers' types have no maps with foreign keys and no fallible
/// parts, so that writing them into memory does not fail.
pub(super) fn json_bytes<T: Serialize>(answer: &T) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::account::{EventId, RejectionCode};

    use super::*;

    fn settled(ext_id: &str, answer: Option<Answer>, elapsed_ms: u64) -> Settled {
        Settled {
            subject: Subject {
                number: CommunicationNumber::parse("1b1e1c23-f62f-4338-90b9-8d54993dd2cd").unwrap(),
                account_ext_id: AccountExtId::parse(ext_id).unwrap(),
                business_unit: Some(BusinessUnit::parse("sandbox").unwrap()),
            },
            answer,
            elapsed: Duration::from_millis(elapsed_ms),
        }
    }

    fn decided(verdict: Verdict) -> Answer {
        Answer::Decided(Outcome { verdict, event_id: EventId(uuid::Uuid::nil()) })
    }

    fn pretty(items: &[Settled], elapsed_ms: u64) -> String {
        let answer = BatchAnswer::new(items, Duration::from_millis(elapsed_ms));
        serde_json::to_string_pretty(&answer).unwrap()
    }

    #[test]
    fn all_accepted_reads_as_the_contracts_example() {
        let item = settled("accountExtId0", Some(decided(Verdict::Accepted)), 203);
        let example = include_str!("openapi/examples/all-accepted.json");
        assert_eq!(pretty(&[item.clone(), item], 408), example.trim_end());
    }

    #[test]
    fn a_partial_rejection_reads_as_the_contracts_example() {
        let first = settled("accountExtId0", Some(decided(Verdict::Accepted)), 203);
        let second = settled("accountExtId1", Some(decided(Verdict::Rejected(RejectionCode::O005))), 20);
        let example = include_str!("openapi/examples/partial-rejection.json");
        assert_eq!(pretty(&[first, second], 223), example.trim_end());
    }

    #[test]
    fn a_pending_item_counts_as_accepted_and_a_dead_letter_as_failed() {
        let mut pending = settled("a", None, 1);
        pending.subject.business_unit = None;
        let result = serde_json::to_string(&ItemResult::from(&pending)).unwrap();
        assert_eq!(
            result,
            "{\"resultType\":\"REQUEST_ACCEPTED\",\
             \"communicationNumber\":\"1b1e1c23-f62f-4338-90b9-8d54993dd2cd\",\
             \"accountExtId\":\"a\",\"timeElapsedMs\":1}"
        );
        let dead = settled("a", Some(Answer::DeadLettered), 1);
        let result = serde_json::to_value(ItemResult::from(&dead)).unwrap();
        assert_eq!(result["resultType"], "REQUEST_REJECTED");
        assert_eq!(result["errorCode"], "500");
        assert_eq!(result["errorDescription"], "Processing failed");
    }
}
