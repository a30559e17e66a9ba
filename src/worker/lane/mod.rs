//! One lane: a consumer of the group and the loop over what it brings.
//!
//! Things go on side by side: a batch is persisted, the batches before it are told, the one after it is
//! read, and what was told is committed. Batches are persisted one after the other and told in the same
//! order.

mod batch;
mod committer;
mod emitter;
mod holdings;
mod outflow;
mod pace;
mod partitions;
mod persist;
mod reading;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use tokio_util::sync::CancellationToken;

use crate::account::{Policy, View};
use crate::queue::{Consumer, PollLimits, Queue, QueueError, Topic};
use crate::store::{StalePart, Store, StoreError};
use crate::telemetry::{LaneLag, Metrics, QueueUse, TraceContext};

use super::error::{InconsistentStore, LaneError};
use super::options::LaneOptions;
use batch::{Batch, Told};
use emitter::{Emitted, Emitter};
use holdings::Holdings;
use outflow::Outflow;
use pace::{Again, Pace};
use persist::{Persisted, Persister};
use reading::{Arrived, Reader, read};

/// A poll that brings only changes of the assignment.
const REBALANCE_ONLY: PollLimits = PollLimits { max_records: 0, max_bytes: 0, max_wait: Duration::ZERO };

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

impl StepOutcome {
    fn pause(self) -> Option<Duration> {
        if let Self::Pause(pause) = self { Some(pause) } else { None }
    }

    /// This, unless there is a reason for a longer pause.
    fn or_pause(self, pause: Option<Duration>) -> Self {
        match (self, pause) {
            (outcome, None) => outcome,
            (Self::Pause(known), Some(pause)) => Self::Pause(known.max(pause)),
            (Self::Progress | Self::Idle, Some(pause)) => Self::Pause(pause),
        }
    }
}

/// What a step does.
enum Task {
    /// Say from where new partitions are read.
    Start,
    /// Read a batch.
    Read,
    /// Wait until a batch is told: no more may be persisted before.
    Tell,
    /// Persist a batch.
    Persist,
}

