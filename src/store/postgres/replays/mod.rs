//! The replays port on PostgreSQL.

mod statements;

use sqlx::Arguments;
use sqlx::postgres::{PgArguments, PgRow};

use crate::account::{Plan, Timestamp};
use crate::store::decode_replay as decode;
use crate::store::stored::{outcome_text, storable};
use crate::store::{
    Applied, Cause, End, Job, JobName, JobState, JobStep, NewJob, OffsetRange, OutcomeChange, Replays,
    RunnerId, StalePart, StoreError,
};

use super::connections::Work;
use super::rows::{self, Step, columns, range_columns, time};
use super::session::Session;
use super::statements::{BEGIN, BEGIN_SNAPSHOT};
use super::work::take_steps;
use super::{PostgresStore, encoding_error};

impl Replays for PostgresStore {
    async fn create_job(&self, job: &NewJob, now: Timestamp) -> Result<bool, StoreError> {
        let NewJob { name, request, progress, policy_digest, operator, reason } = job;
        let texts = [name.as_str(), request, progress, policy_digest, operator, reason];
        let change = Change::of(statements::CREATE_JOB, |arguments| {
            texts.into_iter().try_for_each(|text| arguments.add(text))?;
            arguments.add(time(now))
        });
        self.0.run(change.map_err(encoding_error::<Change>)?).await
    }

    async fn job(&self, name: &JobName) -> Result<Option<Job>, StoreError> {
        let read = Read::of(statements::JOB, decode::job, |arguments| arguments.add(name.as_str()));
        let mut jobs = self.0.run(read.map_err(encoding_error::<Read<Job>>)?).await?;
        Ok(jobs.pop())
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        let limit = storable(limit as u64);
        let read = Read::of(statements::JOBS, decode::job, |arguments| arguments.add(limit));
        self.0.run(read.map_err(encoding_error::<Read<Job>>)?).await
    }

    async fn lease_job(
        &self,
        name: &JobName,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = Change::of(statements::LEASE_JOB, |arguments| {
            arguments.add(name.as_str())?;
            arguments.add(runner.0)?;
            arguments.add(time(now))?;
            arguments.add(time(until))
        });
        self.0.run(change.map_err(encoding_error::<Change>)?).await
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
        let change = Change::of(statements::MOVE_JOB, |arguments| {
            arguments.add(name.as_str())?;
            arguments.add(from)?;
            arguments.add(to.as_str())?;
            arguments.add(problem)?;
            arguments.add(time(now))
        });
        self.0.run(change.map_err(encoding_error::<Change>)?).await
    }

    async fn take_step(
        &self,
        step: &JobStep,
        plan: &Plan,
        changes: &[OutcomeChange],
    ) -> Result<Applied, StoreError> {
        let steps = steps(step, plan, changes).map_err(encoding_error::<TakeStep>)?;
        self.0.run(TakeStep(steps)).await
    }

    async fn outcome_changes(
        &self,
        name: &JobName,
        ranges: &[OffsetRange],
    ) -> Result<Vec<OutcomeChange>, StoreError> {
        type Changes = Read<OutcomeChange>;
        let arguments = columns(ranges, range_columns).map_err(encoding_error::<Changes>)?;
        let Some(mut arguments) = arguments else { return Ok(Vec::new()) };
        arguments.add(name.as_str()).map_err(encoding_error::<Changes>)?;
        let (statement, decode) = (statements::CHANGES, decode::outcome_change);
        self.0.run(Read { statement, decode, arguments }).await
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

/// Changes a job, if it is as it must be for that. Whether it was.
struct Change {
    statement: &'static str,
    arguments: PgArguments,
}

impl Change {
    fn of(
        statement: &'static str,
        add: impl FnOnce(&mut PgArguments) -> Result<(), Cause>,
    ) -> Result<Self, Cause> {
        let mut arguments = PgArguments::default();
        add(&mut arguments)?;
        Ok(Self { statement, arguments })
    }
}

impl Work for Change {
    type Output = bool;
    const ACTION: &'static str = "changing a job";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<bool>, sqlx::Error> {
        Ok(End::Commit(transaction.write(self.statement, self.arguments).await? > 0))
    }
}

/// Reads rows.
struct Read<T> {
    statement: &'static str,
    decode: fn(&PgRow) -> Result<T, sqlx::Error>,
    arguments: PgArguments,
}

impl<T> Read<T> {
    fn of(
        statement: &'static str,
        decode: fn(&PgRow) -> Result<T, sqlx::Error>,
        add: impl FnOnce(&mut PgArguments) -> Result<(), Cause>,
    ) -> Result<Self, Cause> {
        let mut arguments = PgArguments::default();
        add(&mut arguments)?;
        Ok(Self { statement, decode, arguments })
    }
}

impl<T: Send + 'static> Work for Read<T> {
    type Output = Vec<T>;
    const ACTION: &'static str = "reading jobs";
    const BEGIN: &'static str = BEGIN_SNAPSHOT;

    async fn run(self, snapshot: &mut Session) -> Result<End<Vec<T>>, sqlx::Error> {
        let rows = snapshot.read(self.statement, self.arguments).await?;
        rows.iter().map(self.decode).collect::<Result<_, _>>().map(End::Commit)
    }
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
