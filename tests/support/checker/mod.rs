//! The promises of the pipeline, checked over plain facts: what clients were answered, what is on the
//! log, what the store holds, what was told. One checker for every test that lets things break,
//! whatever queue and store are behind.
//!
//! It knows the rules by a second writing of them, and decides nothing the way the pipeline does.

#![allow(dead_code, unused_imports, reason = "every test program checks what it can see")]

mod accounts;
mod facts;
pub mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use penstock::account::{
    CommunicationNumber, Coordinates, EventId, LogPartition, Offset, Partition, RejectionCode, Verdict,
};

pub use accounts::Order;
pub use facts::{
    AccountRow, Answered, DeadLetter, Event, Facts, LedgerRow, Noted, RejectionRow, Stored, Submitted,
};

/// Nothing to object to, or what is wrong.
pub type Check = Result<(), String>;

/// How a record ended, by what is persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Accepted(EventId),
    Rejected(RejectionCode, EventId),
    Repeated(EventId),
    DeadLettered,
}

/// How many of what there is, once everything has come to rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub submitted: usize,
    pub accepted: usize,
    pub rejected: usize,
    pub repeated: usize,
    pub dead: usize,
    /// Records on the results topic, copies included.
    pub events: usize,
    /// Copies among them.
    pub copies: usize,
}

/// Facts that can be looked up.
pub struct World<'a> {
    facts: &'a Facts,
    ledger: HashMap<&'a CommunicationNumber, &'a LedgerRow>,
    rejections: BTreeMap<Coordinates, &'a RejectionRow>,
    told: HashMap<EventId, (&'a str, &'a Bytes)>,
    dead_letters: HashMap<(Partition, Offset), &'a Bytes>,
}

impl<'a> World<'a> {
    /// Copies of events that differ, and rows that share a key, are objected to here.
    pub fn of(facts: &'a Facts) -> Result<Self, String> {
        let mut world = Self {
            facts,
            ledger: HashMap::new(),
            rejections: BTreeMap::new(),
            told: HashMap::new(),
            dead_letters: HashMap::new(),
        };
        for row in &facts.stored.ledger {
            if world.ledger.insert(&row.number, row).is_some() {
                return Err(format!("{:?} is twice in the ledger", row.number));
            }
        }
        for row in &facts.stored.rejections {
            if world.rejections.insert(row.coordinates, row).is_some() {
                return Err(format!("{} is twice among the rejections", row.coordinates));
            }
        }
        for event in &facts.events {
            let copy = (event.kind.as_str(), &event.body);
            if *world.told.entry(event.id).or_insert(copy) != copy {
                return Err(format!("event {} has two bodies", event.id));
            }
        }
        let letters = facts.dead_letters.iter();
        world.dead_letters.extend(letters.map(|letter| (letter.origin, &letter.value)));
        Ok(world)
    }

    /// How a record ended; none when it has no ending yet.
    pub fn ending(&self, submitted: &Submitted) -> Result<Option<Ending>, String> {
        let Some(submission) = &submitted.submission else { return Ok(Some(Ending::DeadLettered)) };
        let at = submitted.coordinates;
        let claim = self.ledger.get(&submission.account.communication_number);
        let accepted = claim.filter(|claim| claim.coordinates == at).map(|claim| claim.event_id);
        let noted = self.rejections.get(&at).map(|row| row.noted);
        let frontier = self.facts.stored.frontiers.get(&at.log);
        let is_applied = frontier.is_some_and(|frontier| at.offset < *frontier);
        let repeats = claim.filter(|claim| claim.fingerprint == submission.fingerprint);
        match (accepted, noted) {
            (Some(_), Some(_)) => Err(format!("{at} has two outcomes")),
            (Some(event_id), None) => Ok(Some(Ending::Accepted(event_id))),
            (None, Some(Noted::DeadLettered)) => Ok(Some(Ending::DeadLettered)),
            (None, Some(Noted::Rejected(code, event_id))) => Ok(Some(Ending::Rejected(code, event_id))),
            (None, None) if !is_applied => Ok(None),
            (None, None) => match repeats {
                Some(claim) => Ok(Some(Ending::Repeated(claim.event_id))),
                None => Err(format!("{at} is before the frontier without an outcome")),
            },
        }
    }

    /// A record is done when its outcome is persisted and told.
    fn is_done(&self, submitted: &Submitted) -> Check {
        let at = submitted.coordinates;
        match self.ending(submitted)? {
            None => Err(format!("{at} has no outcome")),
            Some(Ending::DeadLettered) => match self.dead_letters.get(&(at.log.partition, at.offset)) {
                None => Err(format!("{at} has no dead letter")),
                Some(value) if **value != submitted.value => {
                    Err(format!("the dead letter of {at} has other bytes"))
                }
                Some(_) => Ok(()),
            },
            Some(Ending::Accepted(id)) => self.is_told(at, id, "accepted"),
            Some(Ending::Rejected(_, id)) => self.is_told(at, id, "rejected"),
            Some(Ending::Repeated(_)) => Ok(()),
        }
    }

