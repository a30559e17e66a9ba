//! How a lane comes to its partitions, and how it gives them back.

use std::time::Instant;

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Consumer, Queue, QueueError, Start};
use crate::store::{Store, Wanted};
use crate::telemetry::with_causes;

use super::super::error::LaneError;
use super::super::start::{StartRefused, start_offset};
use super::holdings::Position;
use super::{Lane, StepOutcome, clock};

/// Where a partition is read from, unless its place cannot be learned yet; none when it is not the lane's
/// any more.
type Begun = Result<Option<Position>, QueueError>;

impl<Q: Queue, S: Store> Lane<Q, S> {
    pub(super) async fn start_partitions(&mut self) -> Result<StepOutcome, LaneError> {
        let range = |assignment: &Assignment| self.persister.frontier_of(assignment.partition);
        let ranges = self.holdings.unstarted().iter().map(range).collect();
        let wanted = Wanted { ranges, ..Wanted::default() };
        let view = match self.outflow.alongside(self.persister.load(&wanted)).await {
            Ok(view) => view,
            Err(error) => return self.retry_store(error),
        };
        while let Some(assignment) = self.holdings.next_unstarted() {
            let log = self.persister.log(assignment.partition);
            let applied = view.frontiers.get(&log).copied();
            match self.begin(assignment, applied).await? {
                Ok(begun) => self.holdings.started(begun),
                Err(error) => return self.retry_queue(error),
            }
        }
        Ok(StepOutcome::Progress)
    }

    /// Reads a partition from where queue and store say. The log may have lost its beginning since the
    /// assignment, which may be long ago: where it is found counts.
    async fn begin(
        &mut self,
        assignment: Assignment,
        applied: Option<Offset>,
    ) -> Result<Begun, LaneError> {
        let partition = assignment.partition;
        let log = self.persister.log(partition);
        let end = match self.outflow.alongside(self.consumer.end_offset(partition)).await {
            Ok(end) => end,
            Err(error) => return Ok(error.unless_gone()),
        };
        let wanted = start_offset(log, &assignment, applied, end)?;
        let seek = self.consumer.seek(partition, Start::Offset(wanted));
        let found = match self.outflow.alongside(seek).await {
            Ok(found) => found,
            Err(error) => return Ok(error.unless_gone()),
        };
        if found < wanted {
            let applied = applied.unwrap_or(wanted);
            return Err(StartRefused::LogRecreated { log, applied, end: found }.into());
        }
        let assignment = Assignment { earliest: found.max(assignment.earliest), ..assignment };
        let start = start_offset(log, &assignment, applied, end.max(found))?;
        Ok(Ok(Some(Position::started(assignment, start, applied))))
    }

    /// Sees on its own whether the store was set back: no record may come that would show it.
    pub(super) async fn look_for_frontiers_set_back(&mut self) -> Result<StepOutcome, LaneError> {
        let positions = self.holdings.positions();
        let frontiers = positions.keys().map(|partition| self.persister.frontier_of(*partition));
        let wanted = Wanted { ranges: frontiers.collect(), ..Wanted::default() };
        match self.outflow.alongside(self.persister.load(&wanted)).await {
            Ok(view) => match self.persister.set_back(&view, self.holdings.positions()) {
                nothing if nothing.is_empty() => Ok(StepOutcome::Idle),
                partitions => Ok(self.restart(&partitions)),
            },
            Err(error) => self.retry_store(error),
        }
    }

    /// Drops what is read of partitions and starts them anew, as if they had just been assigned. What
    /// is on its way to be told of them no longer counts as done: the store has lost it.
    pub(super) fn restart(&mut self, partitions: &[Partition]) -> StepOutcome {
        tracing::warn!(
            lane = self.number,
            partitions = partitions.len(),
            "the store was set back, as by a restored backup; reading again from the log what it lost"
        );
        self.drop_waiting(partitions);
        self.outflow.emitter.drop_partitions(partitions);
        self.holdings.restart(partitions);
        StepOutcome::Progress
    }

    fn drop_waiting(&mut self, partitions: &[Partition]) {
        for batch in &mut self.waiting {
            batch.drop_partitions(partitions);
        }
        self.waiting.retain(|batch| !batch.is_empty());
    }

    /// Tells what is persisted and commits what is done of revoked partitions, drops the rest and gives
    /// them back.
    pub(super) async fn give_back(&mut self, partitions: &[Partition]) -> Result<(), LaneError> {
        self.holdings.drop_unstarted(partitions);
        self.drop_waiting(partitions);
        self.tell_all().await?;
        self.outflow.emitter.drop_partitions(partitions);
        self.commit_all().await?;
        self.holdings.drop_partitions(partitions);
        self.consumer.release(partitions).await.map_err(LaneError::Queue)
    }

    pub(super) fn commit_if_due(&mut self, now: Instant, idle: bool) {
        let committer = &self.outflow.committer;
        if committer.is_due(self.options.commit_interval, now) || (idle && committer.is_resting()) {
            self.begin_commit();
        }
    }

    /// Commits everything that is done, and waits for it.
    pub(super) async fn commit_all(&mut self) -> Result<(), LaneError> {
        self.outflow.committer.settle().await;
        self.note_committed(clock())?;
        self.begin_commit();
        self.outflow.committer.settle().await;
        self.note_committed(clock())
    }

    fn begin_commit(&mut self) {
        let offsets = self.holdings.to_commit();
        if offsets.is_empty() {
            return;
        }
        let committed = self.consumer.commit(offsets.clone());
        let (submitted, metrics) = (self.reader.submitted, self.metrics.clone());
        let told_at = self.told_at.clone();
        self.outflow.committer.begin(offsets, async move {
            submitted.commit(&metrics, told_at.as_ref(), committed, QueueError::kind).await
        });
    }

    /// Takes what came of a commit. A queue that is unavailable is asked again later: until then records
    /// would only be read twice.
    pub(super) fn note_committed(&mut self, now: Instant) -> Result<(), LaneError> {
        match self.outflow.committer.take(now) {
            Some((offsets, Ok(()))) => self.holdings.committed(&offsets),
            Some((_, Err(error @ QueueError::Broken { .. }))) => return Err(LaneError::Queue(error)),
            Some((_, Err(error))) => {
                tracing::warn!(lane = self.number, error = %with_causes(&error), "offsets are not committed yet");
            }
            None => {}
        }
        Ok(())
    }
}
