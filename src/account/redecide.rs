//! The decision anew, of what was decided before: by the rules and lists of today.
//!
//! What was accepted stays accepted. What was rejected gets the outcome it would get today, in the order of the
//! log, unless something that came later has settled its account or its number meanwhile: an older submission
//! never replaces a newer state.

use super::coordinates::Coordinates;
use super::decide::{Decided, Desk, ForeignOutcome, noted_before, read_back};
use super::outcome::{Outcome, RejectionCode, Verdict};
use super::plan::{Plan, View, Withdrawal};
use super::reference::Policy;
use super::submission::Submission;

/// What becomes of a submission that is decided anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a changed outcome is to be told"]
pub enum Redecided {
    /// It keeps its outcome.
    Unchanged(Outcome),
    /// It would end otherwise today, but keeps its outcome, since something later has settled its account or its
    /// number; none when it had no outcome.
    Superseded(Option<Outcome>),
    /// It ends otherwise; before, it may have had no outcome.
    Changed {
        /// How it ended before.
        before: Option<Outcome>,
        /// How it ends now.
        after: Outcome,
    },
    /// It was put aside as a dead letter, and stays so.
    DeadLettered,
    /// No worker has applied it yet: it is left to them.
    Ahead,
}

/// What was decided anew.
#[derive(Clone, Debug, Default)]
pub struct Redecision {
    /// One entry per submission, in their order.
    pub redecided: Vec<Redecided>,
    /// What is to be written before anybody is told. It moves no frontier.
    pub plan: Plan,
}

/// Decides submissions anew, given in log order per partition; `view` must show the numbers, account keys and
/// offset ranges of all of them.
pub fn redecide(
    submissions: &[Submission],
    view: &View,
    policy: &Policy,
) -> Result<Redecision, ForeignOutcome> {
    let mut desk = Desk::new(view, policy, submissions.len());
    let mut withdrawals = Vec::new();
    let mut redecided = Vec::with_capacity(submissions.len());
    for submission in submissions {
        let ends = match stands(submission, view)? {
            Stands::Settled(settled) => settled,
            Stands::Open(before) => anew(submission, before, &mut desk),
        };
        if let Redecided::Changed { before: Some(Outcome { event_id, .. }), .. } = ends {
            withdrawals.push(Withdrawal { coordinates: submission.coordinates, event_id });
        }
        redecided.push(ends);
    }
    withdrawals.sort_unstable_by_key(|withdrawal| withdrawal.coordinates);
    Ok(Redecision { redecided, plan: Plan { withdrawals, ..desk.into_plan(Vec::new()) } })
}

/// How it stands with a submission.
enum Stands {
    /// Nothing is to be decided.
    Settled(Redecided),
    /// It was not accepted, and ended so.
    Open(Option<Outcome>),
}

fn stands(submission: &Submission, view: &View) -> Result<Stands, ForeignOutcome> {
    let Coordinates { log, offset } = submission.coordinates;
    if view.frontiers.get(&log).is_none_or(|frontier| offset >= *frontier) {
        return Ok(Stands::Settled(Redecided::Ahead));
    }
    if let Some(noted) = view.rejections.get(&submission.coordinates) {
        return Ok(match noted_before(submission, *noted)?.outcome() {
            Some(outcome) => Stands::Open(Some(outcome)),
            None => Stands::Settled(Redecided::DeadLettered),
        });
    }
    Ok(match read_back(submission, view)? {
        Decided::Redelivered(outcome) | Decided::Resubmitted(outcome) | Decided::New(outcome) => {
            Stands::Settled(Redecided::Unchanged(outcome))
        }
        Decided::DeadLettered => Stands::Settled(Redecided::DeadLettered),
        Decided::PassedOver => Stands::Open(None),
    })
}

/// Decides a submission that was not accepted.
fn anew(submission: &Submission, before: Option<Outcome>, desk: &mut Desk<'_>) -> Redecided {
    let own = submission.coordinates;
    let taken = desk.accepted(&submission.account.communication_number);
    if let Some(entry) = taken
        && entry.fingerprint != submission.fingerprint
        && !entry.coordinates.may_follow(own)
    {
        return rejected(submission, before, RejectionCode::O005, desk);
    }
    let violation = desk.violation(submission);
    let is_later_there =
        desk.version(submission).is_some_and(|version| version.may_follow(submission.version()));
    if taken.is_some() || is_later_there {
        return match before {
            Some(before) if is_still(before, violation) => Redecided::Unchanged(before),
            _ => Redecided::Superseded(before),
        };
    }
    match violation {
        Some(code) => rejected(submission, before, code, desk),
        None => Redecided::Changed { before, after: desk.accept(submission) },
    }
}

fn rejected(
    submission: &Submission,
    before: Option<Outcome>,
    code: RejectionCode,
    desk: &mut Desk<'_>,
) -> Redecided {
    match before {
        Some(before) if before.verdict == Verdict::Rejected(code) => Redecided::Unchanged(before),
        _ => Redecided::Changed { before, after: desk.reject(submission, code) },
    }
}

/// Whether a rejection would be the same today. A conflict of its number stays one: a number is taken for ever.
fn is_still(before: Outcome, violation: Option<RejectionCode>) -> bool {
    before.verdict == Verdict::Rejected(RejectionCode::O005)
        || violation.is_some_and(|code| before.verdict == Verdict::Rejected(code))
}
