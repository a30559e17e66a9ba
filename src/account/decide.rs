//! The decision: submissions in log order and what the store showed, in; one outcome each and the
//! rows to write, out.
//!
//! Two submissions of one batch that touch the same number or account see each other as if each had
//! been a batch of its own. What lies before a partition's applied frontier is never decided anew:
//! its first outcome is read back, since the account may have moved on.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::coordinates::{Coordinates, LogPartition, Offset};
use super::outcome::{EventId, Outcome, RejectionCode, Verdict};
use super::plan::{
    AccountWrite, Claim, FrontierMove, LedgerEntry, Plan, Rejection, RejectionNote, View,
};
use super::reference::Policy;
use super::rules::first_violation;
use super::submission::{AccountKey, Submission};
use super::text::CommunicationNumber;

/// How a submission ended, and whether it is the first to end so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "every submission gets exactly one outcome"]
pub enum Decided {
    /// Decided now; its event is to be sent.
    New(Outcome),
    /// The same record again: its first outcome; its event is to be sent again, as the first sending
    /// may have been cut short.
    Redelivered(Outcome),
    /// The same number and content in another record: the first outcome again, without an event.
    Resubmitted(Outcome),
    /// The same record again, which was put aside as a dead letter.
    DeadLettered,
}

impl Decided {
    /// The outcome; none for a dead letter.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::New(outcome) | Self::Redelivered(outcome) | Self::Resubmitted(outcome) => {
                Some(outcome)
            }
            Self::DeadLettered => None,
        }
    }

    /// The outcome if its event is to be sent.
    pub fn event(self) -> Option<Outcome> {
        match self {
            Self::New(outcome) | Self::Redelivered(outcome) => Some(outcome),
            Self::Resubmitted(_) | Self::DeadLettered => None,
        }
    }
}

/// What was decided of a batch.
#[derive(Clone, Debug)]
pub struct Decision {
    /// One entry per submission, in their order.
    pub decided: Vec<Decided>,
    /// What is to be written before anybody is told.
    pub plan: Plan,
}

/// The store has applied a record but holds no outcome of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store has moved past the submission at {coordinates} but holds no outcome of it: \
     rows are missing; restore the store from a backup, it catches up from the log by itself"
)]
pub struct InconsistentStore {
    /// The record.
    pub coordinates: Coordinates,
}

/// Decides submissions, given in log order per partition.
///
/// `through` names, per partition of the batch, the offset after its last record, submission or not;
/// `view` must show the numbers, account keys and offset ranges of all submissions.
pub fn decide(
    submissions: &[Submission],
    through: &[(LogPartition, Offset)],
    view: &View,
    policy: &Policy,
) -> Result<Decision, InconsistentStore> {
    let mut desk = Desk::new(view, policy, submissions.len());
    let decided =
        submissions.iter().map(|submission| desk.take(submission)).collect::<Result<_, _>>()?;
    Ok(Decision { decided, plan: desk.into_plan(frontier_moves(through, view)) })
}

/// The plan that puts one submission aside as a dead letter instead of deciding it.
pub fn set_aside(submission: &Submission, view: &View) -> Plan {
    let Coordinates { log, offset } = submission.coordinates;
    let note = RejectionNote {
        coordinates: submission.coordinates,
        communication: submission.account.communication(),
        rejection: Rejection::DeadLettered,
    };
    Plan {
        frontiers: frontier_moves(&[(log, offset.next())], view),
        rejections: vec![note],
        ..Plan::default()
    }
}

fn frontier_moves(through: &[(LogPartition, Offset)], view: &View) -> Vec<FrontierMove> {
    let mut moves: Vec<FrontierMove> = through
        .iter()
        .map(|&(log, next)| FrontierMove { log, expected: view.frontiers.get(&log).copied(), next })
        .filter(|step| step.expected.is_none_or(|expected| expected < step.next))
        .collect();
    moves.sort_unstable_by_key(|step| step.log);
    moves
}

/// The state of a batch while it is decided: the view, overlaid by what the batch itself changes.
struct Desk<'a> {
    view: &'a View,
    policy: &'a Policy,
    claims: HashMap<CommunicationNumber, Claim, RandomState>,
    accounts: HashMap<AccountKey, AccountWrite, RandomState>,
    rejections: Vec<RejectionNote>,
}

