//! One lane: a consumer of the group and the loop over what it brings.

mod partitions;
mod persist;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::account::{LogPartition, Offset, Partition, Policy, Timestamp};
use crate::queue::{Assignment, Consumer, PollLimits, Polled, Queue, QueueError, Received, Topic};
use crate::store::{Store, StoreError};
use crate::telemetry::{Metrics, with_causes};

use super::brake::Brake;
use super::decode::Item;
use super::emission::{Emission, oldest_age};
use super::error::LaneError;
use super::options::LaneOptions;
use persist::Persisted;

/// How long a lane may find nothing to read before it sees whether the store was set back.
const FRONTIER_CHECK: Duration = Duration::from_secs(5);

/// What a step came to, for whoever drives the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a lane that asks for a pause must get it"]
pub enum StepOutcome {
    /// Something was done; step again.
    Progress,
    /// Nothing was there to do.
    Idle,
    /// Step again after this pause: something is unavailable or must not be fed further.
    Pause(Duration),
}

/// A lane. Dropping it at any point loses nothing: what it had not committed is read again.
pub struct Lane<Q: Queue, S: Store> {
    number: usize,
    queue: Q,
    consumer: Q::Consumer,
    store: S,
    policy: Arc<Policy>,
    options: LaneOptions,
    metrics: Metrics,
    brake: Brake,
    unstarted: Vec<Assignment>,
    positions: BTreeMap<Partition, Position>,
    work: VecDeque<Batch>,
    failures: u32,
    committed_at: Option<Instant>,
    frontiers_seen_at: Option<Instant>,
}

/// How far a partition is persisted, how far done, and how far that was committed.
#[derive(Clone, Copy, Debug)]
struct Position {
    assignment: Assignment,
    /// The applied frontier is at least here, unless the store was set back; none while there is none.
    persisted: Option<Offset>,
    done: Offset,
    committed: Offset,
}

/// Records that go through the stages together, in the order of their offsets.
struct Batch {
    items: Vec<Item>,
    stage: Stage,
}

enum Stage {
    /// Nothing is persisted.
    Polled,
    /// Everything is persisted; this is still to be told.
    Applied(Emission),
}

impl<Q: Queue, S: Store> Lane<Q, S> {
    /// A lane on a consumer of the submitted topic; `number` tells lanes apart in logs and metrics.
    pub fn new(
        number: usize,
        queue: Q,
        consumer: Q::Consumer,
        store: S,
        policy: Arc<Policy>,
        options: LaneOptions,
        metrics: Metrics,
    ) -> Self {
        let brake = Brake::new(options.brake);
        Self {
            number,
            queue,
            consumer,
            store,
            policy,
            options,
            metrics,
            brake,
            unstarted: Vec::new(),
            positions: BTreeMap::new(),
            work: VecDeque::new(),
            failures: 0,
            committed_at: None,
            frontiers_seen_at: None,
        }
    }

