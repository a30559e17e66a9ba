//! What can be asked for: the outcomes of a number, and the lists that codes come from.

use std::collections::HashSet;

use serde::Serialize;
use utoipa::ToSchema;

use crate::account::{BusinessUnit, Classifier, CommunicationNumber, Outcome, Verdict, currencies};
use crate::events::{EventData, event_type};
use crate::queue::Queue;
use crate::store::{PersistedOutcome, Store, StoreError};
use crate::telemetry::{StoreCall, with_causes};

use super::Intake;
use super::auth::Token;
use super::errors::{FAILED_CODE, FAILED_DESCRIPTION, Refusal, Unavailable};
use super::trouble::Trouble;

/// Most outcomes of one number that are told.
const MAX_OUTCOMES: usize = 100;
/// How many of them are gone through where all the others are of units that the token does not cover.
const MAX_OF_OTHERS: usize = 10_000;

/// What became of a communication.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CommunicationEvents)]
pub(super) struct Events<'a> {
    /// The events that told its outcomes.
    #[schema(inline)]
    events: Vec<Event<'a>>,
    /// Why it was rejected, if it was.
    #[schema(inline)]
    errors: Vec<Error>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Event<'a> {
    /// Type of the event.
    r#type: String,
    /// The communication's number.
    source: &'a str,
    /// The account's external id.
    subject: &'a str,
    /// What the event carried.
    #[schema(value_type = Object)]
    data: EventData<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Error {
    /// Code of the reason.
    code: &'static str,
    /// The code in words.
    description: &'static str,
}

impl<'a> Events<'a> {
    /// Puts outcomes into words, in their order.
    pub(super) fn of(outcomes: &'a [PersistedOutcome], type_prefix: &str) -> Self {
        let event = |known: &'a PersistedOutcome| {
            let Outcome { verdict, .. } = known.outcome?;
            let data = EventData::new(&known.communication, verdict);
            Some(Event {
                r#type: event_type(type_prefix, verdict),
                source: data.communication_number,
                subject: data.account_ext_id,
                data,
            })
        };
        let error = |known: &PersistedOutcome| match known.outcome {
            Some(Outcome { verdict: Verdict::Accepted, .. }) => None,
            Some(Outcome { verdict: Verdict::Rejected(code), .. }) => {
                Some(Error { code: code.code(), description: code.description() })
            }
            None => Some(Error { code: FAILED_CODE, description: FAILED_DESCRIPTION }),
        };
        Self {
            events: outcomes.iter().filter_map(event).collect(),
            errors: outcomes.iter().filter_map(error).collect(),
        }
    }
}

impl<Q: Queue, S: Store> Intake<Q, S> {
    /// The store, if this intake has one.
    pub(super) fn store(&self) -> Result<&S, Refusal> {
        self.shared.store.as_ref().ok_or(Refusal::Unavailable(Unavailable::NoStore))
    }

    /// Asks the store, measured and within the request's trace.
    pub(super) async fn ask<T>(
        &self,
        store: &S,
        operation: &'static str,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Refusal> {
        let call = StoreCall { system: store.system(), operation, collection: None };
        let answered = call.measure(&self.shared.metrics, answer, StoreError::kind).await;
        match answered {
            Ok(answer) => {
                self.shared.store_trouble.worked();
                Ok(answer)
            }
            Err(error) => Err(refused(&self.shared.store_trouble, &error)),
        }
    }

    /// The outcomes of a number that the token's units cover, one per event; never empty.
    pub(super) async fn outcomes(
        &self,
        number: &CommunicationNumber,
        token: &Token,
    ) -> Result<Vec<PersistedOutcome>, Refusal> {
        let store = self.store()?;
        let units = &token.business_units;
        for limit in [MAX_OUTCOMES, MAX_OF_OTHERS] {
            let mut outcomes = self.ask(store, "outcomes", store.outcomes(number, limit)).await?;
            let may_be_more = outcomes.len() >= limit;
            outcomes.retain(|known| units.covers(known.communication.account.business_unit.as_ref()));
            // Content that is rejected again has the same event again.
            let mut told = HashSet::new();
            outcomes.retain(|known| known.outcome.is_none_or(|outcome| told.insert(outcome.event_id)));
            outcomes.truncate(MAX_OUTCOMES);
            if !outcomes.is_empty() {
                return Ok(outcomes);
            }
            if !may_be_more {
                break;
            }
        }
        Err(Refusal::NotFound)
    }
}

/// The store has not answered.
fn refused(trouble: &Trouble, error: &StoreError) -> Refusal {
    let is_news = trouble.refused(error.kind());
    if let StoreError::Broken { .. } = error {
        if is_news {
            tracing::error!(
                error = %with_causes(error),
                "the store does not answer until an operator has put it right; look-ups are refused"
            );
        }
        return Refusal::Unavailable(Unavailable::BrokenStore);
    }
    if is_news {
        tracing::warn!(error = %with_causes(error), "the store does not answer; look-ups are refused");
    }
    Refusal::Unavailable(Unavailable::Store)
}

/// An entry of a classifier.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClassifierEntry)]
pub(super) struct Entry<'a> {
    /// The code to send.
    code: &'a str,
    /// What it stands for.
    name: &'a str,
}

/// The entries of an institution's list, by code.
pub(super) fn entries(list: &Classifier) -> Vec<Entry<'_>> {
    list.iter().map(|(code, name)| Entry { code, name }).collect()
}

/// The units among an institution's that a token covers.
pub(super) fn units_of<'l>(list: &'l Classifier, token: &Token) -> Vec<Entry<'l>> {
    let is_covered = |code: &str| {
        BusinessUnit::parse(code).is_ok_and(|unit| token.business_units.covers(Some(&unit)))
    };
    let entries = list.iter().filter(|(code, _)| is_covered(code));
    entries.map(|(code, name)| Entry { code, name }).collect()
}

/// Every currency, by code.
pub(super) fn currency_entries() -> Vec<Entry<'static>> {
    currencies().iter().map(|&(code, name)| Entry { code, name }).collect()
}
