//! The dead letters' port: what operators decided of them. A letter that nobody has decided on has no case.
//!
//! An implementation promises, and the conformance suite checks: a letter is decided on once, whoever asks again
//! changes nothing; one process at a time has a letter that is to be put back, and who has lost it settles nothing.

use std::future::Future;

use crate::account::{Coordinates, Timestamp};

use super::{OffsetRange, RunnerId, StoreError};

/// Where the case of a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaseState {
    /// It is to be put back on the topic that it came from.
    Requested,
    /// It was put back.
    Redriven,
    /// It cannot be put back, for a reason that its case tells.
    Failed,
    /// It is of no use to anybody.
    Discarded,
}

impl CaseState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Requested, Self::Redriven, Self::Failed, Self::Discarded];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Redriven => "redriven",
            Self::Failed => "failed",
            Self::Discarded => "discarded",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What an operator decides of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Put them back: those that nobody has decided on, or that failed.
    Redrive,
    /// Put them back: also those that were discarded.
    RedriveDiscarded,
    /// Leave them: those that nobody has decided on, or that failed.
    Discard,
}

impl Decision {
    /// What a case becomes by it.
    pub fn state(self) -> CaseState {
        match self {
            Self::Redrive | Self::RedriveDiscarded => CaseState::Requested,
            Self::Discard => CaseState::Discarded,
        }
    }

    /// The states of a case that it may change; one that there is none of it may always open.
    pub fn may_follow(self) -> &'static [CaseState] {
        match self {
            Self::Redrive | Self::Discard => &[CaseState::Failed],
            Self::RedriveDiscarded => &[CaseState::Failed, CaseState::Discarded],
        }
    }
}

/// Who decides, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What.
    pub decision: Decision,
    /// Who.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// When.
    pub now: Timestamp,
}

/// The case of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Where the letter stands on the topic of dead letters.
    pub letter: Coordinates,
    /// Where the case stands.
    pub state: CaseState,
    /// Who decided.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// Why it failed, if it did.
    pub problem: Option<String>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it came into its state.
    pub changed_at: Timestamp,
}

/// What became of a letter that was to be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledCase {
    /// The letter.
    pub letter: Coordinates,
    /// Why it cannot be put back; none if it was.
    pub problem: Option<String>,
}

impl SettledCase {
    /// What the case becomes by it.
    pub fn state(&self) -> CaseState {
        if self.problem.is_none() { CaseState::Redriven } else { CaseState::Failed }
    }
}

/// What operators decided of dead letters.
pub trait Cases: Clone + Send + Sync + 'static {
    /// Decides on letters, and tells how many of them that changed. Each letter is named once.
    fn decide(
        &self,
        letters: &[Coordinates],
        decided: &Decided,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The cases of letters in these ranges, in the order of their places.
    fn cases(
        &self,
        ranges: &[OffsetRange],
    ) -> impl Future<Output = Result<Vec<Case>, StoreError>> + Send;

    /// Takes over letters that are to be put back, until then: at most `limit`, those first that were asked for first,
    /// in the order of their places. None while anybody else has any at `now`, so that what was in order stays so.
    fn lease_cases(
        &self,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Coordinates>, StoreError>> + Send;

    /// Notes what became of letters; leaves alone those that are not, or no longer, this runner's.
    fn settle_cases(
        &self,
        runner: RunnerId,
        settled: &[SettledCase],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_found_by_their_names() {
        for state in CaseState::ALL {
            assert_eq!(CaseState::parse(state.as_str()), Some(state));
        }
    }
}
