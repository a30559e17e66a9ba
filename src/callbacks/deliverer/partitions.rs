//! Which partitions of the results topic a deliverer has, from where it reads them, and how far it has
//! committed.

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Consumer, Queue, QueueError, Start};
use crate::store::Deliveries;
use crate::telemetry::with_causes;

use super::super::error::DelivererError;
use super::super::ledger::Ledger;
use super::super::sender::Sender;
use super::{Deliverer, StepOutcome};

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    pub(super) async fn start_partitions(&mut self) -> Result<StepOutcome, DelivererError> {
        while let Some(assignment) = self.unstarted.last().copied() {
            let start = start_offset(&assignment);
            match self.consumer.seek(assignment.partition, Start::Offset(start)).await {
                Ok(found) => {
                    self.ledgers.insert(assignment.partition, Ledger::new(found));
                }
                Err(QueueError::NotAssigned { .. }) => {}
                Err(error) => return self.retry_queue(error),
            }
            self.unstarted.pop();
        }
        Ok(StepOutcome::Progress)
    }

    /// Commits what is done of revoked partitions, forgets what is not under way, and gives them back.
    pub(super) async fn give_back(&mut self, partitions: &[Partition]) -> Result<(), DelivererError> {
        self.unstarted.retain(|assignment| !partitions.contains(&assignment.partition));
        self.inbox.retain(|received| !partitions.contains(&received.partition));
        self.record_everything().await?;
        self.commit().await?;
        self.ledgers.retain(|partition, _| !partitions.contains(partition));
        for places in self.active.values_mut() {
            places.retain(|(partition, _)| !partitions.contains(partition));
        }
        let active = &self.active;
        for outbox in &mut self.sends.outboxes {
            outbox.forget(|key| active.get(key).is_none_or(Vec::is_empty));
        }
        self.forget_what_is_not_under_way();
        self.consumer.release(partitions).await.map_err(DelivererError::Queue)
    }

    /// What is under way keeps its place: if its record comes back, it is not sent a second time.
    fn forget_what_is_not_under_way(&mut self) {
        let outboxes = &self.sends.outboxes;
        let ended = || self.sends.ended.iter().chain(self.sends.recorded_now());
        self.active.retain(|key, places| {
            !places.is_empty()
                || outboxes.iter().any(|outbox| outbox.has(key))
                || ended().any(|(_, ended)| ended.job.key == *key)
        });
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

/// Where the group stands, or the first event there is.
fn start_offset(assignment: &Assignment) -> Offset {
    let Assignment { partition, committed, earliest, end } = *assignment;
    match committed {
        None => earliest,
        Some(committed) if committed < earliest => {
            tracing::error!(
                partition = partition.0,
                from = committed.0,
                to = earliest.0,
                "events were deleted from accounts.results before they were delivered or parked; \
                 lengthen the topic's retention, and look their outcomes up in the store"
            );
            earliest
        }
        Some(committed) if committed > end => {
            tracing::warn!(
                partition = partition.0,
                committed = committed.0,
                end = end.0,
                "accounts.results was created anew; it is read from its beginning, and what is recorded \
                 as delivered is not sent again"
            );
            earliest
        }
        Some(committed) => committed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_from_where_the_group_stands() {
        let start = |committed: Option<u64>, earliest, end| {
            start_offset(&Assignment {
                partition: Partition(0),
                committed: committed.map(Offset),
                earliest: Offset(earliest),
                end: Offset(end),
            })
            .0
        };
        assert_eq!(start(None, 3, 9), 3);
        assert_eq!(start(Some(5), 3, 9), 5);
        assert_eq!(start(Some(9), 3, 9), 9);
        assert_eq!(start(Some(1), 3, 9), 3, "deleted");
        assert_eq!(start(Some(50), 0, 9), 0, "created anew");
    }
}
