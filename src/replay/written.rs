//! What a run writes and tells: a part in one transaction with how far the job is, its events after it.
//!
//! What a job has written before it died is told again from what it noted as changed, never decided again: the
//! rules, and the accounts, may be others by then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use crate::account::{
    Coordinates, Generation, LogPartition, Outcome, Plan, Redecided, Submission, Timestamp, View,
};
use crate::queue::{PollLimits, Queue, QueueError, ReadRange, Reader, Topic};
use crate::store::{
    Applied, JobName, JobState, JobStep, OffsetRange, OutcomeChange, Replays, RunnerId, StalePart,
    Store, Wanted,
};
use crate::telemetry::QueueUse;
use crate::worker::{Item, replayed_results};

use super::effects::{Effects, Part, Taken};
use super::job::Progress;
use super::pass::ReplayError;

/// How long nobody else may take a job over from a runner that is silent.
const LEASE: Duration = Duration::from_secs(30);

/// Until when a job that is leased at `now` is nobody else's.
pub fn leased_until(now: Timestamp) -> Timestamp {
    now.later(LEASE)
}

/// How often a job that changes nothing notes how far it is.
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to publish.
const PUBLISH_PAUSE: Duration = Duration::from_millis(500);

/// Who runs a job, and how its events are made.
#[derive(Clone, Debug)]
pub struct Running {
    /// The job.
    pub name: JobName,
    /// This process.
    pub runner: RunnerId,
    /// Of the log.
    pub generation: Generation,
    /// Of the types of events.
    pub event_type_prefix: String,
    /// Nobody is told, and nothing is noted as changed.
    pub is_silent: bool,
}

/// Writes and tells.
pub struct Written<Q: Queue, S: Store + Replays> {
    queue: Q,
    store: S,
    running: Running,
    progress: Progress,
    noted_at: Instant,
}

impl<Q: Queue, S: Store + Replays> Written<Q, S> {
    /// Goes on from `progress`: tells again what may not be told yet.
    pub(super) async fn go_on(
        queue: Q,
        store: S,
        running: Running,
        progress: Progress,
        limits: PollLimits,
    ) -> Result<Self, ReplayError> {
        let mut written = Self { queue, store, running, progress, noted_at: Instant::now() };
        let (untold, _) = written.progress.ranges();
        if !untold.is_empty() {
            written.tell_again(untold, limits).await?;
        }
        Ok(written)
    }

    /// How far the job is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Notes that everything is written and told.
    pub(super) async fn finish(&mut self) -> Result<(), ReplayError> {
        self.note().await?;
        let (name, now) = (&self.running.name, now());
        let moved =
            self.store.move_job(name, &[JobState::Running], JobState::Completed, None, now).await?;
        if moved { Ok(()) } else { Err(self.stopped().await?) }
    }

    /// Leaves the job to whoever goes on with it. How far it is says what was noted last: of a step that was cut
    /// off nobody knows here whether it was taken.
    pub(super) async fn leave(self) -> Result<(), ReplayError> {
        let (Running { name, runner, .. }, now) = (&self.running, now());
        self.store.lease_job(name, *runner, now, now).await?;
        Ok(())
    }

    async fn note(&mut self) -> Result<(), ReplayError> {
        match self.step(&Plan::default(), &[]).await? {
            Applied::Done => Ok(()),
            Applied::Stale(_) => Err(self.stopped().await?),
        }
    }

    async fn step(&mut self, plan: &Plan, changes: &[OutcomeChange]) -> Result<Applied, ReplayError> {
        let now = now();
        let step = JobStep {
            name: self.running.name.clone(),
            runner: self.running.runner,
            progress: self.progress.to_json()?,
            now,
            until: leased_until(now),
        };
        let applied = self.store.take_step(&step, plan, changes).await?;
        self.noted_at = Instant::now();
        Ok(applied)
    }

    /// Why the job is not to be gone on with.
    async fn stopped(&self) -> Result<ReplayError, ReplayError> {
        let job = self.store.job(&self.running.name).await?;
        Ok(match job.map(|job| job.state) {
            Some(state @ (JobState::Paused | JobState::Aborted)) => ReplayError::Stopped(state),
            _ => ReplayError::NotOurs,
        })
    }