    fn is_told(&self, at: Coordinates, id: EventId, verdict: &str) -> Check {
        match self.told.get(&id) {
            None => Err(format!("{at} has no event")),
            Some((kind, _)) if !kind.ends_with(verdict) => {
                Err(format!("the event of {at} is a {kind}, but it was {verdict}"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Promise 5: whatever lies before a committed offset is done.
    pub fn is_done_up_to(&self, partition: Partition, committed: Offset) -> Check {
        let before = |submitted: &&Submitted| {
            let Coordinates { log, offset } = submitted.coordinates;
            log.partition == partition && offset < committed
        };
        self.facts
            .submitted
            .iter()
            .filter(before)
            .try_for_each(|submitted| self.is_done(submitted))
            .map_err(|violation| format!("committed {partition:?} up to {committed:?}, but {violation}"))
    }

    /// Promise 5 for all that is committed.
    pub fn committed_is_done(&self) -> Check {
        self.facts
            .committed
            .iter()
            .try_for_each(|(partition, committed)| self.is_done_up_to(*partition, *committed))
    }

    /// Lag is 0: whatever is on the log is committed.
    pub fn everything_is_committed(&self) -> Check {
        for submitted in &self.facts.submitted {
            let Coordinates { log: LogPartition { partition, .. }, offset } = submitted.coordinates;
            if self.facts.committed.get(&partition).is_none_or(|committed| *committed <= offset) {
                return Err(format!("{} was never committed", submitted.coordinates));
            }
        }
        Ok(())
    }

    /// Promises 1 to 4 and 6 once everything has come to rest.
    pub fn at_rest(&self, order: Order) -> Result<Counts, String> {
        self.rows_are_of_records()?;
        self.facts.submitted.iter().try_for_each(|submitted| self.is_done(submitted))?;
        self.events_are_of_outcomes()?;
        accounts::check(self, order)?;
        self.answers_are_true()?;
        self.count()
    }

    /// Promise 2, from the rows' side.
    fn rows_are_of_records(&self) -> Check {
        let records: HashMap<Coordinates, &Submitted> =
            self.facts.submitted.iter().map(|submitted| (submitted.coordinates, submitted)).collect();
        let submission =
            |at: &Coordinates| records.get(at).and_then(|record| record.submission.as_ref());
        for row in &self.facts.stored.ledger {
            let is_of_record = submission(&row.coordinates).is_some_and(|submission| {
                submission.account.communication_number == row.number
                    && submission.fingerprint == row.fingerprint
            });
            if !is_of_record {
                return Err(format!("{:?} is in the ledger without its record", row.number));
            }
        }
        for row in &self.facts.stored.rejections {
            let number = submission(&row.coordinates).map(|s| &s.account.communication_number);
            if number != Some(&row.number) {
                return Err(format!("{} is noted as rejected without its record", row.coordinates));
            }
        }
        Ok(())
    }

    /// Promise 3: every event tells a persisted outcome, or one that a replay has changed.
    fn events_are_of_outcomes(&self) -> Check {
        let mut outcomes: HashSet<EventId> = self.facts.former.iter().copied().collect();
        for submitted in &self.facts.submitted {
            if let Some(Ending::Accepted(id) | Ending::Rejected(_, id)) = self.ending(submitted)? {
                outcomes.insert(id);
            }
        }
        match self.told.keys().find(|id| !outcomes.contains(*id)) {
            Some(id) => Err(format!("event {id} tells an outcome that was not persisted")),
            None => Ok(()),
        }
    }

    /// Promise 1 from the clients' side: what they were answered is persisted.
    fn answers_are_true(&self) -> Check {
        let rejected: BTreeSet<(&str, RejectionCode)> = self
            .facts
            .stored
            .rejections
            .iter()
            .filter_map(|row| match row.noted {
                Noted::Rejected(code, _) => Some((row.number.as_str(), code)),
                Noted::DeadLettered => None,
            })
            .collect();
        for Answered { number, verdict } in &self.facts.answers {
            let is_persisted = match verdict {
                Verdict::Accepted => self.ledger.contains_key(number),
                Verdict::Rejected(code) => rejected.contains(&(number.as_str(), *code)),
            };
            if !is_persisted {
                return Err(format!("{number:?} was answered {verdict:?}, which is not persisted"));
            }
        }
        Ok(())
    }

    fn count(&self) -> Result<Counts, String> {
        let mut counts = Counts {
            submitted: self.facts.submitted.len(),
            events: self.facts.events.len(),
            copies: self.facts.events.len() - self.told.len(),
            ..Counts::default()
        };
        for submitted in &self.facts.submitted {
            match self.ending(submitted)? {
                Some(Ending::Accepted(_)) => counts.accepted += 1,
                Some(Ending::Rejected(..)) => counts.rejected += 1,
                Some(Ending::Repeated(_)) => counts.repeated += 1,
                Some(Ending::DeadLettered) => counts.dead += 1,
                None => return Err(format!("{} has no outcome", submitted.coordinates)),
            }
        }
        Ok(counts)
    }
}
