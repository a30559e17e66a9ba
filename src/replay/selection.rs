//! Which submissions of a window are meant.

use std::collections::BTreeSet;

use crate::account::{
    BusinessUnit, CommunicationNumber, Outcome, Rejection, RejectionCode, Requester, Submission,
    Verdict, View,
};

/// Submissions for which all of this holds; what is empty holds for every one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// How they ended before.
    pub outcome: OutcomeFilter,
    /// The units they count for.
    pub business_units: BTreeSet<BusinessUnit>,
    /// The systems that sent them.
    pub requesters: BTreeSet<Requester>,
    /// Their numbers; none leaves them free, an empty list selects nothing.
    pub numbers: Option<BTreeSet<CommunicationNumber>>,
}

/// Submissions by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OutcomeFilter {
    /// However they ended.
    #[default]
    Any,
    /// Rejected with one of these codes; with any when there is none.
    Rejected(BTreeSet<RejectionCode>),
}

impl Selection {
    /// Whether a submission is meant, as far as it tells itself.
    pub(super) fn may_hold(&self, submission: &Submission) -> bool {
        let account = &submission.account;
        let unit = account.business_unit.as_ref();
        let is_of = |units: &BTreeSet<BusinessUnit>| unit.is_some_and(|unit| units.contains(unit));
        (self.business_units.is_empty() || is_of(&self.business_units))
            && (self.requesters.is_empty() || self.requesters.contains(&account.requester))
            && self.numbers.as_ref().is_none_or(|it| it.contains(&account.communication_number))
    }

    /// Whether one that is meant otherwise is also meant by how it ended.
    pub(super) fn holds(&self, submission: &Submission, view: &View) -> bool {
        match &self.outcome {
            OutcomeFilter::Any => true,
            OutcomeFilter::Rejected(codes) => match view.rejections.get(&submission.coordinates) {
                Some(Rejection::Decided(Outcome { verdict: Verdict::Rejected(code), .. })) => {
                    codes.is_empty() || codes.contains(code)
                }
                Some(Rejection::Decided(_) | Rejection::DeadLettered) | None => false,
            },
        }
    }

    /// Whether only what was rejected is meant, so that what was accepted need not be looked up.
    pub(super) fn is_of_rejected(&self) -> bool {
        matches!(self.outcome, OutcomeFilter::Rejected(_))
    }
}
