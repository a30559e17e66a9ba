//! The replays port on `SQLite`.

mod statements;

use crate::account::{Coordinates, EventId, Plan, Timestamp};
use crate::store::decode_replay as decode;
use crate::store::stored::{outcome_text, storable};
use crate::store::{
    Applied, Job, JobChange, JobName, JobState, JobStep, NewJob, OffsetRange, OutcomeChange, Replays,
    RunnerId, StalePart, StoreError,
};

use super::rows::{PlanRows, Rows, WantedRows, event_id_hex};
use super::writer::{Apply, Change, Step};
use super::{SqliteStore, encoding_error};

impl Replays for SqliteStore {
    async fn create_job(&self, job: &NewJob, now: Timestamp) -> Result<bool, StoreError> {
        let NewJob { name, request, progress, policy_digest, operator, reason } = job.clone();
        let create = sqlx::query(statements::CREATE_JOB)
            .bind(name.as_str().to_owned())
            .bind(request)
            .bind(progress)
            .bind(policy_digest)
            .bind(operator)
            .bind(reason)
            .bind(now.unix_millis());
        Ok(self.run("entering a job", Change(create)).await? > 0)
    }

    async fn job(&self, name: &JobName) -> Result<Option<Job>, StoreError> {
        let query = sqlx::query(statements::JOB).bind(name.as_str().to_owned());
        Ok(self.rows(query, decode::job).await?.pop())
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.rows(sqlx::query(statements::JOBS).bind(storable(limit as u64)), decode::job).await
    }

    async fn lease_job(
        &self,
        name: &JobName,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let lease = sqlx::query(statements::LEASE_JOB)
            .bind(name.as_str().to_owned())
            .bind(runner.0.as_bytes().to_vec())
            .bind(now.unix_millis())
            .bind(until.unix_millis());
        Ok(self.run("taking a job over", Change(lease)).await? > 0)
    }

    async fn move_job(
        &self,
        name: &JobName,
        from: &[JobState],
        to: JobState,
        problem: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let action = "changing the state of a job";
        let from: Vec<_> = from.iter().map(|state| state.as_str()).collect();
        let from = Rows::of(&from).map_err(|cause| encoding_error(action, cause))?.json;
        let change = sqlx::query(statements::MOVE_JOB)
            .bind(name.as_str().to_owned())
            .bind(from)
            .bind(to.as_str())
            .bind(problem.map(str::to_owned))
            .bind(now.unix_millis());
        Ok(self.run(action, Change(change)).await? > 0)
    }

    async fn take_step(
        &self,
        step: &JobStep,
        plan: &Plan,
        changes: &[OutcomeChange],
    ) -> Result<Applied, StoreError> {
        let action = "taking a step of a job";
        let steps = steps(step, plan, changes).map_err(|cause| encoding_error(action, cause))?;
        self.run(action, Apply(steps)).await
    }

    async fn outcome_changes(
        &self,
        name: &JobName,
        ranges: &[OffsetRange],
    ) -> Result<Vec<OutcomeChange>, StoreError> {
        let action = "reading what a job changed";
        let ranges = WantedRows::ranges(ranges).map_err(|cause| encoding_error(action, cause))?;
        if ranges.count == 0 {
            return Ok(Vec::new());
        }
        let query = sqlx::query(statements::CHANGES).bind(ranges.json).bind(name.as_str().to_owned());
        self.rows(query, decode::outcome_change).await
    }

    async fn changes_at(&self, places: &[Coordinates]) -> Result<Vec<JobChange>, StoreError> {
        let action = "reading what jobs changed";
        let place = |at: &Coordinates| (at.log.generation.0, at.log.partition.0, storable(at.offset.0));
        let places: Vec<_> = places.iter().map(place).collect();
        let places = Rows::of(&places).map_err(|cause| encoding_error(action, cause))?;
        if places.count == 0 {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(statements::CHANGES_AT).bind(places.json), decode::job_change).await
    }
}

/// The statements of a step: the job's own comes first, and holds it.
fn steps(
    step: &JobStep,
    plan: &Plan,
    changes: &[OutcomeChange],
) -> Result<Vec<Step>, serde_json::Error> {
    let JobStep { name, runner, progress, now, until } = step;
    let noted = [(
        name.as_str(),
        runner.0.simple().to_string(),
        progress,
        now.unix_millis(),
        until.unix_millis(),
    )];
    let change = |change: &OutcomeChange| {
        let before = change.before.map(outcome_text);
        let (verdict, event_id) = outcome_text(change.after);
        let log = change.coordinates.log;
        (
            name.as_str(),
            log.generation.0,
            log.partition.0,
            storable(change.coordinates.offset.0),
            before.map(|(verdict, _)| verdict),
            before.map(|(_, event_id): (_, EventId)| event_id_hex(event_id)),
            verdict,
            event_id_hex(event_id),
            now.unix_millis(),
        )
    };
    let changes: Vec<_> = changes.iter().map(change).collect();
    let noted =
        Step { part: StalePart::Job, statement: statements::NOTE_PROGRESS, rows: Rows::of(&noted)? };
    let anew =
        Step { part: StalePart::Job, statement: statements::INSERT_CHANGES, rows: Rows::of(&changes)? };
    let mut steps = vec![noted];
    steps.extend(PlanRows::of(plan)?.into_steps());
    steps.push(anew);
    Ok(steps)
}
