//! A job, run to its end or until somebody stops it.

use std::time::{Duration, Instant};

use crate::queue::{Queue, ReadRange};
use crate::store::{Job, JobName, JobState, NewJob, Replays, RunnerId, Store};

use super::job::{Mode, Progress, Request};
use super::pass::{Pass, ReplayError, Way};
use super::told::{ToldError, ToldOutcomes};
use super::window::Resolved;
use super::written::{Running, Written};

/// A run of a job by this process.
pub struct Run<Q: Queue, S: Store + Replays> {
    pass: Pass<Q, S, Written<Q, S>>,
    request: Request,
    begun_at: Instant,
    read_before: u64,
    ranges: Vec<ReadRange>,
}

/// What a step of a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a run that asks for a pause must get it"]
pub enum RunStep {
    /// Something was done; step again, after this pause.
    Progress(Duration),
    /// Everything is done and told.
    Done,
}

/// The row of a job that is to be begun.
pub fn new_job(
    name: JobName,
    request: &Request,
    window: &Resolved,
    policy_digest: String,
    operator: String,
    reason: String,
) -> Result<NewJob, ReplayError> {
    let progress = Progress::at_the_beginning(window).to_json()?;
    Ok(NewJob { name, request: request.to_json()?, progress, policy_digest, operator, reason })
}

impl<Q: Queue, S: Store + Replays> Run<Q, S> {
    /// Goes on with a job that this process has leased. The selection of `way` is the job's.
    pub async fn go_on(
        queue: &Q,
        mut way: Way<S>,
        job: &Job,
        runner: RunnerId,
        event_type_prefix: String,
    ) -> Result<Self, ReplayError> {
        let request = Request::from_json(&job.job.request)?;
        let progress = Progress::from_json(&job.job.progress)?;
        way.selection = request.selection.clone();
        if let Some(rate) = request.max_records_per_second {
            // No part is larger than what a second allows, so that no pause is longer than one.
            let rate = usize::try_from(rate).unwrap_or(usize::MAX);
            way.limits.max_records = way.limits.max_records.min(rate.max(1));
        }
        let (report, read_before) = (progress.report.clone(), progress.report.read);
        let (_, left) = progress.ranges();
        let told = told(queue, &way, &request, &left).await?;
        let (name, generation) = (job.job.name.clone(), way.generation);
        let is_silent = request.mode == Mode::Rebuild;
        let running = Running { name, runner, generation, event_type_prefix, is_silent };
        let (store, limits) = (way.store.clone(), way.limits);
        let written = Written::go_on(queue.clone(), store, running, progress, limits).await?;
        let pass = Pass::begin(queue, way, left.clone(), written, report, told).await?;
        Ok(Self { pass, request, begun_at: Instant::now(), read_before, ranges: left })
    }

    /// Goes through the next part.
    pub async fn step(&mut self, now: Instant) -> Result<RunStep, ReplayError> {
        if !self.pass.step().await? {
            self.pass.close(&self.ranges).await?;
            self.pass.effects.finish().await?;
            return Ok(RunStep::Done);
        }
        if let Some(limit) = self.request.max_errors {
            let errors = self.pass.report().errors();
            if errors > limit {
                return Err(ReplayError::TooManyErrors { errors, limit });
            }
        }
        Ok(RunStep::Progress(self.pause(now)))
    }

    /// How far the job is.
    pub fn progress(&self) -> &Progress {
        self.pass.effects.progress()
    }

    /// Leaves the job to whoever goes on with it.
    pub async fn leave(self) -> Result<(), ReplayError> {
        self.pass.effects.leave().await
    }

    /// What keeps to the rate that was asked for.
    fn pause(&self, now: Instant) -> Duration {
        let Some(rate) = self.request.max_records_per_second else { return Duration::ZERO };
        let read = self.pass.report().read.saturating_sub(self.read_before);
        let due = Duration::from_millis(read.saturating_mul(1_000) / u64::from(rate.max(1)));
        due.saturating_sub(now.saturating_duration_since(self.begun_at))
    }
}

/// What was told of the submissions, if that is to be restored.
async fn told<Q: Queue, S: Store>(
    queue: &Q,
    way: &Way<S>,
    request: &Request,
    ranges: &[ReadRange],
) -> Result<Option<ToldOutcomes>, ReplayError> {
    if request.mode != Mode::Rebuild {
        return Ok(None);
    }
    let Way { generation, limits, group, scratch, .. } = way;
    let told = ToldOutcomes::read(queue, *generation, ranges, (group, *limits, scratch)).await;
    match told {
        Ok(told) => Ok(Some(told)),
        Err(ToldError::Queue(error)) => Err(error.into()),
        Err(error @ ToldError::Spill(_)) => Err(ReplayError::Told(error)),
    }
}

/// States from which a job can be gone on with.
pub const RESUMABLE: [JobState; 2] = [JobState::Paused, JobState::Failed];