    async fn tell_again(
        &mut self,
        untold: Vec<ReadRange>,
        limits: PollLimits,
    ) -> Result<(), ReplayError> {
        let generation = self.running.generation;
        let range = |range: &ReadRange| {
            let log = LogPartition { generation, partition: range.partition };
            OffsetRange { log, from: range.from, to: range.to }
        };
        let ranges: Vec<_> = untold.iter().map(range).collect();
        let changes = self.store.outcome_changes(&self.running.name, &ranges).await?;
        let changes: BTreeMap<Coordinates, Outcome> =
            changes.into_iter().map(|change| (change.coordinates, change.after)).collect();
        if !changes.is_empty() {
            let mut reader = self.queue.open_reader(Topic::Submitted, untold).await?;
            while !reader.is_done() {
                let received = reader.read(limits).await?;
                let items: Vec<Item> =
                    received.into_iter().map(|received| Item::decode(received, generation)).collect();
                let told = items.iter().filter_map(|item| {
                    let submission = item.submission()?;
                    Some((item, submission, *changes.get(&submission.coordinates)?))
                });
                self.tell(told).await?;
            }
        }
        self.progress.tell();
        Ok(())
    }

    /// Publishes until it is acknowledged.
    async fn tell<'a>(
        &self,
        changed: impl Iterator<Item = (&'a Item, &'a Submission, Outcome)>,
    ) -> Result<(), ReplayError> {
        let results = QueueUse { system: self.queue.system(), topic: Topic::Results.name() };
        let Running { name, event_type_prefix, .. } = &self.running;
        let records = replayed_results(changed, name.as_str(), event_type_prefix, results)?;
        if records.is_empty() {
            return Ok(());
        }
        loop {
            match self.queue.publish(Topic::Results, records.clone()).await {
                Ok(()) => return Ok(()),
                Err(error @ QueueError::Broken { .. }) => return Err(error.into()),
                Err(_) => tokio::time::sleep(PUBLISH_PAUSE).await,
            }
        }
    }
}

impl<Q: Queue, S: Store + Replays> Effects for Written<Q, S> {
    /// The store shows it itself.
    fn lay_over(&self, _: &Wanted, _: &mut View) {}

    async fn take(&mut self, part: &Part<'_>) -> Result<Taken, ReplayError> {
        let before = self.progress.clone();
        self.progress.apply(part.through);
        self.progress.report = part.report.clone();
        let plan = &part.redecision.plan;
        if plan.is_empty() {
            self.progress.tell();
            if self.noted_at.elapsed() >= NOTED_EVERY {
                self.note().await?;
            }
            return Ok(Taken::Yes);
        }
        let is_silent = self.running.is_silent;
        let anew: Vec<_> = part
            .meant
            .iter()
            .zip(&part.redecision.redecided)
            .filter_map(change)
            .filter(|_| !is_silent)
            .collect();
        let changes: Vec<OutcomeChange> = anew.iter().map(|(_, _, change)| *change).collect();
        let applied = match self.step(plan, &changes).await {
            Ok(applied) => applied,
            Err(error) => {
                self.progress = before;
                return Err(error);
            }
        };
        match applied {
            Applied::Done => {}
            Applied::Stale(StalePart::Job) => return Err(self.stopped().await?),
            Applied::Stale(_) => {
                self.progress = before;
                return Ok(Taken::Stale);
            }
        }
        self.tell(anew.iter().map(|(item, submission, change)| (*item, *submission, change.after)))
            .await?;
        self.progress.tell();
        Ok(Taken::Yes)
    }
}

type Changed<'a> = (&'a Item, &'a Submission, OutcomeChange);

fn change<'a>(
    ((item, submission), redecided): (&'a (&'a Item, Submission), &Redecided),
) -> Option<Changed<'a>> {
    let Redecided::Changed { before, after } = *redecided else { return None };
    let coordinates = submission.coordinates;
    Some((item, submission, OutcomeChange { coordinates, before, after }))
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
