//! How implementations spell in a row what the port's types say, so that all of them spell it alike.

use std::collections::HashSet;

use bytes::Bytes;

use crate::account::{
    AccountExtId, AccountKey, BusinessUnit, EventId, Outcome, Problem, Rejection, RejectionCode,
    Timestamp, Verdict,
};
use crate::events::CloudEvent;

use super::{Attempt, DeliveryState, Ending, NewDelivery};

/// The endpoints of all deliveries, found by leaps from one name to the next: what it takes is a few pages a
/// name, however many deliveries there are.
pub const ENDPOINT_NAMES: &str = "
WITH RECURSIVE names (endpoint) AS (
    SELECT min(endpoint) FROM deliveries
    UNION ALL
    SELECT (SELECT min(d.endpoint) FROM deliveries AS d WHERE d.endpoint > names.endpoint)
    FROM names WHERE names.endpoint IS NOT NULL
)
SELECT endpoint FROM names WHERE endpoint IS NOT NULL";

/// Stands where a verdict is accepted.
const ACCEPTED: &str = "ACCEPTED";
/// Stands where a verdict would, for what the store could not take.
const DEAD_LETTER: &str = "DEAD_LETTER";

/// A verdict's text and the event that tells it; a dead letter has none.
pub(super) fn verdict_of(rejection: Rejection) -> (&'static str, Option<EventId>) {
    match rejection {
        Rejection::Decided(outcome) => {
            let (verdict, event_id) = outcome_text(outcome);
            (verdict, Some(event_id))
        }
        Rejection::DeadLettered => (DEAD_LETTER, None),
    }
}

/// A verdict's text and the event that tells it.
pub(super) fn outcome_text(outcome: Outcome) -> (&'static str, EventId) {
    let verdict = match outcome.verdict {
        Verdict::Accepted => ACCEPTED,
        Verdict::Rejected(code) => code.code(),
    };
    (verdict, outcome.event_id)
}

/// What [`verdict_of`] was made of; none when it was made of nothing we know.
pub(super) fn rejection_of(verdict: &str, event_id: Option<EventId>) -> Option<Rejection> {
    let verdict = match verdict {
        DEAD_LETTER => return Some(Rejection::DeadLettered),
        ACCEPTED => Verdict::Accepted,
        code => Verdict::Rejected(RejectionCode::parse(code)?),
    };
    event_id.map(|event_id| Rejection::Decided(Outcome { verdict, event_id }))
}

/// The outcome, if there is one.
pub(super) fn outcome_of(rejection: Rejection) -> Option<Outcome> {
    match rejection {
        Rejection::Decided(outcome) => Some(outcome),
        Rejection::DeadLettered => None,
    }
}

/// The unit's name, or the empty text that stands for none, and the account's id.
pub(super) fn key_of(key: &AccountKey) -> (&str, &str) {
    (key.business_unit.as_ref().map_or("", BusinessUnit::as_str), key.account_ext_id.as_str())
}

/// What [`key_of`] was made of.
pub(super) fn parse_key(business_unit: &str, account_ext_id: &str) -> Result<AccountKey, Problem> {
    let business_unit = match business_unit {
        "" => None,
        unit => Some(BusinessUnit::parse(unit)?),
    };
    Ok(AccountKey { business_unit, account_ext_id: AccountExtId::parse(account_ext_id)? })
}

/// An offset, or another count, as a signed column holds it. No log reaches the end of that range.
pub(super) fn storable(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// An event's attributes, and what travels beside it, as one text; its data is a text already.
pub(super) fn attributes_of(event: &CloudEvent) -> Result<String, serde_json::Error> {
    let attributes: Vec<_> = event.attributes().collect();
    serde_json::to_string(&(attributes, &event.trace))
}

/// The event that [`attributes_of`] was made of; none when it was made of none.
pub(super) fn event_of(attributes: &str, data: String) -> Option<CloudEvent> {
    let (attributes, trace) = serde_json::from_str(attributes).ok()?;
    CloudEvent::from_attributes(attributes, trace, Bytes::from(data)).ok()
}

/// State and due time of a delivery that goes on so.
pub(super) fn state_of(ending: Ending) -> (DeliveryState, Option<Timestamp>) {
    let due_at = match ending {
        Ending::Parked { due_at } => Some(due_at),
        Ending::Delivered | Ending::Exhausted => None,
    };
    (ending.state(), due_at)
}

/// State and due time of new deliveries, in their order: a parked one of an ordered endpoint waits behind
/// an earlier one of its line. What is recorded already may hold the line too.
pub(super) fn new_states(new: &[NewDelivery]) -> Vec<(DeliveryState, Option<Timestamp>)> {
    let mut held = HashSet::new();
    let state_of_new = |new: &NewDelivery| {
        let (state, due_at) = state_of(new.ending);
        let holds_line = new.is_ordered && state == DeliveryState::Parked;
        let waits = holds_line && !held.insert(new.line());
        (if waits { DeliveryState::Waiting } else { state }, due_at)
    };
    new.iter().map(state_of_new).collect()
}

/// The attempt, if it is to be listed among those that failed.
pub(super) fn failed_attempt(ending: Ending, attempt: Option<&Attempt>) -> Option<&Attempt> {
    attempt.filter(|_| ending != Ending::Delivered)
}

/// Milliseconds of an attempt, as a signed column holds them.
pub(super) fn duration_ms(attempt: &Attempt) -> i64 {
    i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX)
}
