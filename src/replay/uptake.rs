//! Takes jobs up that are entered and that nobody runs, one after the other: for a queue and a store that only one
//! process can have, so that whoever asks for a job cannot run it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::account::Timestamp;
use crate::queue::Queue;
use crate::store::{Job, JobName, JobState, Replays, Store, StoreError};
use crate::telemetry::with_causes;

use super::driver::{Driven, Driver, News};
use super::job::{Mode, Request};
use super::pass::Way;

/// How often is looked for jobs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks while the store is away.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Jobs that are looked at, the newest first.
const JOBS: usize = 1_000;

/// Takes jobs up.
pub struct Uptake<Q, S: Store> {
    queue: Q,
    way: Way<S>,
    event_type_prefix: String,
    digest: String,
    /// Those that go by other rules or lists, which was told.
    of_others: BTreeSet<JobName>,
}

impl<Q: Queue, S: Store + Replays> Uptake<Q, S> {
    /// One of jobs that go by the rules and lists of `way`.
    pub fn new(queue: Q, way: Way<S>, event_type_prefix: String) -> Self {
        let digest = way.policy.digest();
        Self { queue, way, event_type_prefix, digest, of_others: BTreeSet::new() }
    }

    /// Goes on until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut is_away = false;
        while !stop.is_cancelled() {
            let pause = match self.next(Timestamp::from(SystemTime::now())).await {
                Ok(Some(name)) => {
                    self.drive(name, &stop).await;
                    LOOK_EVERY
                }
                Ok(None) => {
                    is_away = false;
                    LOOK_EVERY
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        let error = with_causes(&error);
                        tracing::warn!(%error, "replay jobs cannot be looked for now; that is tried again");
                    }
                    RETRY_PAUSE
                }
            };
            // Whether it was told to stop is asked above.
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// The oldest job that waits for somebody to run it and goes by these rules and lists.
    pub async fn next(&mut self, now: Timestamp) -> Result<Option<JobName>, StoreError> {
        let jobs = self.way.store.jobs(JOBS).await?;
        let is_waiting = |job: &&Job| {
            job.state == JobState::Running && job.runner.is_none_or(|(_, until)| until <= now)
        };
        for job in jobs.iter().rev().filter(is_waiting) {
            let name = &job.job.name;
            let is_rebuild = |request: Request| request.mode == Mode::Rebuild;
            if Request::of(job).is_ok_and(is_rebuild) {
                // A store is rebuilt while nobody else works on it.
                continue;
            }
            if job.job.policy_digest == self.digest {
                return Ok(Some(name.clone()));
            }
            if self.of_others.insert(name.clone()) {
                tracing::warn!(
                    job = %name,
                    job_digest = job.job.policy_digest,
                    digest = self.digest,
                    "a replay job waits that goes by other rules or lists than this process: restart with those, \
                     or end the job by `penstock replay abort`"
                );
            }
        }
        Ok(None)
    }

    async fn drive(&self, name: JobName, stop: &CancellationToken) {
        tracing::info!(job = %name, "taking a replay job up");
        let (way, prefix) = (self.way.clone(), self.event_type_prefix.clone());
        let driver = Driver::new(self.queue.clone(), way, prefix, name.clone());
        let tell = |news: News<'_>| {
            if let News::Away(error) = news {
                let error = with_causes(error);
                tracing::warn!(job = %name, %error, "the replay job goes on when that is there again");
            }
        };
        match driver.drive(stop, tell).await {
            Ok(Driven::Done) => {
                tracing::info!(job = %name, "the replay job is done");
            }
            Ok(Driven::Asked) => {
                tracing::info!(job = %name, "the replay job goes on after the next start");
            }
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(job = %name, %error, "the replay job has ended; `penstock replay status` tells more");
            }
        }
    }
}
