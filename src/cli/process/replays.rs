//! The replay jobs of the store that the settings name.

use crate::account::{Coordinates, Plan, Timestamp};
use crate::store::{
    Applied, Job, JobChange, JobName, JobState, JobStep, NewJob, OffsetRange, OutcomeChange, Replays,
    RunnerId, StoreError,
};

use super::store::{AnyStore, forwarded};

impl Replays for AnyStore {
    forwarded! {
        async fn create_job(&self, job: &NewJob, now: Timestamp) -> Result<bool, StoreError>;
        async fn job(&self, name: &JobName) -> Result<Option<Job>, StoreError>;
        async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError>;
        async fn lease_job(
            &self,
            name: &JobName,
            runner: RunnerId,
            now: Timestamp,
            until: Timestamp,
        ) -> Result<bool, StoreError>;
        async fn move_job(
            &self,
            name: &JobName,
            from: &[JobState],
            to: JobState,
            problem: Option<&str>,
            now: Timestamp,
        ) -> Result<bool, StoreError>;
        async fn take_step(
            &self,
            step: &JobStep,
            plan: &Plan,
            changes: &[OutcomeChange],
        ) -> Result<Applied, StoreError>;
        async fn outcome_changes(
            &self,
            name: &JobName,
            ranges: &[OffsetRange],
        ) -> Result<Vec<OutcomeChange>, StoreError>;
        async fn changes_at(&self, places: &[Coordinates]) -> Result<Vec<JobChange>, StoreError>;
    }
}
