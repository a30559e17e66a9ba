//! The replays port on PostgreSQL.

pub mod statements;

use sqlx::Arguments;
use sqlx::postgres::PgArguments;

use crate::account::{Coordinates, Plan, Timestamp};
use crate::store::decode_replay as decode;
use crate::store::stored::{outcome_text, storable};
use crate::store::{
    Applied, Cause, End, Job, JobChange, JobName, JobState, JobStep, NewJob, OffsetRange, OutcomeChange,
    Replays, RunnerId, StalePart, StoreError,
};

use super::connections::Work;
use super::rows::{self, Step, columns, range_columns, time};
use super::session::Session;
use super::statements::BEGIN;
use super::work::{Change, Read, Subject, take_steps};
use super::{PostgresStore, encoding_error};

impl Replays for PostgresStore {
    async fn create_job(&self, job: &NewJob, now: Timestamp) -> Result<bool, StoreError> {
        let NewJob { name, request, progress, policy_digest, operator, reason } = job;
        let texts = [name.as_str(), request, progress, policy_digest, operator, reason];
        let change = Change::<Jobs>::of(statements::CREATE_JOB, |arguments| {
            texts.into_iter().try_for_each(|text| arguments.add(text))?;
            arguments.add(time(now))
        });
        Ok(self.sessions.run(change?).await? > 0)
    }

    async fn job(&self, name: &JobName) -> Result<Option<Job>, StoreError> {
        let read =
            Read::<Jobs, _>::of(statements::JOB, decode::job, |arguments| arguments.add(name.as_str()));
        let mut jobs = self.sessions.run(read?).await?;
        Ok(jobs.pop())
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        let limit = storable(limit as u64);
        let read = Read::<Jobs, _>::of(statements::JOBS, decode::job, |arguments| arguments.add(limit));
        self.sessions.run(read?).await
    }

    async fn lease_job(
        &self,
        name: &JobName,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = Change::<Jobs>::of(statements::LEASE_JOB, |arguments| {
            arguments.add(name.as_str())?;
            arguments.add(runner.0)?;
            arguments.add(time(now))?;
            arguments.add(time(until))
        });
        Ok(self.sessions.run(change?).await? > 0)
    }

    async fn move_job(
        &self,
        name: &JobName,
        from: &[JobState],
        to: JobState,
        problem: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
        let change = Change::<Jobs>::of(statements::MOVE_JOB, |arguments| {
            arguments.add(name.as_str())?;
            arguments.add(from)?;
            arguments.add(to.as_str())?;
            arguments.add(problem)?;
            arguments.add(time(now))
        });
        Ok(self.sessions.run(change?).await? > 0)
    }

    async fn take_step(
        &self,
        step: &JobStep,
        plan: &Plan,
        changes: &[OutcomeChange],
    ) -> Result<Applied, StoreError> {
        let steps = steps(step, plan, changes).map_err(encoding_error::<TakeStep>)?;
        self.sessions.run(TakeStep(steps)).await
    }

    async fn outcome_changes(
        &self,
        name: &JobName,
        ranges: &[OffsetRange],
    ) -> Result<Vec<OutcomeChange>, StoreError> {
        type Changes = Read<Jobs, OutcomeChange>;
        let arguments = columns(ranges, range_columns).map_err(encoding_error::<Changes>)?;
        let Some(mut arguments) = arguments else { return Ok(Vec::new()) };
        arguments.add(name.as_str()).map_err(encoding_error::<Changes>)?;
        let (statement, decode) = (statements::CHANGES, decode::outcome_change);
        self.sessions.run(Changes::with(statement, decode, arguments)).await
    }

    async fn changes_at(&self, places: &[Coordinates]) -> Result<Vec<JobChange>, StoreError> {
        type Changes = Read<Jobs, JobChange>;
        let places = columns(places, |places, columns| columns.coordinates(places.iter().copied()));
        let Some(arguments) = places.map_err(encoding_error::<Changes>)? else { return Ok(Vec::new()) };
        self.sessions.run(Changes::with(statements::CHANGES_AT, decode::job_change, arguments)).await
    }
}

/// The statements of a step: the job's own comes first, and holds it.
fn steps(step: &JobStep, plan: &Plan, changes: &[OutcomeChange]) -> Result<Vec<Step>, Cause> {
    let JobStep { name, runner, progress, now, until } = step;
    let part = StalePart::Job;
    let noted = columns(&[()], |rows, columns| {
        columns.add(rows.iter().map(|()| name.as_str()))?;
        columns.add(rows.iter().map(|()| runner.0))?;
        columns.add(rows.iter().map(|()| progress.as_str()))?;
        columns.add(rows.iter().map(|()| time(*now)))?;
        columns.add(rows.iter().map(|()| time(*until)))
    })?;
    let anew = columns(changes, |rows, columns| {
        columns.add(rows.iter().map(|_| name.as_str()))?;
        columns.coordinates(rows.iter().map(|row| row.coordinates))?;
        columns.add(rows.iter().map(|row| row.before.map(|before| outcome_text(before).0)))?;
        columns.add(rows.iter().map(|row| row.before.map(|before| before.event_id.0)))?;
        columns.add(rows.iter().map(|row| outcome_text(row.after).0))?;
        columns.add(rows.iter().map(|row| row.after.event_id.0))?;
        columns.add(rows.iter().map(|_| time(*now)))
    })?;
    let step = |statement, rows: usize, arguments: PgArguments| Step {
        part,
        statement,
        rows: rows as u64,
        arguments,
    };
    let mut steps = Vec::new();
    steps.extend(noted.map(|arguments| step(statements::NOTE_PROGRESS, 1, arguments)));
    steps.extend(rows::steps(plan)?);
    steps.extend(anew.map(|arguments| step(statements::INSERT_CHANGES, changes.len(), arguments)));
    Ok(steps)
}

/// What is read and changed of jobs.
enum Jobs {}

impl Subject for Jobs {
    const READING: &'static str = "reading jobs";
    const CHANGING: &'static str = "changing a job";
}

struct TakeStep(Vec<Step>);

impl Work for TakeStep {
    type Output = Applied;
    const ACTION: &'static str = "taking a step of a job";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<Applied>, sqlx::Error> {
        take_steps(transaction, self.0).await
    }
}
