//! Where a newly assigned partition is read from.

use crate::account::{Coordinates, ForeignOutcome, LogPartition, Offset};
use crate::queue::Assignment;

/// Why a partition must not be read: what queue and store say of it does not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartRefused {
    /// The log has lost records that were not applied or not told.
    #[error(
        "partition {} of accounts.submitted must be read from offset {}, but the queue holds it only from offset {} \
         on: records in between were deleted before they were processed. Restore the queue from a backup \
         that holds them, or restore a store that has them; if they are lost for good, `penstock frontiers \
         skip --partition {} --to {} --reason TEXT --apply` goes on without them",
        log.partition.0, needed.0, earliest.0, log.partition.0, earliest.0
    )]
    RecordsDeleted {
        /// The partition.
        log: LogPartition,
        /// The first offset that is needed.
        needed: Offset,
        /// The first offset there is.
        earliest: Offset,
    },
    /// The group has processed the partition, but with another store.
    #[error(
        "partition {} of accounts.submitted was processed up to offset {} before, but the store knows nothing of it: \
         this is not the store the queue was used with. Put the matching store back, or start with a new data \
         directory; `penstock frontiers` lists how queue and store stand", log.partition.0, committed.0
    )]
    StoreUnknown {
        /// The partition.
        log: LogPartition,
        /// The group's committed offset.
        committed: Offset,
    },
    /// The store is ahead of the log, so the log is another one.
    #[error(
        "the store has applied partition {} of accounts.submitted up to offset {}, but the queue's log ends at offset \
         {}: the topic was deleted and created anew. Put the matching queue back, or raise queue.generation to begin a new log; \
         `penstock frontiers` lists how queue and store stand",
        log.partition.0, applied.0, end.0
    )]
    LogRecreated {
        /// The partition.
        log: LogPartition,
        /// The applied frontier.
        applied: Offset,
        /// The end of the log.
        end: Offset,
    },
    /// A record is not the one that the store has applied at its place.
    #[error(
        "the record of accounts.submitted at {coordinates} is not the one that the store has applied there: the topic \
         was deleted and created anew, or it is not the store the queue was used with. No outcome of it was told. \
         Put the matching queue or store back, or raise queue.generation to begin a new log; `penstock frontiers` \
         lists how queue and store stand"
    )]
    OtherLog {
        /// The record.
        coordinates: Coordinates,
    },
}

impl From<ForeignOutcome> for StartRefused {
    fn from(ForeignOutcome { coordinates }: ForeignOutcome) -> Self {
        Self::OtherLog { coordinates }
    }
}

/// The smaller of the applied frontier and the committed offset, if the two fit the log.
///
/// A group that has committed nothing of a partition the store has applied may have lost its offsets, or
/// have died before it committed any; then everything that the log still holds is read back and told again.
/// But it may also stand before a log that was created anew, whose end only shows that while it is short.
/// So what is read back is compared with what the store holds of it, and nothing is committed before all
/// of it is.
///
/// Another lane may go on with the partition meanwhile, so the three must be read in this order:
/// the assignment, the applied frontier, the end of the log.
pub(super) fn start_offset(
    log: LogPartition,
    assignment: &Assignment,
    applied: Option<Offset>,
    end: Offset,
) -> Result<Offset, StartRefused> {
    let Assignment { committed, earliest, .. } = *assignment;
    let Some(applied) = applied else {
        return match committed {
            Some(committed) if committed > Offset(0) => {
                Err(StartRefused::StoreUnknown { log, committed })
            }
            _ => Ok(earliest),
        };
    };
    if applied > end {
        return Err(StartRefused::LogRecreated { log, applied, end });
    }
    let needed = committed.map_or(applied.min(earliest), |committed| committed.min(applied));
    if needed < earliest {
        return Err(StartRefused::RecordsDeleted { log, needed, earliest });
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Generation, Partition};

    const LOG: LogPartition = LogPartition { generation: Generation(1), partition: Partition(3) };

    fn start(
        committed: Option<u64>,
        applied: Option<u64>,
        range: std::ops::Range<u64>,
    ) -> Result<Offset, StartRefused> {
        let assignment = Assignment {
            partition: LOG.partition,
            committed: committed.map(Offset),
            earliest: Offset(range.start),
            end: Offset(range.end),
        };
        start_offset(LOG, &assignment, applied.map(Offset), Offset(range.end))
    }

    #[test]
    fn a_partition_is_read_from_the_smaller_frontier() {
        assert_eq!(start(None, None, 0..9), Ok(Offset(0)));
        assert_eq!(start(None, None, 4..9), Ok(Offset(4)));
        assert_eq!(start(Some(5), Some(7), 0..9), Ok(Offset(5)), "applied, not told");
        assert_eq!(start(Some(7), Some(5), 0..9), Ok(Offset(5)), "store restored from a backup");
        assert_eq!(start(None, Some(7), 0..9), Ok(Offset(0)), "applied, never committed");
        assert_eq!(start(Some(9), Some(9), 9..9), Ok(Offset(9)));
        assert_eq!(start(Some(0), None, 0..9), Ok(Offset(0)), "committed before anything was read");
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let (needed, earliest) = (Offset(5), Offset(6));
        let deleted = StartRefused::RecordsDeleted { log: LOG, needed, earliest };
        assert_eq!(start(Some(5), Some(7), 6..9), Err(deleted));
        assert_eq!(start(None, Some(5), 6..9), Err(deleted));
        let committed = Offset(5);
        assert_eq!(start(Some(5), None, 0..9), Err(StartRefused::StoreUnknown { log: LOG, committed }));
        let (applied, end) = (Offset(10), Offset(9));
        assert_eq!(
            start(Some(9), Some(10), 0..9),
            Err(StartRefused::LogRecreated { log: LOG, applied, end })
        );
    }
}