impl<'a> Desk<'a> {
    fn new(view: &'a View, policy: &'a Policy, submissions: usize) -> Self {
        Self {
            view,
            policy,
            claims: HashMap::with_capacity_and_hasher(submissions, RandomState::default()),
            accounts: HashMap::with_capacity_and_hasher(submissions, RandomState::default()),
            rejections: Vec::new(),
        }
    }

    fn take(&mut self, submission: &Submission) -> Result<Decided, InconsistentStore> {
        let Coordinates { log, offset } = submission.coordinates;
        if self.view.frontiers.get(&log).is_some_and(|frontier| offset < *frontier) {
            return self.read_back(submission);
        }
        Ok(match self.accepted(&submission.account.communication_number) {
            Some(entry) if entry.fingerprint == submission.fingerprint => again(entry, submission),
            Some(_) => self.reject(submission, RejectionCode::O005),
            None => self.judge(submission),
        })
    }

    fn accepted(&self, number: &CommunicationNumber) -> Option<LedgerEntry> {
        let claimed = self.claims.get(number).map(|claim| LedgerEntry {
            fingerprint: claim.fingerprint,
            event_id: claim.event_id,
            coordinates: claim.coordinates,
        });
        claimed.or_else(|| self.view.ledger.get(number).copied())
    }

    fn read_back(&self, submission: &Submission) -> Result<Decided, InconsistentStore> {
        let coordinates = submission.coordinates;
        match self.view.rejections.get(&coordinates) {
            Some(Rejection::Decided(outcome)) => return Ok(Decided::Redelivered(*outcome)),
            Some(Rejection::DeadLettered) => return Ok(Decided::DeadLettered),
            None => {}
        }
        match self.view.ledger.get(&submission.account.communication_number) {
            Some(entry) if entry.fingerprint == submission.fingerprint => Ok(again(*entry, submission)),
            _ => Err(InconsistentStore { coordinates }),
        }
    }

    fn judge(&mut self, submission: &Submission) -> Decided {
        let key = submission.account.key();
        let written = self.accounts.get(&key).map(|write| &write.account.business_entity_ext_id);
        let shown = || self.view.accounts.get(&key).map(|state| &state.business_entity_ext_id);
        match first_violation(&submission.account, written.or_else(shown), self.policy) {
            Some(code) => self.reject(submission, code),
            None => self.accept(submission, key),
        }
    }

    fn accept(&mut self, submission: &Submission, key: AccountKey) -> Decided {
        let outcome = outcome_of(submission, Verdict::Accepted);
        let Submission { account, fingerprint, coordinates } = submission;
        let claim = Claim {
            communication: account.communication(),
            fingerprint: *fingerprint,
            event_id: outcome.event_id,
            coordinates: *coordinates,
        };
        self.claims.insert(account.communication_number.clone(), claim);
        let write = AccountWrite {
            key: key.clone(),
            expected: self.view.accounts.get(&key).map(|state| state.version),
            account: Arc::clone(account),
            version: *coordinates,
        };
        self.accounts.insert(key, write);
        Decided::New(outcome)
    }

    fn reject(&mut self, submission: &Submission, code: RejectionCode) -> Decided {
        let outcome = outcome_of(submission, Verdict::Rejected(code));
        self.rejections.push(RejectionNote {
            coordinates: submission.coordinates,
            communication: submission.account.communication(),
            rejection: Rejection::Decided(outcome),
        });
        Decided::New(outcome)
    }

    fn into_plan(mut self, frontiers: Vec<FrontierMove>) -> Plan {
        let mut claims: Vec<Claim> = self.claims.into_values().collect();
        claims.sort_unstable_by(|a, b| a.communication.number.cmp(&b.communication.number));
        let mut accounts: Vec<AccountWrite> = self.accounts.into_values().collect();
        accounts.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        self.rejections.sort_unstable_by_key(|note| note.coordinates);
        Plan { frontiers, claims, accounts, rejections: self.rejections }
    }
}

/// The first outcome of an accepted communication, for a record that repeats it.
fn again(entry: LedgerEntry, submission: &Submission) -> Decided {
    let outcome = Outcome { verdict: Verdict::Accepted, event_id: entry.event_id };
    if entry.coordinates == submission.coordinates {
        Decided::Redelivered(outcome)
    } else {
        Decided::Resubmitted(outcome)
    }
}

fn outcome_of(submission: &Submission, verdict: Verdict) -> Outcome {
    let number = &submission.account.communication_number;
    Outcome { verdict, event_id: EventId::of(number, &submission.fingerprint, verdict) }
}
