//! A job that this process drives: leased, gone on with over outages, and left as it must be.

use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::account::Timestamp;
use crate::queue::{Queue, QueueError};
use crate::store::{JobName, JobState, Replays, RunnerId, Store, StoreError};
use crate::telemetry::with_causes;

use super::job::Progress;
use super::pass::{ReplayError, Way};
use super::run::{Run, RunStep};
use super::written::leased_until;

/// Between two tries while queue or store is away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What a driver tells of.
#[derive(Clone, Copy, Debug)]
pub enum News<'n> {
    /// The job is as far as this.
    Progress(&'n Progress),
    /// Something is away; the job goes on when it is there again.
    Away(&'n ReplayError),
}

/// How driving ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driven {
    /// All of the job is done and told.
    Done,
    /// This process was asked to stop; the job goes on where it is.
    Asked,
}

/// Drives a job.
pub struct Driver<Q, S: Store> {
    queue: Q,
    way: Way<S>,
    event_type_prefix: String,
    name: JobName,
    id: RunnerId,
}

impl<Q: Queue, S: Store + Replays> Driver<Q, S> {
    /// One of a job that is running or waits for somebody to run it. The selection of `way` is the job's.
    pub fn new(queue: Q, way: Way<S>, event_type_prefix: String, name: JobName) -> Self {
        Self { queue, way, event_type_prefix, name, id: RunnerId(Uuid::new_v4()) }
    }

    /// Drives it to its end, or until this process is asked to stop. What is away is waited for; any other error
    /// is noted with the job, unless an operator or another process has it.
    pub async fn drive(
        &self,
        stop: &CancellationToken,
        mut tell: impl FnMut(News<'_>),
    ) -> Result<Driven, ReplayError> {
        let mut is_away = false;
        loop {
            match self.go_on(stop, &mut tell).await {
                Err(error) if may_come_back(&error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        tell(News::Away(&error));
                    }
                    if stop.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await.is_none() {
                        return Ok(Driven::Asked);
                    }
                }
                Err(error) => {
                    self.note(&error).await;
                    return Err(error);
                }
                Ok(driven) => return Ok(driven),
            }
        }
    }

    async fn go_on(
        &self,
        stop: &CancellationToken,
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Driven, ReplayError> {
        let (store, now) = (&self.way.store, now());
        if !store.lease_job(&self.name, self.id, now, leased_until(now)).await? {
            return Err(ReplayError::NotOurs);
        }
        let Some(job) = store.job(&self.name).await? else { return Err(ReplayError::NotOurs) };
        let (way, prefix) = (self.way.clone(), self.event_type_prefix.clone());
        let going_on = Run::go_on(&self.queue, way, &job, self.id, prefix);
        let Some(run) = stop.run_until_cancelled(going_on).await else { return Ok(Driven::Asked) };
        let mut run = run?;
        loop {
            // Dropping a step loses nothing: what it wrote is told by whoever goes on.
            let Some(taken) = stop.run_until_cancelled(run.step(Instant::now())).await else {
                run.leave().await?;
                return Ok(Driven::Asked);
            };
            tell(News::Progress(run.progress()));
            match taken? {
                RunStep::Done => return Ok(Driven::Done),
                RunStep::Progress(pause) => {
                    if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        run.leave().await?;
                        return Ok(Driven::Asked);
                    }
                }
            }
        }
    }

    /// Notes why the job failed, if it is this process's to say so.
    async fn note(&self, error: &ReplayError) {
        if matches!(error, ReplayError::Stopped(_) | ReplayError::NotOurs) {
            return;
        }
        let (problem, store) = (with_causes(error).to_string(), &self.way.store);
        let from = [JobState::Running];
        let noted = store.move_job(&self.name, &from, JobState::Failed, Some(&problem), now()).await;
        if let Err(error) = noted {
            let error = with_causes(&error);
            tracing::warn!(job = %self.name, %error, "not noted that the job has failed");
        }
    }
}

/// Whether the same may work later.
fn may_come_back(error: &ReplayError) -> bool {
    matches!(
        error,
        ReplayError::Queue(QueueError::Unavailable { .. } | QueueError::Overloaded)
            | ReplayError::Store(StoreError::Unavailable { .. })
    )
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
