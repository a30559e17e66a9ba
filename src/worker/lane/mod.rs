//! One lane: a consumer of the group and the loop over what it brings.
//!
//! Three things go on at a time: a batch is persisted, the batches before it are told, and the one
//! after it is read. Batches are persisted one after the other and told in the same order.

mod batch;
mod emitter;
mod partitions;
mod persist;
mod reading;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use tokio_util::sync::CancellationToken;

use crate::account::{Offset, Partition, Policy};
use crate::queue::{Assignment, Consumer, PollLimits, Queue, QueueError, Topic};
use crate::store::{Store, StoreError};
use crate::telemetry::{LaneLag, Metrics, QueueUse, TraceContext, with_causes};

use super::brake::Brake;
use super::error::LaneError;
use super::options::LaneOptions;
use batch::{Batch, Told};
use emitter::Emitter;
use persist::{Persisted, Persister};
use reading::{Arrived, Reader, read};

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
    consumer: Q::Consumer,
    persister: Persister<Q, S>,
    emitter: Emitter<Q>,
    reader: Reader,
    options: LaneOptions,
    metrics: Metrics,
    lag: LaneLag,
    brake: Brake,
    unstarted: Vec<Assignment>,
    positions: BTreeMap<Partition, Position>,
    /// To be persisted, the first one first.
    waiting: VecDeque<Batch>,
    failures: u32,
    committed_at: Option<Instant>,
    frontiers_seen_at: Option<Instant>,
    /// Where the batch was worked on that was told last.
    told_at: Option<TraceContext>,
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
        let submitted = QueueUse { system: queue.system(), topic: Topic::Submitted.name() };
        let reader = Reader { generation: options.generation, submitted, metrics: metrics.clone() };
        let persister = Persister {
            lane: number,
            queue: queue.clone(),
            store,
            policy,
            generation: options.generation,
            event_type_prefix: options.event_type_prefix.clone(),
            metrics: metrics.clone(),
        };
        Self {
            number,
            consumer,
            persister,
            emitter: Emitter::new(queue, metrics.clone()),
            reader,
            brake: Brake::new(options.brake),
            options,
            lag: metrics.lane_lag(number),
            metrics,
            unstarted: Vec::new(),
            positions: BTreeMap::new(),
            waiting: VecDeque::new(),
            failures: 0,
            committed_at: None,
            frontiers_seen_at: None,
            told_at: None,
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

    /// Does the next thing: starts partitions, works on a batch, or polls for one. Meanwhile it tells
    /// what is persisted.
    pub async fn step(&mut self, now: Instant) -> Result<StepOutcome, LaneError> {
        // While something fails, partitions may still be taken away.
        if self.failures > 0 {
            let rebalance_only = PollLimits { max_records: 0, max_bytes: 0, max_wait: Duration::ZERO };
            if let pause @ StepOutcome::Pause(_) = self.poll(rebalance_only).await? {
                return Ok(pause);
            }
        }
        let done = if !self.unstarted.is_empty() {
            self.start_partitions().await?
        } else if self.waiting.is_empty() {
            self.poll_or_look(now).await?
        } else if self.emitter.is_full() {
            self.emitter.tell_one().await;
            StepOutcome::Progress
        } else {
            self.work_on_batch().await?
        };
        let outcome = match self.note_told()? {
            Some(pause) => pause,
            None if done == StepOutcome::Idle && !self.emitter.is_empty() => StepOutcome::Progress,
            None => done,
        };
        if outcome == StepOutcome::Progress && !self.emitter.is_retrying() {
            self.failures = 0;
        }
        self.commit_if_due(now, outcome == StepOutcome::Idle).await?;
        Ok(outcome)
    }
    /// Tells what is persisted, commits, and leaves the group.
    async fn finish(mut self) -> Result<(), LaneError> {
        self.tell_all().await?;
        let partitions: Vec<Partition> = self.positions.keys().copied().collect();
        self.commit().await?;
        self.consumer.release(&partitions).await.map_err(LaneError::Queue)
    }

    async fn poll(&mut self, limits: PollLimits) -> Result<StepOutcome, LaneError> {
        let reading = read(&mut self.consumer, limits, &self.reader);
        let arrived = self.emitter.alongside(reading).await;
        self.take_in(arrived).await
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

    async fn take_in(&mut self, arrived: Result<Arrived, QueueError>) -> Result<StepOutcome, LaneError> {
        match arrived {
            Ok(Arrived::Nothing) => {
                // Otherwise the lane works on what it has, as long as that takes.
                if self.waiting.is_empty() && self.emitter.is_empty() {
                    self.lag.waits(self.consumer.backlog_records());
                }
                return Ok(StepOutcome::Idle);
            }
            Ok(Arrived::Batch(mut batch)) => {
                // What is to be started anew is read again.
                let unstarted: Vec<_> = self.unstarted.iter().map(|new| new.partition).collect();
                batch.drop_partitions(&unstarted);
                if let Some(oldest) = batch.items.iter().map(|item| item.received.appended_at).min() {
                    self.lag.works(self.consumer.backlog_records(), oldest);
                }
                if !batch.items.is_empty() {
                    self.waiting.push_back(batch);
                }
            }
            Ok(Arrived::Assigned(assignments)) => self.unstarted.extend(assignments),
            Ok(Arrived::Revoked(partitions)) => self.give_back(&partitions).await?,
            Err(error) => return self.retry_queue(error),
        }
        Ok(StepOutcome::Progress)
    }

    /// Persists the first batch. While a whole batch more is there to be had, that is read meanwhile;
    /// otherwise what arrives until then makes a larger one.
    async fn work_on_batch(&mut self) -> Result<StepOutcome, LaneError> {
        let Some(batch) = self.waiting.front() else { return Ok(StepOutcome::Idle) };
        let limits = PollLimits { max_wait: Duration::ZERO, ..self.options.poll };
        let (consumer, reader) = (&mut self.consumer, &self.reader);
        let reads_ahead =
            self.waiting.len() == 1 && consumer.backlog_records() >= limits.max_records as u64;
        let reading = async {
            // What the store is asked for is sent off first.
            tokio::task::yield_now().await;
            if reads_ahead { Some(read(consumer, limits, reader).await) } else { None }
        };
        // On the heap: it is the largest part of a step by far.
        let persisting = Box::pin(self.persister.persist(batch, &self.positions));
        let persisting = batch.work.span.scope(persisting);
        let (persisted, arrived) = self.emitter.alongside(join(persisting, reading)).await;
        let outcome = self.note_persisted(persisted?)?;
        match arrived {
            Some(arrived) => match self.take_in(arrived).await? {
                pause @ StepOutcome::Pause(_) => Ok(pause),
                StepOutcome::Progress | StepOutcome::Idle => Ok(outcome),
            },
            None => Ok(outcome),
        }
    }

    fn note_persisted(&mut self, persisted: Persisted) -> Result<StepOutcome, LaneError> {
        match persisted {
            Persisted::Done(batch) => {
                self.waiting.pop_front();
                for (partition, next) in batch.through() {
                    if let Some(position) = self.positions.get_mut(partition) {
                        position.persisted = position.persisted.max(Some(*next));
                    }
                }
                self.emitter.push(batch);
            }
            Persisted::Split => {
                if let Some(mut head) = self.waiting.pop_front() {
                    let tail = head.split();
                    self.waiting.push_front(tail);
                    self.waiting.push_front(head);
                }
            }
            Persisted::Stale => {}
            Persisted::SetBack(partitions) => return Ok(self.restart(&partitions)),
            Persisted::Failed(error) => return self.retry_store(error),
        }
        Ok(StepOutcome::Progress)
    }

    /// Tells every batch that is persisted, unless that fails: whoever reads them again tells them.
    async fn tell_all(&mut self) -> Result<(), LaneError> {
        if !self.emitter.is_retrying() {
            self.emitter.tell_all().await;
        }
        self.note_told().map(drop)
    }

    /// What was told is done. A pause when there is a reason for one.
    fn note_told(&mut self) -> Result<Option<StepOutcome>, LaneError> {
        let (told, failure) = self.emitter.take_told();
        let mut pause = None;
        for Told { through, records, dead_letters, work } in told {
            self.told_at = work.span.context();
            self.reader.submitted.processed(&self.metrics, work.polled_at.elapsed());
            for (partition, next) in through {
                if let Some(position) = self.positions.get_mut(&partition) {
                    position.done = position.done.max(next);
                }
            }
            if self.brake.trips(records, dead_letters) {
                pause = Some(self.brake_pause());
            }
        }
        match failure {
            Some(failure) => self.retry_queue(failure).map(Some),
            None => Ok(pause),
        }
    }

    fn brake_pause(&self) -> StepOutcome {
        let pause = self.options.brake.pause;
        tracing::error!(
            lane = self.number,
            pause_seconds = pause.as_secs(),
            "too many records are dead letters; the lane pauses. Look at accounts.dead-letter and \
             stop the producer that writes what is no account"
        );
        StepOutcome::Pause(pause)
    }

    fn retry_store(&mut self, error: StoreError) -> Result<StepOutcome, LaneError> {
        match error {
            StoreError::Unavailable { .. } => Ok(self.retry("store_unavailable", &error)),
            StoreError::Poison { .. } | StoreError::Broken { .. } => Err(LaneError::Store(error)),
        }
    }

    fn retry_queue(&mut self, error: QueueError) -> Result<StepOutcome, LaneError> {
        match error {
            QueueError::Overloaded | QueueError::NotAssigned { .. } | QueueError::Unavailable { .. } => {
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
}
