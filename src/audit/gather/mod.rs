//! The sources, read one after the other in the order in which what they hold comes about: what follows from
//! something is read after it.

mod log;
mod store;
mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::account::{CommunicationNumber, Generation};
use crate::callbacks::routing::{DeliverFrom, Filter};
use crate::queue::{PollLimits, Reader, Received};
use crate::replay::Window;
use crate::spill::{Encoded, Spill, SpillError};
use crate::spread::spread;
use crate::store::EndpointName;

use super::bounds::Bounds;
use super::facts::{AccountFact, Key, LetterDue, NumberFact, Origin, PlaceFact, Says, record_digest};
use super::run::{AuditError, Stage, Telling};
use super::sieve::Sieve;

pub(super) use log::{ReadLog, log, numbers_of_batch};
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
    pub(super) sieve: Arc<Sieve>,
}

impl Gathered {
    /// Room for facts that are made of a piece of a source, by whatever thread.
    fn room(&self) -> Facts {
        Facts {
            numbers: self.numbers.encoder(),
            others: Others { places: self.places.encoder(), accounts: self.accounts.encoder() },
        }
    }

    /// Adds what is made of every piece that `next` brings.
    async fn gather<P: Send + 'static>(
        &mut self,
        next: impl AsyncFnMut() -> Result<Option<P>, AuditError>,
        make: impl Fn(P, &mut Facts) -> Result<(), SpillError> + Clone + Send + 'static,
    ) -> Result<(), AuditError> {
        let room = self.room();
        let work = move |piece| {
            let mut facts = room.clone();
            make(piece, &mut facts)?;
            Ok(facts)
        };
        spread(next, work, async |facts| Ok(self.add(&facts)?)).await
    }

    fn add(&mut self, facts: &Facts) -> Result<(), SpillError> {
        self.numbers.add(&facts.numbers)?;
        self.places.add(&facts.others.places)?;
        self.accounts.add(&facts.others.accounts)
    }
}

/// Facts of a piece of a source.
#[derive(Clone)]
struct Facts {
    numbers: Encoded<NumberFact>,
    others: Others,
}

/// Facts about places and accounts.
#[derive(Clone)]
pub(super) struct Others {
    pub(super) places: Encoded<PlaceFact>,
    pub(super) accounts: Encoded<AccountFact>,
}

impl Others {
    /// Adds a fact about a place.
    pub(super) fn place(&mut self, fact: &PlaceFact) -> Result<(), SpillError> {
        let key = match fact.at {
            Origin::Submitted(at) => (0_u8, at.log.generation.0, at.log.partition.0, at.offset.0),
            Origin::Results(at) => (1, 0, at.partition, at.offset),
        };
        let (topic, generation, partition, offset) = key;
        let mut bytes = vec![topic];
        bytes.extend(generation.to_le_bytes());
        bytes.extend(partition.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        self.places.push(&bytes, fact)
    }

    /// Adds a fact about an account.
    pub(super) fn account(&mut self, fact: &AccountFact) -> Result<(), SpillError> {
        self.accounts.push(key_text(&fact.key).as_bytes(), fact)
    }
}

/// An account in one text.
fn key_text(key: &Key) -> String {
    format!("{}\0{}", key.business_unit.as_deref().unwrap_or_default(), key.account_ext_id)
}

/// Which facts are kept.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) scope: Arc<Scope>,
    pub(super) bounds: Arc<Bounds>,
    pub(super) sieve: Arc<Sieve>,
}

impl Kept {
    /// Adds a fact of a number that the window has, or that it should have.
    fn number(&self, facts: &mut Facts, fact: &NumberFact) -> Result<(), SpillError> {
        let is_asked_for = self.scope.has(&fact.number);
        let is_kept = || self.sieve.may_have(&fact.number) || should_be_there(&fact.says, &self.bounds);
        if is_asked_for && is_kept() {
            facts.numbers.push(fact.number.as_bytes(), fact)?;
        }
        Ok(())
    }
}

/// The next records, which are told of.
async fn next_of(
    reader: &mut impl Reader,
    limits: PollLimits,
    stage: Stage,
    tell: &mut impl Telling,
) -> Result<Option<Vec<Received>>, AuditError> {
    if reader.is_done() {
        return Ok(None);
    }
    let received = reader.read(limits).await?;
    tell.read(stage, received.len() as u64);
    Ok(Some(received))
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