/// A lane. Dropping it at any point loses nothing: what it had not committed is read again.
pub struct Lane<Q: Queue, S: Store> {
    number: usize,
    consumer: Q::Consumer,
    reader: Reader,
    /// To be persisted, the first one first.
    waiting: VecDeque<Batch>,
    persister: Persister<Q, S>,
    outflow: Outflow<Q>,
    holdings: Holdings,
    pace: Pace,
    options: LaneOptions,
    metrics: Metrics,
    lag: LaneLag,
    /// Where the batch was worked on that was told last.
    told_at: Option<TraceContext>,
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
            reader,
            waiting: VecDeque::new(),
            persister,
            outflow: Outflow::new(Emitter::new(queue, metrics.clone())),
            holdings: Holdings::default(),
            pace: Pace::new(number, &options, metrics.clone()),
            options,
            lag: metrics.lane_lag(number),
            metrics,
            told_at: None,
        }
    }

    /// Steps until `stop` is cancelled, then commits what is done. An error is final.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), LaneError> {
        while !stop.is_cancelled() {
            if let StepOutcome::Pause(pause) = self.step(clock()).await? {
                self.rest(pause, &stop).await?;
            }
        }
        self.finish().await
    }

    /// Does the next thing, and meanwhile tells what is persisted and commits what is told.
    pub async fn step(&mut self, now: Instant) -> Result<StepOutcome, LaneError> {
        self.note_committed(now)?;
        self.outflow.emitter.resume();
        let worked = self.work(now).await?;
        let outcome = worked.or_pause(self.note_told()?);
        if outcome == StepOutcome::Progress && !self.outflow.emitter.is_retrying() {
            self.pace.works();
        }
        self.commit_if_due(now, outcome == StepOutcome::Idle);
        let is_told = self.outflow.emitter.is_empty() && self.outflow.committer.is_resting();
        Ok(if outcome == StepOutcome::Idle && !is_told { StepOutcome::Progress } else { outcome })
    }

    async fn work(&mut self, now: Instant) -> Result<StepOutcome, LaneError> {
        // While something fails, partitions may still be taken away.
        if self.pace.is_failing()
            && let pause @ StepOutcome::Pause(_) = self.poll(REBALANCE_ONLY).await?
        {
            return Ok(pause);
        }
        match self.next_task() {
            Task::Start => self.start_partitions().await,
            Task::Read => self.poll_or_look(now).await,
            Task::Tell => self.tell_next().await,
            Task::Persist => self.work_on_batch().await,
        }
    }

    fn next_task(&self) -> Task {
        if !self.holdings.unstarted().is_empty() {
            Task::Start
        } else if self.waiting.is_empty() {
            Task::Read
        } else if self.outflow.emitter.is_full() {
            Task::Tell
        } else {
            Task::Persist
        }
    }

    /// Keeps a pause: the group is heard, what can be told and committed is, and `stop` ends it.
    async fn rest(&mut self, pause: Duration, stop: &CancellationToken) -> Result<(), LaneError> {
        let mut until = clock() + pause;
        while !stop.is_cancelled() && clock() < until {
            let max_wait = (until - clock()).min(self.options.commit_interval);
            let limits = PollLimits { max_wait, ..REBALANCE_ONLY };
            let reading = read(&mut self.consumer, limits, &self.reader);
            // Dropping a poll loses nothing.
            let arrived = self.outflow.alongside(stop.run_until_cancelled(reading)).await;
            match arrived {
                Some(Err(error @ QueueError::Broken { .. })) => return Err(LaneError::Queue(error)),
                Some(Err(_)) => {
                    let waiting = tokio::time::sleep(max_wait);
                    self.outflow.alongside(stop.run_until_cancelled(waiting)).await;
                }
                Some(Ok(arrived)) => self.take_in(arrived).await?,
                None => return Ok(()),
            }
            if let Some(pause) = self.note_told()? {
                until = until.max(clock() + pause);
            }
            self.note_committed(clock())?;
            self.commit_if_due(clock(), false);
        }
        Ok(())
    }

    /// Tells what is persisted, commits, and leaves the group.
    async fn finish(mut self) -> Result<(), LaneError> {
        self.tell_all().await?;
        self.commit_all().await?;
        let partitions = self.holdings.partitions();
        self.consumer.release(&partitions).await.map_err(LaneError::Queue)
    }

    async fn poll(&mut self, limits: PollLimits) -> Result<StepOutcome, LaneError> {
        let reading = read(&mut self.consumer, limits, &self.reader);
        match self.outflow.alongside(reading).await {
            Ok(Arrived::Nothing) => Ok(self.take_in_nothing()),
            Ok(arrived) => self.take_in(arrived).await.map(|()| StepOutcome::Progress),
            Err(error) => self.retry_queue(error),
        }
    }

    /// Polls; when nothing came for a while, sees whether the store was set back.
    async fn poll_or_look(&mut self, now: Instant) -> Result<StepOutcome, LaneError> {
        let outcome = self.poll(self.options.poll).await?;
        if outcome == StepOutcome::Idle && self.pace.is_frontier_check_due(now) {
            return self.look_for_frontiers_set_back().await;
        }
        Ok(outcome)
    }

    async fn take_in(&mut self, arrived: Arrived) -> Result<(), LaneError> {
        match arrived {
            Arrived::Nothing => {}
            Arrived::Batch(mut batch) => {
                // What is to be started anew is read again.
                let unstarted: Vec<_> =
                    self.holdings.unstarted().iter().map(|new| new.partition).collect();
                batch.drop_partitions(&unstarted);
                if let Some(oldest) = batch.items.iter().map(|item| item.received.appended_at).min() {
                    self.lag.works(self.consumer.backlog_records(), oldest);
                }
                self.wait_for_persisting(batch);
            }
            Arrived::Assigned(assignments) => self.holdings.assigned(assignments),
            Arrived::Revoked(partitions) => self.give_back(&partitions).await?,
        }
        Ok(())
    }

    /// Nothing came; still the log may have been passed over places that hold no record.
    fn take_in_nothing(&mut self) -> StepOutcome {
        if !self.waiting.is_empty() {
            return StepOutcome::Idle;
        }
        let passed = self.holdings.passed(|partition| self.consumer.position(partition));
        if !passed.is_empty() {
            self.wait_for_persisting(Batch::without_records(passed));
            return StepOutcome::Progress;
        }
        // Otherwise the lane works on what it has, as long as that takes.
        if self.outflow.emitter.is_empty() {
            self.lag.waits(self.consumer.backlog_records());
        }
        StepOutcome::Idle
    }

    fn wait_for_persisting(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.holdings.read(&batch.through());
            self.waiting.push_back(batch);
        }
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
        let persisting = Box::pin(self.persister.persist(batch, self.holdings.positions()));
        let persisting = batch.work.span.scope(persisting);
        let (persisted, arrived) = self.outflow.alongside(join(persisting, reading)).await;
        let outcome = self.note_persisted(persisted?)?;
        match arrived {
            Some(Ok(arrived)) => self.take_in(arrived).await.map(|()| outcome),
            Some(Err(error)) => self.retry_queue(error),
            None => Ok(outcome),
        }
    }

    fn note_persisted(&mut self, persisted: Persisted) -> Result<StepOutcome, LaneError> {
        match persisted {
            Persisted::Done(batch) => {
                self.pace.in_time();
                self.waiting.pop_front();
                self.holdings.persisted(batch.through());
                self.outflow.emitter.push(batch);
            }
            Persisted::Split(error) => {
                let halves = self.waiting.pop_front().and_then(Batch::split);
                let Some([head, tail]) = halves else { return Err(LaneError::Store(error)) };
                self.waiting.push_front(tail);
                self.waiting.push_front(head);
            }
            Persisted::Stale(part, view) => return self.look_again(part, view),
            Persisted::SetBack(partitions) => return Ok(self.restart(&partitions)),
            Persisted::Failed(error) => return self.retry_store(error),
        }
        Ok(StepOutcome::Progress)
    }

    /// The first batch was decided on what no longer is.
    fn look_again(&mut self, part: StalePart, view: View) -> Result<StepOutcome, LaneError> {
        match self.pace.stale(part, view) {
            Again::Now => Ok(StepOutcome::Progress),
            Again::After(pause) => Ok(StepOutcome::Pause(pause)),
            Again::Never => {
                let through = self.waiting.front().map(Batch::through).unwrap_or_default();
                let log = |(partition, next)| self.persister.log(partition).at(next);
                let before = through.into_iter().map(log).collect();
                Err(InconsistentStore { part, before }.into())
            }
        }
    }

    /// Waits until one batch more is told, or could not be.
    async fn tell_next(&mut self) -> Result<StepOutcome, LaneError> {
        let pause = match self.outflow.next().await {
            Some(emitted) => self.note(emitted)?,
            None => None,
        };
        Ok(StepOutcome::Progress.or_pause(pause))
    }

    /// Tells every batch that is persisted, unless that fails: whoever reads them again tells them.
    async fn tell_all(&mut self) -> Result<(), LaneError> {
        while !self.outflow.emitter.is_retrying()
            && let Some(emitted) = self.outflow.next().await
        {
            self.note(emitted)?;
        }
        Ok(())
    }

    /// Takes what came of telling; a pause when there is a reason for one.
    fn note_told(&mut self) -> Result<Option<Duration>, LaneError> {
        let mut pause = None;
        while let Some(emitted) = self.outflow.emitter.take() {
            pause = pause.max(self.note(emitted)?);
        }
        Ok(pause)
    }

    /// What was told is done. A pause when there is a reason for one.
    fn note(&mut self, emitted: Emitted) -> Result<Option<Duration>, LaneError> {
        let Told { through, records, dead_letters, work, .. } = match emitted {
            Emitted::Told(told) => told,
            Emitted::Failed(error) => {
                return self.retry_queue(error).map(StepOutcome::pause);
            }
        };
        if records > 0 {
            self.told_at = work.span.context();
            self.reader.submitted.processed(&self.metrics, work.polled_at.elapsed());
        }
        self.holdings.done(&through);
        Ok(self.pace.brake(records, dead_letters))
    }

    fn retry_store(&mut self, error: StoreError) -> Result<StepOutcome, LaneError> {
        match error {
            StoreError::Unavailable { .. } => {
                Ok(StepOutcome::Pause(self.pace.failed("store_unavailable", &error)))
            }
            StoreError::Poison { .. } | StoreError::Broken { .. } => Err(LaneError::Store(error)),
        }
    }

    fn retry_queue(&mut self, error: QueueError) -> Result<StepOutcome, LaneError> {
        match error {
            QueueError::Overloaded | QueueError::NotAssigned { .. } | QueueError::Unavailable { .. } => {
                Ok(StepOutcome::Pause(self.pace.failed("queue_unavailable", &error)))
            }
            QueueError::Broken { .. } => Err(LaneError::Queue(error)),
        }
    }
}

/// The time as timers have it.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}
