//! The replays port: jobs that decide a part of the log anew, and what they changed.
//!
//! An implementation promises, and the conformance suite checks: a job has one runner at a time, whoever has lost
//! it writes nothing more; what a step writes, what it changed and how far the job is then are there together or
//! not at all.

use std::fmt;
use std::future::Future;

use uuid::Uuid;

use crate::account::{Coordinates, Outcome, Plan, Timestamp};

use super::{Applied, OffsetRange, StoreError};

/// The name of a job, for ever its own: 1 to 64 of `a-z`, `0-9` and `-`, no `-` first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName(String);

/// Not the name of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of the characters a to z, 0 to 9 and -, and begin with none of the latter")]
pub struct JobNameError;

impl JobName {
    /// Takes a text that is one.
    pub fn parse(text: &str) -> Result<Self, JobNameError> {
        let fits = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
        let is_one = (1..=64).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-');
        if is_one { Ok(Self(text.to_owned())) } else { Err(JobNameError) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobState {
    /// It goes on while it has a runner.
    Running,
    /// An operator stopped it for now.
    Paused,
    /// An operator ended it.
    Aborted,
    /// It cannot go on, for a reason that it tells.
    Failed,
    /// All of it is done and told.
    Completed,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Running, Self::Paused, Self::Aborted, Self::Failed, Self::Completed];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Completed => "completed",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A process that runs a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunnerId(pub Uuid);

/// A job to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its name.
    pub name: JobName,
    /// What is to be done, as the replay writes it.
    pub request: String,
    /// How far it is, as the replay writes it.
    pub progress: String,
    /// The rules and lists that it goes by.
    pub policy_digest: String,
    /// Who asked for it.
    pub operator: String,
    /// Why.
    pub reason: String,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What was asked for, and how far it is.
    pub job: NewJob,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed, if it did.
    pub problem: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last went on or changed its state.
    pub changed_at: Timestamp,
    /// Who runs it, and until when nobody else may; none before anybody did in its state.
    pub runner: Option<(RunnerId, Timestamp)>,
}

/// An outcome that a job has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeChange {
    /// Where the submission stands.
    pub coordinates: Coordinates,
    /// How it ended before, if it had an outcome.
    pub before: Option<Outcome>,
    /// How it ends now.
    pub after: Outcome,
}

/// An outcome that some job has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobChange {
    /// The job.
    pub job: JobName,
    /// What it changed.
    pub change: OutcomeChange,
    /// When.
    pub changed_at: Timestamp,
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStep {
    /// The job.
    pub name: JobName,
    /// Who runs it.
    pub runner: RunnerId,
    /// How far it is after the step.
    pub progress: String,
    /// When.
    pub now: Timestamp,
    /// Until when nobody else may run it.
    pub until: Timestamp,
}

/// Jobs that decide anew.
pub trait Replays: Clone + Send + Sync + 'static {
    /// Enters a job that is running and has no runner. False when the name is taken: nothing is changed then.
    fn create_job(
        &self,
        job: &NewJob,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// A job.
    fn job(&self, name: &JobName) -> impl Future<Output = Result<Option<Job>, StoreError>> + Send;

    /// Jobs, the newest first.
    fn jobs(&self, limit: usize) -> impl Future<Output = Result<Vec<Job>, StoreError>> + Send;

    /// Takes a running job over until then, if nobody else has it at `now`. Whether it was taken.
    fn lease_job(
        &self,
        name: &JobName,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Has a job that is in one of these states go into another, and tell why; nobody runs it any more then, so
    /// that who did so until now writes nothing, also if it goes on soon. Whether it did.
    fn move_job(
        &self,
        name: &JobName,
        from: &[JobState],
        to: JobState,
        problem: Option<&str>,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Applies a plan, notes what it changes and how far the job is, in one transaction; stale in the part
    /// [`super::StalePart::Job`] when the job is not running or not, or no longer, this runner's.
    fn take_step(
        &self,
        step: &JobStep,
        plan: &Plan,
        changes: &[OutcomeChange],
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// What a job changed in these ranges.
    fn outcome_changes(
        &self,
        name: &JobName,
        ranges: &[OffsetRange],
    ) -> impl Future<Output = Result<Vec<OutcomeChange>, StoreError>> + Send;

    /// What any job changed of the submissions at these places, in the order of the places and then of the times.
    fn changes_at(
        &self,
        places: &[Coordinates],
    ) -> impl Future<Output = Result<Vec<JobChange>, StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_to_write_anywhere() {
        for name in ["a", "2026-11-types", &"n".repeat(64)] {
            assert_eq!(JobName::parse(name).unwrap().as_str(), name);
        }
        for text in ["", "-a", "A", "a b", "a_b", "é", &"n".repeat(65)] {
            assert_eq!(JobName::parse(text), Err(JobNameError), "{text:?}");
        }
    }

    #[test]
    fn states_are_found_by_their_names() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
        }
    }
}
