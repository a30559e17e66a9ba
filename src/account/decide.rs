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
    /// The same record again, of which nothing was persisted: to the release that applied it, it was no
    /// submission.
    PassedOver,
}

impl Decided {
    /// The outcome; none for a dead letter.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::New(outcome) | Self::Redelivered(outcome) | Self::Resubmitted(outcome) => {
                Some(outcome)
            }
            Self::DeadLettered | Self::PassedOver => None,
        }
    }

    /// The outcome if its event is to be sent.
    pub fn event(self) -> Option<Outcome> {
        match self {
            Self::New(outcome) | Self::Redelivered(outcome) => Some(outcome),
            Self::Resubmitted(_) | Self::DeadLettered | Self::PassedOver => None,
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

/// What the store holds of a record's place is another record's: this is not the log it was applied from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the store holds of the submission at {coordinates} is another submission's")]
pub struct ForeignOutcome {
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
) -> Result<Decision, ForeignOutcome> {
    let mut desk = Desk::new(view, policy, submissions.len());
    let decided =
        submissions.iter().map(|submission| desk.take(submission)).collect::<Result<_, _>>()?;
    Ok(Decision { decided, plan: desk.into_plan(frontier_moves(through, view)) })
}

/// How a submission had ended, by what was told of it then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing is known.
    #[default]
    Nothing,
    /// It was told so.
    Verdict(Verdict),
    /// It was put aside, since the store could not take it.
    SetAside,
    /// It was put aside as no submission.
    NoSubmission,
}

/// Decides submissions as they were decided before, `told` each in their order; what nothing is known of is decided
/// anew. Everything else is as in [`decide`].
pub fn restore(
    submissions: &[Submission],
    told: &[Told],
    through: &[(LogPartition, Offset)],
    view: &View,
    policy: &Policy,
) -> Result<Decision, ForeignOutcome> {
    let mut desk = Desk::new(view, policy, submissions.len());
    let told = told.iter().copied().chain(std::iter::repeat(Told::Nothing));
    let restored = submissions.iter().zip(told).map(|(submission, told)| desk.restore(submission, told));
    let decided = restored.collect::<Result<_, _>>()?;
    Ok(Decision { decided, plan: desk.into_plan(frontier_moves(through, view)) })
}

/// The plan that puts one submission aside as a dead letter instead of deciding it; `through` as in
/// [`decide`].
pub fn set_aside(submission: &Submission, through: &[(LogPartition, Offset)], view: &View) -> Plan {
    let rejections = vec![set_aside_note(submission)];
    Plan { frontiers: frontier_moves(through, view), rejections, ..Plan::default() }
}

fn set_aside_note(submission: &Submission) -> RejectionNote {
    RejectionNote {
        coordinates: submission.coordinates,
        communication: submission.account.communication(),
        rejection: Rejection::DeadLettered,
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
pub(super) struct Desk<'a> {
    view: &'a View,
    policy: &'a Policy,
    claims: HashMap<CommunicationNumber, Claim, RandomState>,
    accounts: HashMap<AccountKey, AccountWrite, RandomState>,
    rejections: Vec<RejectionNote>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(view: &'a View, policy: &'a Policy, submissions: usize) -> Self {
        Self {
            view,
            policy,
            claims: HashMap::with_capacity_and_hasher(submissions, RandomState::default()),
            accounts: HashMap::with_capacity_and_hasher(submissions, RandomState::default()),
            rejections: Vec::new(),
        }
    }

    /// How a submission ended that was decided before.
    fn before(&self, submission: &Submission) -> Result<Option<Decided>, ForeignOutcome> {
        let Coordinates { log, offset } = submission.coordinates;
        if let Some(noted) = self.view.rejections.get(&submission.coordinates) {
            return noted_before(submission, *noted).map(Some);
        }
        if self.view.frontiers.get(&log).is_some_and(|frontier| offset < *frontier) {
            return read_back(submission, self.view).map(Some);
        }
        Ok(None)
    }

    fn take(&mut self, submission: &Submission) -> Result<Decided, ForeignOutcome> {
        if let Some(before) = self.before(submission)? {
            return Ok(before);
        }
        Ok(match self.accepted(&submission.account.communication_number) {
            Some(entry) if entry.fingerprint == submission.fingerprint => again(entry, submission),
            Some(_) => Decided::New(self.reject(submission, RejectionCode::O005)),
            None => self.judge(submission),
        })
    }

    fn restore(&mut self, submission: &Submission, told: Told) -> Result<Decided, ForeignOutcome> {
        if let Some(before) = self.before(submission)? {
            return Ok(before);
        }
        let is_taken = self.accepted(&submission.account.communication_number).is_some();
        Ok(match told {
            Told::Verdict(Verdict::Accepted) if !is_taken => {
                let outcome = self.claim(submission);
                if !self.has_newer_state(submission) {
                    self.write(submission);
                }
                Decided::New(outcome)
            }
            Told::Verdict(Verdict::Rejected(code)) => Decided::New(self.reject(submission, code)),
            Told::SetAside => {
                self.rejections.push(set_aside_note(submission));
                Decided::DeadLettered
            }
            Told::NoSubmission => Decided::PassedOver,
            Told::Verdict(Verdict::Accepted) | Told::Nothing => return self.take(submission),
        })
    }

    pub(super) fn accepted(&self, number: &CommunicationNumber) -> Option<LedgerEntry> {
        let claimed = self.claims.get(number).map(|claim| LedgerEntry {
            fingerprint: claim.fingerprint,
            event_id: claim.event_id,
            coordinates: claim.coordinates,
        });
        claimed.or_else(|| self.view.ledger.get(number).copied())
    }

    fn judge(&mut self, submission: &Submission) -> Decided {
        Decided::New(match self.violation(submission) {
            Some(code) => self.reject(submission, code),
            None => self.accept(submission),
        })
    }

    /// The first rule that the submission breaks now.
    pub(super) fn violation(&self, submission: &Submission) -> Option<RejectionCode> {
        let key = submission.account.key();
        let written = self.accounts.get(&key).map(|write| &write.account.business_entity_ext_id);
        let shown = || self.view.accounts.get(&key).map(|state| &state.business_entity_ext_id);
        let violation = first_violation(&submission.account, written.or_else(shown), self.policy);
        violation.or_else(|| self.is_superseded(submission).then_some(RejectionCode::A016))
    }

    /// Whether the submission was put back and its account has a newer state by now. No policy takes an older state
    /// for it.
    fn is_superseded(&self, submission: &Submission) -> bool {
        let version = submission.origin.and(self.version(submission));
        version.is_some_and(|version| version.may_follow(submission.version()))
    }

    /// The version of the submission's account now.
    pub(super) fn version(&self, submission: &Submission) -> Option<Coordinates> {
        let key = submission.account.key();
        let written = self.accounts.get(&key).map(|write| write.version);
        written.or_else(|| self.view.accounts.get(&key).map(|state| state.version))
    }

    /// Whether the submission's account comes from a later place of the same log.
    fn has_newer_state(&self, submission: &Submission) -> bool {
        let own = submission.version();
        self.version(submission).is_some_and(|version| version.log == own.log && version > own)
    }

    pub(super) fn accept(&mut self, submission: &Submission) -> Outcome {
        let outcome = self.claim(submission);
        self.write(submission);
        outcome
    }

    fn claim(&mut self, submission: &Submission) -> Outcome {
        let outcome = outcome_of(submission, Verdict::Accepted);
        let Submission { account, fingerprint, coordinates, .. } = submission;
        let claim = Claim {
            communication: account.communication(),
            fingerprint: *fingerprint,
            event_id: outcome.event_id,
            coordinates: *coordinates,
        };
        self.claims.insert(account.communication_number.clone(), claim);
        outcome
    }

    fn write(&mut self, submission: &Submission) {
        let key = submission.account.key();
        let write = AccountWrite {
            key: key.clone(),
            expected: self.view.accounts.get(&key).map(|state| state.version),
            account: Arc::clone(&submission.account),
            version: submission.version(),
        };
        self.accounts.insert(key, write);
    }

    pub(super) fn reject(&mut self, submission: &Submission, code: RejectionCode) -> Outcome {
        let outcome = outcome_of(submission, Verdict::Rejected(code));
        self.rejections.push(RejectionNote {
            coordinates: submission.coordinates,
            communication: submission.account.communication(),
            rejection: Rejection::Decided(outcome),
        });
        outcome
    }

    pub(super) fn into_plan(mut self, frontiers: Vec<FrontierMove>) -> Plan {
        let mut claims: Vec<Claim> = self.claims.into_values().collect();
        claims.sort_unstable_by(|a, b| a.communication.number.cmp(&b.communication.number));
        let mut accounts: Vec<AccountWrite> = self.accounts.into_values().collect();
        accounts.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        self.rejections.sort_unstable_by_key(|note| note.coordinates);
        Plan { frontiers, claims, accounts, rejections: self.rejections, ..Plan::default() }
    }
}

/// What became of a submission that was applied and not rejected. What is in the ledger of it is its own or an
/// earlier one's; only a release that could not read it leaves neither.
pub(super) fn read_back(submission: &Submission, view: &View) -> Result<Decided, ForeignOutcome> {
    let coordinates = submission.coordinates;
    let Some(entry) = view.ledger.get(&submission.account.communication_number) else {
        return Ok(Decided::PassedOver);
    };
    let is_same = entry.fingerprint == submission.fingerprint;
    if !is_same && entry.coordinates == coordinates {
        return Err(ForeignOutcome { coordinates });
    }
    let is_later = entry.coordinates.log == coordinates.log && entry.coordinates > coordinates;
    Ok(if is_same && !is_later { again(*entry, submission) } else { Decided::PassedOver })
}

/// The first outcome of a submission that was not accepted, if it is its own: the event's id tells.
pub(super) fn noted_before(
    submission: &Submission,
    noted: Rejection,
) -> Result<Decided, ForeignOutcome> {
    match noted {
        Rejection::DeadLettered => Ok(Decided::DeadLettered),
        Rejection::Decided(outcome) if outcome == outcome_of(submission, outcome.verdict) => {
            Ok(Decided::Redelivered(outcome))
        }
        Rejection::Decided(_) => Err(ForeignOutcome { coordinates: submission.coordinates }),
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

pub(super) fn outcome_of(submission: &Submission, verdict: Verdict) -> Outcome {
    let number = &submission.account.communication_number;
    Outcome { verdict, event_id: EventId::of(number, &submission.fingerprint, verdict) }
}

#[cfg(test)]
mod tests {
    use super::super::coordinates::{Generation, Partition};
    use super::super::plan::AccountState;
    use super::super::request::Account;
    use super::*;

    const LOG: LogPartition = LogPartition { generation: Generation(1), partition: Partition(0) };

    /// The submission of this number at this offset; only euros are accepted.
    fn submission(number: &str, offset: u64, currency: &str) -> Submission {
        let account = format!(
            r#"{{"communicationNumber": "{number}", "requester": "CORE", "businessEntityExtId": "c",
                "accountExtId": "a", "accountNumber": "1", "accountStatus": "ACTIVE",
                "currencyCode": "{currency}", "openingDate": "2023-09-05T08:07:34Z"}}"#
        );
        Submission::new(Account::parse(&account).unwrap(), None, LOG.at(Offset(offset)))
    }

    /// What the store shows once `applied` was applied.
    fn after(applied: &[Submission]) -> View {
        let next = Offset(applied.len() as u64);
        let decision = decide(applied, &[(LOG, next)], &View::default(), &Policy::default()).unwrap();
        let mut view = View::default();
        view.frontiers.insert(LOG, next);
        for Claim { communication, fingerprint, event_id, coordinates } in decision.plan.claims {
            let entry = LedgerEntry { fingerprint, event_id, coordinates };
            view.ledger.insert(communication.number, entry);
        }
        for note in decision.plan.rejections {
            view.rejections.insert(note.coordinates, note.rejection);
        }
        view
    }

    fn read_back_of(submission: Submission, view: &View) -> Result<Decided, ForeignOutcome> {
        decide(&[submission], &[], view, &Policy::default()).map(|decision| decision.decided[0])
    }

    /// An update of the account that was put back to this offset and stood at another first.
    fn put_back(number: &str, offset: u64, origin: u64) -> Submission {
        let account = format!(
            r#"{{"communicationNumber": "{number}", "requester": "CORE", "businessEntityExtId": "c",
                "accountExtId": "a", "accountNumber": "1", "accountStatus": "ACTIVE", "action": "UPDATE",
                "currencyCode": "EUR", "openingDate": "2023-09-05T08:07:34Z"}}"#
        );
        let submission =
            Submission::new(Account::parse(&account).unwrap(), None, LOG.at(Offset(offset)));
        submission.put_back_from(Some(LOG.at(Offset(origin))))
    }

    /// What the store shows of the account when it has this version.
    fn with_version(offset: u64) -> View {
        let mut view = View::default();
        let submission = put_back("n", 0, 0);
        let state = AccountState {
            business_entity_ext_id: submission.account.business_entity_ext_id.clone(),
            version: LOG.at(Offset(offset)),
        };
        view.accounts.insert(submission.account.key(), state);
        view
    }

    #[test]
    fn what_is_put_back_replaces_nothing_that_was_submitted_meanwhile() {
        let decided = |submissions: &[Submission], view: &View, policy: &Policy| {
            let decision = decide(submissions, &[], view, policy).unwrap();
            let verdicts: Vec<_> =
                decision.decided.iter().map(|it| it.outcome().unwrap().verdict).collect();
            (verdicts, decision.plan.accounts.first().map(|write| write.version.offset.0))
        };
        let policy = Policy::default();
        let superseded = Verdict::Rejected(RejectionCode::A016);
        let one = [put_back("n1", 20, 5)];
        assert_eq!(decided(&one, &with_version(7), &policy), (vec![superseded], None));
        assert_eq!(decided(&one, &with_version(3), &policy), (vec![Verdict::Accepted], Some(5)));
        let both = [put_back("n1", 20, 5), put_back("n2", 21, 6)];
        assert_eq!(decided(&both, &with_version(3), &policy), (vec![Verdict::Accepted; 2], Some(6)));
        let backwards = [put_back("n2", 20, 6), put_back("n1", 21, 5)];
        let expected = (vec![Verdict::Accepted, superseded], Some(6));
        assert_eq!(decided(&backwards, &with_version(3), &policy), expected);
        let off = Policy { disabled: [RejectionCode::A016].into(), ..Policy::default() };
        assert_eq!(
            decided(&one, &with_version(7), &off),
            (vec![superseded], None),
            "it is no matter of policy"
        );
    }

    #[test]
    fn what_was_applied_is_read_back_of() {
        let applied = [submission("n0", 0, "EUR"), submission("n1", 1, "XXQ")];
        let view = after(&applied);
        for one in applied {
            assert!(matches!(read_back_of(one, &view), Ok(Decided::Redelivered(_))));
        }
    }

    #[test]
    fn an_outcome_of_another_record_at_the_same_place_is_told_of_none() {
        let view = after(&[submission("n0", 0, "EUR"), submission("n1", 1, "XXQ")]);
        let corrected = submission("n1", 1, "EUR");
        let coordinates = corrected.coordinates;
        assert_eq!(read_back_of(corrected, &view), Err(ForeignOutcome { coordinates }));
        let other = submission("n9", 1, "XXQ");
        assert_eq!(read_back_of(other, &view), Err(ForeignOutcome { coordinates }));
        let changed = submission("n0", 0, "USD");
        let coordinates = changed.coordinates;
        assert_eq!(read_back_of(changed, &view), Err(ForeignOutcome { coordinates }));
    }

    #[test]
    fn what_was_applied_without_an_outcome_was_passed_over() {
        let mut view = after(&[submission("n0", 0, "EUR")]);
        view.frontiers.insert(LOG, Offset(9));
        assert_eq!(read_back_of(submission("n8", 8, "EUR"), &view), Ok(Decided::PassedOver));
        assert_eq!(read_back_of(submission("n0", 8, "USD"), &view), Ok(Decided::PassedOver));
        assert!(matches!(read_back_of(submission("n0", 8, "EUR"), &view), Ok(Decided::Resubmitted(_))));
        let later = after(&[submission("other", 0, "EUR"), submission("n0", 1, "EUR")]);
        assert_eq!(read_back_of(submission("n0", 0, "EUR"), &later), Ok(Decided::PassedOver));
    }

    #[test]
    fn a_rejection_that_is_noted_beyond_the_frontier_is_read_back_and_not_noted_again() {
        let rejected = submission("n1", 0, "XXQ");
        let mut view = after(std::slice::from_ref(&rejected));
        view.frontiers.insert(LOG, Offset(0));
        let decision = decide(&[rejected], &[(LOG, Offset(1))], &view, &Policy::default()).unwrap();
        assert!(matches!(decision.decided[..], [Decided::Redelivered(_)]));
        assert!(decision.plan.rejections.is_empty());
        assert_eq!(decision.plan.frontiers[0].next, Offset(1));
    }
}
