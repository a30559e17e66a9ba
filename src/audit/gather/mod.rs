//! The sources, read one after the other in the order in which what they hold comes about: what follows from
//! something is read after it.

mod log;
mod store;
mod topics;

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::account::{CommunicationNumber, Generation};
use crate::callbacks::routing::{DeliverFrom, Filter};
use crate::queue::{PollLimits, Received};
use crate::replay::Window;
use crate::spill::{Encoded, Spill, SpillError};
use crate::store::EndpointName;

use super::bounds::Bounds;
use super::facts::{AccountFact, Key, LetterDue, NumberFact, Origin, PlaceFact, Says, record_digest};
use super::run::AuditError;
use super::sieve::Sieve;

pub(super) use log::{log, numbers_of_batch};
pub(super) use store::{accounts, changes, deliveries, outcomes};
pub(super) use topics::{Behind, letters, results};

/// An endpoint as far as an audit looks at it.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub name: EndpointName,
    /// What it takes.
    pub filter: Filter,
    /// From when on.
    pub deliver_from: DeliverFrom,
}

/// What is audited.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Of the topics.
    pub generation: Generation,
    /// The workers' group.
    pub workers: String,
    /// The group of the callbacks.
    pub callbacks: String,
    /// The part of the log.
    pub window: Window,
    /// The numbers that are looked at; none: all.
    pub numbers: Option<BTreeSet<CommunicationNumber>>,
    /// The endpoints.
    pub receivers: Vec<Receiver>,
    /// How long deliveries that have ended are kept.
    pub deliveries_kept: Duration,
    /// Whether accounts are looked at too.
    pub is_deep: bool,
    /// How much is read at a time.
    pub limits: PollLimits,
}

impl Scope {
    fn has(&self, number: &str) -> bool {
        let is_it = |numbers: &BTreeSet<CommunicationNumber>| {
            CommunicationNumber::parse(number).is_ok_and(|number| numbers.contains(&number))
        };
        self.numbers.as_ref().is_none_or(is_it)
    }
}

/// Where facts are gathered.
pub(super) struct Gathered {
    pub(super) numbers: Spill<NumberFact>,
    pub(super) places: Spill<PlaceFact>,
    pub(super) accounts: Spill<AccountFact>,
    /// The numbers of the window, and its accounts.
    pub(super) sieve: Sieve,
}

/// Adds a fact about a place.
pub(super) fn push_place(into: &mut Spill<PlaceFact>, fact: &PlaceFact) -> Result<(), AuditError> {
    let key = match fact.at {
        Origin::Submitted(at) => (0_u8, at.log.generation.0, at.log.partition.0, at.offset.0),
        Origin::Results(at) => (1, 0, at.partition, at.offset),
    };
    let (topic, generation, partition, offset) = key;
    let mut bytes = vec![topic];
    bytes.extend(generation.to_le_bytes());
    bytes.extend(partition.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    Ok(into.push(&bytes, fact)?)
}

/// Adds a fact about an account.
pub(super) fn push_account(into: &mut Spill<AccountFact>, fact: &AccountFact) -> Result<(), AuditError> {
    Ok(into.push(key_text(&fact.key).as_bytes(), fact)?)
}

/// An account in one text.
fn key_text(key: &Key) -> String {
    format!("{}\0{}", key.business_unit.as_deref().unwrap_or_default(), key.account_ext_id)
}

/// Adds a fact of a number that the window has, or that it should have.
fn push(
    numbers: &mut Encoded<NumberFact>,
    sieve: &Sieve,
    (scope, bounds): (&Scope, &Bounds),
    fact: &NumberFact,
) -> Result<(), SpillError> {
    let is_asked_for = scope.has(&fact.number);
    if is_asked_for && (sieve.may_have(&fact.number) || should_be_there(&fact.says, bounds)) {
        numbers.push(fact.number.as_bytes(), fact)?;
    }
    Ok(())
}

/// Whether the window should have a submission because of what is said.
fn should_be_there(says: &Says, bounds: &Bounds) -> bool {
    match says {
        Says::Submitted(_) => true,
        Says::Accepted(accepted) => bounds.is_audited(accepted.at),
        Says::Noted(noted) => bounds.is_audited(noted.at),
        Says::Told(told) => bounds.must_be_submitted(Some(told.at.partition), told.time_ms),
        Says::Recorded(recorded) => {
            recorded.content.is_none() || bounds.must_be_submitted(None, recorded.time_ms)
        }
    }
}

/// What is due for a record that is none of what its topic is for.
fn letter_due(received: &Received, is_only_outcome: bool) -> LetterDue {
    LetterDue {
        number: None,
        record: record_digest(&received.record),
        content: Sha256::digest(&received.record.value).into(),
        appended_ms: received.appended_at.unix_millis(),
        is_only_outcome,
    }
}
