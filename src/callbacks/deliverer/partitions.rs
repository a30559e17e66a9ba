//! Which partitions of the results topic a deliverer has, from where it reads them, and how far it has
//! committed.

use std::collections::HashSet;

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Consumer, Queue, QueueError, Start};
use crate::store::{Deliveries, DeliveryKey, RecordedFrontiers, StoreError, WantedDeliveries};
use crate::telemetry::with_causes;

use super::super::error::DelivererError;
use super::super::ledger::Ledger;
use super::super::sender::Sender;
use super::super::start::{Missed, StartAt, start_offset};
use super::{Deliverer, StepOutcome};

/// How far a partition that is read is done, unless its place cannot be learned yet; none when it is not the
/// deliverer's any more.
type Begun = Result<Option<Ledger>, QueueError>;

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    pub(super) async fn start_partitions(&mut self) -> Result<StepOutcome, DelivererError> {
        let partitions = self.unstarted.iter().map(|assignment| assignment.partition).collect();
        let frontiers = match self.frontiers(partitions).await {
            Ok(frontiers) => frontiers,
            Err(error) => return self.retry_store(error),
        };
        while let Some(assignment) = self.unstarted.last().copied() {
            match self.begin(assignment, &frontiers).await? {
                Ok(begun) => {
                    self.unstarted.pop();
                    self.ledgers.extend(begun.map(|ledger| (assignment.partition, ledger)));
                }
                Err(error) => return self.retry_queue(error),
            }
        }
        Ok(StepOutcome::Progress)
    }

    /// Reads a partition from where queue and store say. The log may have lost its beginning since the
    /// assignment: where it is found counts.
    async fn begin(
        &mut self,
        assignment: Assignment,
        frontiers: &RecordedFrontiers,
    ) -> Result<Begun, DelivererError> {
        let partition = assignment.partition;
        let log = self.options.log(partition);
        let end = self.consumer.end_offset(partition);
        let end = match self.sends.alongside(&self.options, end).await {
            Ok(end) => end,
            Err(error) => return Ok(error.unless_gone()),
        };
        let deleted = self.options.deleted_events;
        let mut start = start_offset(log, &assignment, frontiers, end, deleted)?;
        let seek = self.consumer.seek(partition, Start::Offset(start.offset));
        let found = match self.sends.alongside(&self.options, seek).await {
            Ok(found) => found,
            Err(error) => return Ok(error.unless_gone()),
        };
        if found > start.offset {
            let trimmed = Assignment { earliest: found, ..assignment };
            start = start_offset(log, &trimmed, frontiers, end.max(found), deleted)?;
        }
        tell_missed(partition, &start);
        let stamp = frontiers.known.get(&log).map(|frontier| frontier.stamp);
        Ok(Ok(Some(Ledger::new(assignment, found, start.frontier, stamp))))
    }

    /// Sees whether the store still has of each partition what was recorded last: no event may come that
    /// would show it.
    pub(super) async fn look_for_frontiers_set_back(&mut self) -> Result<StepOutcome, DelivererError> {
        let partitions = self.ledgers.keys().copied().collect();
        match self.frontiers(partitions).await {
            Ok(frontiers) => {
                self.start_outdated_anew(&frontiers);
                Ok(StepOutcome::Progress)
            }
            Err(error) => self.retry_store(error),
        }
    }

    async fn frontiers(&mut self, partitions: Vec<Partition>) -> Result<RecordedFrontiers, StoreError> {
        let logs = partitions.into_iter().map(|partition| self.options.log(partition)).collect();
        let wanted = WantedDeliveries { logs, ..WantedDeliveries::default() };
        let look = self.store.look(&wanted);
        Ok(self.sends.alongside(&self.options, look).await?.frontiers)
    }

    /// Starts the partitions anew of which the store has not what was recorded last; tells whether there are any.
    pub(super) fn start_outdated_anew(&mut self, frontiers: &RecordedFrontiers) -> bool {
        let is_other = |(partition, ledger): (&Partition, &Ledger)| {
            let stored = frontiers.known.get(&self.options.log(*partition));
            (!ledger.agrees_with(stored)).then_some(*partition)
        };
        let outdated: Vec<Partition> = self.ledgers.iter().filter_map(is_other).collect();
        let is_any = !outdated.is_empty();
        self.restart(outdated);
        is_any
    }

    /// Drops what is read of partitions and starts them anew, as if they had just been assigned. Those that are not
    /// read are left alone.
    pub(super) fn restart(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        let ledgers = partitions.into_iter().filter_map(|partition| self.ledgers.get(&partition));
        let unstarted: Vec<_> = ledgers.map(Ledger::reassigned).collect();
        if unstarted.is_empty() {
            return;
        }
        let partitions: Vec<_> = unstarted.iter().map(|assignment| assignment.partition).collect();
        tracing::warn!(
            partitions = partitions.len(),
            "the store does not have what was recorded last, as after a restored backup, or another process \
             records these partitions; reading again what may not be recorded"
        );
        self.unstarted.extend(unstarted);
        self.forget(&partitions);
        self.forget_places(&partitions);
    }

    /// Forgets what is not under way of revoked partitions, commits what is done of them, and gives them back.
    pub(super) async fn give_back(&mut self, partitions: &[Partition]) -> Result<(), DelivererError> {
        self.unstarted.retain(|assignment| !partitions.contains(&assignment.partition));
        self.forget(partitions);
        self.record_everything().await?;
        self.commit().await?;
        self.forget_places(partitions);
        // A recording may have begun one of them anew.
        self.unstarted.retain(|assignment| !partitions.contains(&assignment.partition));
        let released = self.consumer.release(partitions).await.map_err(DelivererError::Queue);
        self.lag.set(self.consumer.backlog_records());
        released
    }

    /// Forgets the events that are of these partitions alone, unless they are under way or have ended.
    fn forget(&mut self, partitions: &[Partition]) {
        self.inbox.retain(|received| !partitions.contains(&received.partition));
        let active = &self.active;
        let is_theirs = |places: &Vec<(Partition, Offset)>| {
            places.iter().all(|(partition, _)| partitions.contains(partition))
        };
        for outbox in &mut self.sends.outboxes {
            outbox.forget(|key| active.get(key).is_none_or(is_theirs));
        }
        let kept = self.under_way();
        self.active.retain(|key, places| !is_theirs(places) || kept.contains(key));
    }

    /// Forgets how far partitions came. What is under way keeps its place: if its record comes back, it is not
    /// sent a second time.
    fn forget_places(&mut self, partitions: &[Partition]) {
        self.ledgers.retain(|partition, _| !partitions.contains(partition));
        for places in self.active.values_mut() {
            places.retain(|(partition, _)| !partitions.contains(partition));
        }
        self.forget_what_nobody_waits_for();
        let kept = self.under_way();
        self.active.retain(|key, places| !places.is_empty() || kept.contains(key));
    }

    /// What waits, is under way, or has ended and is not recorded.
    fn under_way(&self) -> HashSet<DeliveryKey> {
        let waiting = self.sends.outboxes.iter().flat_map(|outbox| outbox.keys());
        let ended = self.sends.ended.iter().chain(self.sends.recorded_now());
        let ended = ended.map(|(_, ended)| &ended.job.key);
        let unstorable = self.unstorable.iter().map(|(_, ended, _)| &ended.job.key);
        waiting.chain(ended).chain(unstorable).cloned().collect()
    }

    /// Nothing is left to be taken in, so what was read up to counts, also places of the log without a record.
    pub(super) fn pass_gaps(&mut self) {
        if !self.inbox.is_empty() {
            return;
        }
        for (partition, ledger) in &mut self.ledgers {
            if let Some(position) = self.consumer.position(*partition) {
                ledger.passed(position);
            }
        }
    }

    /// Commits what is done. A queue that is unavailable is asked again later: until then events would
    /// only be read twice.
    pub(super) async fn commit(&mut self) -> Result<(), DelivererError> {
        let ledgers = self.ledgers.iter();
        let offsets: Vec<(Partition, Offset)> =
            ledgers.filter_map(|(partition, ledger)| Some((*partition, ledger.to_commit()?))).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let commit = self.consumer.commit(offsets.clone());
        match self.sends.alongside(&self.options, commit).await {
            Ok(()) => {}
            Err(error @ QueueError::Broken { .. }) => return Err(DelivererError::Queue(error)),
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "offsets are not committed yet");
                return Ok(());
            }
        }
        for (partition, offset) in offsets {
            if let Some(ledger) = self.ledgers.get_mut(&partition) {
                ledger.committed(offset);
            }
        }
        Ok(())
    }
}

fn tell_missed(partition: Partition, start: &StartAt) {
    match start.missed {
        None => {}
        Some(Missed::Deleted { needed }) => tracing::error!(
            partition = partition.0,
            from = needed.0,
            to = start.offset.0,
            "events were deleted from accounts.results before they were delivered or parked, and are passed \
             over as callbacks.deleted_events says; look their outcomes up in the store"
        ),
        Some(Missed::Recreated { recorded }) => tracing::error!(
            partition = partition.0,
            recorded = recorded.0,
            from = start.offset.0,
            "accounts.results was created anew; it is read from its beginning, and what is recorded as \
             delivered is not sent again. Events that were only on the topic before are gone"
        ),
    }
}
