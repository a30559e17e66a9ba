//! Which partitions a lane has, from where it reads them, and how far it has committed.

use std::time::Instant;

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Consumer, Queue, QueueError, Start};
use crate::store::{Store, Wanted};
use crate::telemetry::with_causes;

use super::super::error::LaneError;
use super::super::start::start_offset;
use super::{Lane, Position, StepOutcome};

impl<Q: Queue, S: Store> Lane<Q, S> {
    pub(super) async fn start_partitions(&mut self) -> Result<StepOutcome, LaneError> {
        let range = |assignment: &Assignment| self.persister.frontier_of(assignment.partition);
        let wanted = Wanted { ranges: self.unstarted.iter().map(range).collect(), ..Wanted::default() };
        let view = match self.persister.store.load(&wanted).await {
            Ok(view) => view,
            Err(error) => return self.retry_store(error),
        };
        while let Some(assignment) = self.unstarted.last().copied() {
            let log = self.persister.log(assignment.partition);
            let end = match self.consumer.end_offset(assignment.partition).await {
                Ok(end) => end,
                Err(QueueError::NotAssigned { .. }) => {
                    self.unstarted.pop();
                    continue;
                }
                Err(error) => return self.retry_queue(error),
            };
            let frontier = view.frontiers.get(&log).copied();
            let start = start_offset(log, &assignment, frontier, end)?;
            match self.consumer.seek(assignment.partition, Start::Offset(start)).await {
                Ok(_) => {}
                Err(QueueError::NotAssigned { .. }) => {
                    self.unstarted.pop();
                    continue;
                }
                Err(error) => return self.retry_queue(error),
            }
            let committed = assignment.committed.unwrap_or(start).min(start);
            let persisted = frontier.map(|_| start);
            let position = Position { assignment, persisted, done: start, committed };
            self.positions.insert(assignment.partition, position);
            self.unstarted.pop();
        }
        Ok(StepOutcome::Progress)
    }

    /// Sees on its own whether the store was set back: no record may come that would show it.
    pub(super) async fn look_for_frontiers_set_back(&mut self) -> Result<StepOutcome, LaneError> {
        let frontiers = self.positions.keys().map(|partition| self.persister.frontier_of(*partition));
        let wanted = Wanted { ranges: frontiers.collect(), ..Wanted::default() };
        match self.persister.load(&wanted).await {
            Ok(view) => match self.persister.set_back(&view, &self.positions) {
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
        self.emitter.drop_partitions(partitions);
        for partition in partitions {
            if let Some(Position { assignment, committed, .. }) = self.positions.remove(partition) {
                self.unstarted.push(Assignment { committed: Some(committed), ..assignment });
            }
        }
        StepOutcome::Progress
    }

    fn drop_waiting(&mut self, partitions: &[Partition]) {
        for batch in &mut self.waiting {
            batch.drop_partitions(partitions);
        }
        self.waiting.retain(|batch| !batch.items.is_empty());
    }

    /// Tells what is persisted and commits what is done of revoked partitions, drops the rest and gives
    /// them back.
    pub(super) async fn give_back(&mut self, partitions: &[Partition]) -> Result<(), LaneError> {
        self.unstarted.retain(|assignment| !partitions.contains(&assignment.partition));
        self.drop_waiting(partitions);
        self.tell_all().await?;
        self.emitter.drop_partitions(partitions);
        self.commit().await?;
        self.positions.retain(|partition, _| !partitions.contains(partition));
        self.consumer.release(partitions).await.map_err(LaneError::Queue)
    }

    pub(super) async fn commit_if_due(&mut self, now: Instant, idle: bool) -> Result<(), LaneError> {
        let interval = self.options.commit_interval;
        let is_due = self.committed_at.is_none_or(|at| now.saturating_duration_since(at) >= interval);
        if is_due || idle {
            self.commit().await?;
            self.committed_at = Some(now);
        }
        Ok(())
    }

    /// Commits what is done. A queue that is unavailable is asked again later: until then records
    /// would only be read twice.
    pub(super) async fn commit(&mut self) -> Result<(), LaneError> {
        let moved = |(partition, position): (&Partition, &Position)| {
            (position.done > position.committed).then_some((*partition, position.done))
        };
        let offsets: Vec<(Partition, Offset)> = self.positions.iter().filter_map(moved).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let committed = self.consumer.commit(offsets.clone());
        let (submitted, told_at) = (self.reader.submitted, self.told_at.as_ref());
        match submitted.commit(&self.metrics, told_at, committed, QueueError::kind).await {
            Ok(()) => {}
            Err(error @ QueueError::Broken { .. }) => return Err(LaneError::Queue(error)),
            Err(error) => {
                tracing::warn!(lane = self.number, error = %with_causes(&error), "offsets are not committed yet");
                return Ok(());
            }
        }
        for (partition, done) in offsets {
            if let Some(position) = self.positions.get_mut(&partition) {
                position.committed = done;
            }
        }
        Ok(())
    }
}
