//! Load, decide, apply: after it every record of a batch has its persisted outcome, or none has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::account::{
    Decided, Generation, LogPartition, Offset, Partition, Plan, Policy, Submission, View, decide,
    set_aside,
};
use crate::queue::{Queue, Received, Topic};
use crate::store::{Applied, OffsetRange, StalePart, Store, StoreError, Wanted};
use crate::telemetry::{Metrics, QueueUse, StoreCall, with_causes};

use super::super::decode::{DeadLetterClass, Item};
use super::super::emission::{Emission, End, ends_of};
use super::super::error::LaneError;
use super::super::start::StartRefused;
use super::super::wanted::wanted_by;
use super::batch::{Batch, Untold};
use super::holdings::Position;

/// What came of trying to persist a batch.
pub(super) enum Persisted {
    /// Everything is persisted, and whoever waits for it is answered.
    Done(Untold),
    /// Nothing is: one of several records cannot be stored. Try smaller parts.
    Split(StoreError),
    /// Nothing is: this part of the plan does not fit what the store holds since it showed this to the batch. Look
    /// again.
    Stale(StalePart, View),
    /// Nothing is: the store has lost records of these partitions that came before.
    SetBack(Vec<Partition>),
    /// Nothing is: the store failed.
    Failed(StoreError),
}

/// Persists batches, one at a time: each must see what the one before has written.
pub(super) struct Persister<Q: Queue, S: Store> {
    pub(super) lane: usize,
    pub(super) queue: Q,
    pub(super) store: S,
    pub(super) policy: Arc<Policy>,
    pub(super) generation: Generation,
    pub(super) event_type_prefix: String,
    pub(super) metrics: Metrics,
}

impl<Q: Queue, S: Store> Persister<Q, S> {
    /// Load, decide, apply, answer. `positions` are those of the lane's partitions.
    pub(super) async fn persist(
        &self,
        batch: &Batch,
        positions: &BTreeMap<Partition, Position>,
    ) -> Result<Persisted, LaneError> {
        let items = &batch.items;
        let submissions: Vec<Submission> =
            items.iter().filter_map(|item| item.submission().cloned()).collect();
        let view = match self.load(&self.wanted(items, positions)).await {
            Ok(view) => view,
            Err(error) => return Ok(Persisted::Failed(error)),
        };
        let set_back = self.set_back(&view, positions);
        if !set_back.is_empty() {
            return Ok(Persisted::SetBack(set_back));
        }
        let through: Vec<(LogPartition, Offset)> =
            batch.through().into_iter().map(|(partition, next)| (self.log(partition), next)).collect();
        let decision =
            decide(&submissions, &through, &view, &self.policy).map_err(StartRefused::from)?;
        let ends = ends_of(items, &decision.decided)?;
        self.must_be_vouched_for(&ends, positions)?;
        match self.apply(&decision.plan).await {
            Ok(Applied::Done) => {
                self.count(&decision.decided, items.len() - submissions.len());
                let results = QueueUse { system: self.queue.system(), topic: Topic::Results.name() };
                let emission = Emission::of(&ends, &self.event_type_prefix, results)?;
                Ok(Persisted::Done(self.answered(batch, emission).await))
            }
            Ok(Applied::Stale(part)) => Ok(Persisted::Stale(part, view)),
            Err(error @ StoreError::Poison { .. }) => {
                Ok(self.isolate(batch, &submissions, &through, view, error).await)
            }
            Err(error) => Ok(Persisted::Failed(error)),
        }
    }