    /// Steps until `stop` is cancelled, then commits what is done. An error is final.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), LaneError> {
        while !stop.is_cancelled() {
            if let StepOutcome::Pause(wait) = self.step(Instant::now()).await? {
                let _ = tokio::time::timeout(wait, stop.cancelled()).await;
            }
        }
        self.finish().await
    }

    /// Does the next thing: starts partitions, works on a batch, or polls for one.
    pub async fn step(&mut self, now: Instant) -> Result<StepOutcome, LaneError> {
        // While something fails, partitions may still be taken away.
        if self.failures > 0 {
            let rebalance_only = PollLimits { max_records: 0, max_bytes: 0, max_wait: Duration::ZERO };
            if let pause @ StepOutcome::Pause(_) = self.poll(rebalance_only).await? {
                return Ok(pause);
            }
        }
        let outcome = if !self.unstarted.is_empty() {
            self.start_partitions().await?
        } else if !self.work.is_empty() {
            self.work_on_batch().await?
        } else {
            self.poll_or_look(now).await?
        };
        if outcome == StepOutcome::Progress {
            self.failures = 0;
        }
        self.commit_if_due(now, outcome == StepOutcome::Idle).await?;
        Ok(outcome)
    }

    /// Tells what is persisted, commits, and leaves the group.
    async fn finish(mut self) -> Result<(), LaneError> {
        while matches!(self.work.front(), Some(Batch { stage: Stage::Applied(_), .. })) {
            if self.work_on_batch().await? != StepOutcome::Progress {
                break;
            }
        }
        let partitions: Vec<Partition> = self.positions.keys().copied().collect();
        self.commit().await?;
        self.consumer.release(&partitions).await.map_err(LaneError::Queue)
    }

    async fn poll(&mut self, limits: PollLimits) -> Result<StepOutcome, LaneError> {
        match self.consumer.poll(limits).await {
            Ok(Polled::Idle) => {
                self.metrics.lag(self.number, self.consumer.backlog_records(), Duration::ZERO);
                Ok(StepOutcome::Idle)
            }
            Ok(Polled::Records(records)) => {
                self.enqueue(records);
                Ok(StepOutcome::Progress)
            }
            Ok(Polled::Assigned(assignments)) => {
                self.unstarted.extend(assignments);
                Ok(StepOutcome::Progress)
            }
            Ok(Polled::Revoked(partitions)) => {
                self.give_back(&partitions).await?;
                Ok(StepOutcome::Progress)
            }
            Err(error) => self.retry_queue(error),
        }
    }

    /// Polls; when nothing came for a while, sees whether the store was set back.
    async fn poll_or_look(&mut self, now: Instant) -> Result<StepOutcome, LaneError> {
        let outcome = self.poll(self.options.poll).await?;
        let seen_at = *self.frontiers_seen_at.get_or_insert(now);
        if outcome != StepOutcome::Idle || now.saturating_duration_since(seen_at) < FRONTIER_CHECK {
            return Ok(outcome);
        }
        self.frontiers_seen_at = Some(now);
        self.look_for_frontiers_set_back().await
    }

    fn enqueue(&mut self, records: Vec<Received>) {
        let generation = self.options.generation;
        let items: Vec<Item> =
            records.into_iter().map(|received| Item::decode(received, generation)).collect();
        let age = oldest_age(&items, Timestamp::from(SystemTime::now()));
        self.metrics.lag(self.number, self.consumer.backlog_records(), age);
        self.work.push_back(Batch { items, stage: Stage::Polled });
    }

    async fn work_on_batch(&mut self) -> Result<StepOutcome, LaneError> {
        let Some(mut batch) = self.work.pop_front() else { return Ok(StepOutcome::Idle) };
        if matches!(batch.stage, Stage::Polled) {
            match self.persist(&batch.items).await? {
                Persisted::Done(emission) => {
                    batch.stage = Stage::Applied(self.send_replies(emission).await);
                }
                Persisted::Split => {
                    self.split(batch);
                    return Ok(StepOutcome::Progress);
                }
                Persisted::NotYet(outcome) => {
                    self.work.push_front(batch);
                    return Ok(outcome);
                }
                Persisted::SetBack(partitions) => {
                    self.work.push_front(batch);
                    return Ok(self.restart(&partitions));
                }
            }
            self.mark_persisted(&batch.items);
        }
        self.tell(batch).await
    }

    fn mark_persisted(&mut self, items: &[Item]) {
        for item in items {
            if let Some(position) = self.positions.get_mut(&item.received.partition) {
                position.persisted = position.persisted.max(Some(item.next_offset()));
            }
        }
    }

    fn split(&mut self, mut batch: Batch) {
        let tail = batch.items.split_off(batch.items.len() / 2);
        self.work.push_front(Batch { items: tail, stage: Stage::Polled });
        self.work.push_front(batch);
    }

    async fn send_replies(&self, mut emission: Emission) -> Emission {
        for (address, replies) in emission.replies.drain() {
            self.queue.reply(address, replies).await;
        }
        emission
    }

    /// Publishes what a persisted batch has to tell; once acknowledged the batch is done.
    async fn tell(&mut self, mut batch: Batch) -> Result<StepOutcome, LaneError> {
        let Stage::Applied(emission) = &mut batch.stage else {
            self.work.push_front(batch);
            return Ok(StepOutcome::Progress);
        };
        let dead_letters = emission.dead_letters.len();
        if let Err(error) = publish(&self.queue, emission).await {
            self.work.push_front(batch);
            return self.retry_queue(error);
        }
        for item in &batch.items {
            if let Some(position) = self.positions.get_mut(&item.received.partition) {
                position.done = position.done.max(item.next_offset());
            }
        }
        if self.brake.trips(batch.items.len(), dead_letters) {
            tracing::error!(
                lane = self.number,
                pause_seconds = self.options.brake.pause.as_secs(),
                "too many records are dead letters; the lane pauses. Look at accounts.dead-letter and \
                 stop the producer that writes what is no account"
            );
            return Ok(StepOutcome::Pause(self.options.brake.pause));
        }
        Ok(StepOutcome::Progress)
    }

    fn retry_store(&mut self, error: StoreError) -> Result<StepOutcome, LaneError> {
        match error {
            StoreError::Unavailable { .. } => Ok(self.retry("store_unavailable", &error)),
            StoreError::Poison { .. } | StoreError::Broken { .. } => Err(LaneError::Store(error)),
        }
    }

    fn retry_queue(&mut self, error: QueueError) -> Result<StepOutcome, LaneError> {
        match error {
            QueueError::Overloaded | QueueError::Unavailable { .. } => {
                Ok(self.retry("queue_unavailable", &error))
            }
            QueueError::Broken { .. } => Err(LaneError::Queue(error)),
        }
    }

    fn retry(&mut self, reason: &'static str, error: &(dyn std::error::Error + 'static)) -> StepOutcome {
        self.failures = self.failures.saturating_add(1);
        let wait = self.options.backoff.wait(self.failures);
        self.metrics.retried(reason);
        tracing::warn!(
            lane = self.number,
            attempt = self.failures,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            error = %with_causes(error),
            "trying again; nothing is lost meanwhile"
        );
        StepOutcome::Pause(wait)
    }

    fn log(&self, partition: Partition) -> LogPartition {
        LogPartition { generation: self.options.generation, partition }
    }
}

impl Batch {
    fn drop_partitions(&mut self, partitions: &[Partition]) {
        self.items.retain(|item| !partitions.contains(&item.received.partition));
    }
}

/// Publishes and empties what is acknowledged, so that a retry sends only the rest.
async fn publish<Q: Queue>(queue: &Q, emission: &mut Emission) -> Result<(), QueueError> {
    for (topic, records) in
        [(Topic::DeadLetter, &mut emission.dead_letters), (Topic::Results, &mut emission.results)]
    {
        if !records.is_empty() {
            queue.publish(topic, records.clone()).await?;
            records.clear();
        }
    }
    Ok(())
}