    /// Applied without any outcome is what no release could read then; but only if the group has read this
    /// log before. Otherwise the log may be another one than the store has applied.
    fn must_be_vouched_for(
        &self,
        ends: &[End<'_>],
        positions: &BTreeMap<Partition, Position>,
    ) -> Result<(), StartRefused> {
        for end in ends.iter().filter(|end| end.is_passed_over()) {
            let Received { partition, offset, .. } = end.item.received;
            if !positions.get(&partition).is_some_and(Position::is_vouched_for) {
                return Err(StartRefused::OtherLog { coordinates: self.log(partition).at(offset) });
            }
        }
        Ok(())
    }

    /// Narrows a batch the store cannot hold down to the one record, and puts that aside.
    async fn isolate(
        &self,
        batch: &Batch,
        submissions: &[Submission],
        through: &[(LogPartition, Offset)],
        view: View,
        error: StoreError,
    ) -> Persisted {
        let ([item], [submission]) = (&batch.items[..], submissions) else {
            self.metrics.retried("poison");
            return Persisted::Split(error);
        };
        tracing::error!(
            lane = self.lane,
            coordinates = %submission.coordinates,
            error = %with_causes(&error),
            "a submission cannot be stored and is put aside as a dead letter"
        );
        match self.apply(&set_aside(submission, through, &view)).await {
            Ok(Applied::Done) => {
                let class = DeadLetterClass::NotStorable;
                self.metrics.dead_letters(class.as_str(), 1);
                let emission = Emission::of_set_aside(item, &error.to_string());
                Persisted::Done(self.answered(batch, emission).await)
            }
            Ok(Applied::Stale(part)) => Persisted::Stale(part, view),
            Err(error) => Persisted::Failed(error),
        }
    }

    /// Answers whoever waits; what is left to be told is the batch's emission.
    async fn answered(&self, batch: &Batch, mut emission: Emission) -> Untold {
        for (address, replies) in emission.replies.drain() {
            self.queue.reply(address, replies).await;
        }
        batch.persisted(emission)
    }

    /// Partitions whose applied frontier is before what their lane has persisted: the store was
    /// restored from a backup under it, and what it forgot must be read again before anything else.
    pub(super) fn set_back(
        &self,
        view: &View,
        positions: &BTreeMap<Partition, Position>,
    ) -> Vec<Partition> {
        let is_set_back = |(partition, position): (&Partition, &Position)| {
            let frontier = view.frontiers.get(&self.log(*partition)).copied();
            (frontier < position.persisted()).then_some(*partition)
        };
        positions.iter().filter_map(is_set_back).collect()
    }

    pub(super) async fn load(&self, wanted: &Wanted) -> Result<View, StoreError> {
        self.ask("load", self.store.load(wanted)).await
    }

    async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError> {
        if plan.is_empty() {
            return Ok(Applied::Done);
        }
        self.ask("apply", self.store.apply(plan)).await
    }

    async fn ask<T>(
        &self,
        operation: &'static str,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let call = StoreCall { system: self.store.system(), operation, collection: None };
        let answer = call.measure(&self.metrics, answer, StoreError::kind).await;
        self.metrics.store_operation(operation, begun.elapsed());
        answer
    }

    fn count(&self, decided: &[Decided], unreadable: usize) {
        let mut new = BTreeMap::new();
        let mut repeated = 0;
        for decided in decided {
            match decided {
                Decided::New(outcome) => *new.entry(outcome.verdict).or_insert(0) += 1,
                Decided::Redelivered(_)
                | Decided::Resubmitted(_)
                | Decided::DeadLettered
                | Decided::PassedOver => repeated += 1,
            }
        }
        for (verdict, count) in new {
            self.metrics.outcomes(verdict, count);
        }
        self.metrics.repeated(repeated);
        self.metrics.dead_letters(DeadLetterClass::NotAnAccount.as_str(), unreadable as u64);
    }

    /// What the records are decided on, and the frontiers of the lane's other partitions.
    fn wanted(&self, items: &[Item], positions: &BTreeMap<Partition, Position>) -> Wanted {
        let mut wanted = wanted_by(&items.iter(), self.generation);
        let is_shown =
            |partition: &Partition| wanted.ranges.iter().any(|range| range.log.partition == *partition);
        let others: Vec<_> = positions.keys().filter(|partition| !is_shown(partition)).collect();
        wanted.ranges.extend(others.into_iter().map(|partition| self.frontier_of(*partition)));
        wanted
    }

    /// What shows the applied frontier of a partition and nothing else.
    pub(super) fn frontier_of(&self, partition: Partition) -> OffsetRange {
        OffsetRange { log: self.log(partition), from: Offset(0), to: Offset(0) }
    }

    pub(super) fn log(&self, partition: Partition) -> LogPartition {
        LogPartition { generation: self.generation, partition }
    }
}
