//! Where a newly assigned partition of the results topic is read from.

use crate::account::{LogPartition, Offset};
use crate::queue::Assignment;
use crate::store::RecordedFrontiers;

/// Why a partition must not be read: what queue and store say of it does not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartRefused {
    /// The log has lost events that are not recorded.
    #[error(
        "partition {} of accounts.results must be read from offset {}, but the queue holds it only from \
         offset {} on: {} events were deleted before they were delivered or parked. Lengthen the topic's \
         retention; to go on without them, start once with PENSTOCK__CALLBACKS__DELETED_EVENTS=skip",
        log.partition.0, needed.0, earliest.0, earliest.0 - needed.0
    )]
    EventsDeleted {
        /// The partition.
        log: LogPartition,
        /// The first offset that is needed.
        needed: Offset,
        /// The first offset there is.
        earliest: Offset,
    },
    /// The group has read the partition, but with another store.
    #[error(
        "partition {} of accounts.results was delivered up to offset {} before, but the store knows nothing \
         of it: this is not the store that has what is parked. Put the matching store back; if that is lost, \
         `penstock callbacks reread --apply` has what the topic still holds delivered again, to endpoints whose \
         deliver_from reaches back to it", log.partition.0, committed.0
    )]
    StoreUnknown {
        /// The partition.
        log: LogPartition,
        /// The group's committed offset.
        committed: Offset,
    },
}

/// What became of events that are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// They were deleted before they were recorded, and are passed over as set.
    Deleted { needed: Offset },
    /// They were on another topic of the same name.
    Recreated { recorded: Offset },
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartAt {
    pub(super) offset: Offset,
    /// Up to where the store says that everything is recorded, if that holds for this log.
    pub(super) frontier: Option<Offset>,
    pub(super) missed: Option<Missed>,
}

/// What to do about events that were deleted before they were recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletedEvents {
    /// Refuse to start.
    Refuse,
    /// Go on without them.
    Skip,
}

/// The smaller of the recorded frontier and the committed offset, if the log still has what is not recorded.
/// A log that ends before the frontier is another one, and is read from its beginning: what is recorded of its
/// events is not sent again. A group that has committed nothing may stand before another one that is longer by
/// now, so then too all of it is read. A generation that has just begun may have left the results as they were:
/// a group that still knows what it had committed goes on where the generation before stands.
///
/// Another process may go on with the partition meanwhile, so the three must be read in this order: the
/// assignment, the frontiers, the end of the log.
pub(super) fn start_offset(
    log: LogPartition,
    assignment: &Assignment,
    frontiers: &RecordedFrontiers,
    end: Offset,
    deleted: DeletedEvents,
) -> Result<StartAt, StartRefused> {
    let Assignment { committed, earliest, .. } = *assignment;
    let frontier = frontiers.known.get(&log).map(|frontier| frontier.next);
    let recorded = match (frontier, committed) {
        (Some(frontier), _) => frontier,
        (None, Some(committed)) if frontiers.is_upgraded => committed,
        (None, Some(committed)) if committed > Offset(0) => match frontiers.before(log) {
            Some(before) => before,
            None => return Err(StartRefused::StoreUnknown { log, committed }),
        },
        (None, _) => return Ok(StartAt { offset: earliest, frontier: None, missed: None }),
    };
    if recorded > end {
        let missed = Some(Missed::Recreated { recorded });
        return Ok(StartAt { offset: earliest, frontier: None, missed });
    }
    if recorded >= earliest {
        let offset = committed.unwrap_or(earliest).min(recorded).max(earliest);
        return Ok(StartAt { offset, frontier, missed: None });
    }
    match deleted {
        DeletedEvents::Refuse => Err(StartRefused::EventsDeleted { log, needed: recorded, earliest }),
        DeletedEvents::Skip => {
            let missed = Some(Missed::Deleted { needed: recorded });
            Ok(StartAt { offset: earliest, frontier, missed })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::account::{Generation, Partition};
    use crate::store::{RecordedFrontier, Stamp};

    const LOG: LogPartition = LogPartition { generation: Generation(1), partition: Partition(3) };

    fn start_with(
        committed: Option<u64>,
        recorded: Option<u64>,
        range: std::ops::Range<u64>,
        is_upgraded: bool,
        deleted: DeletedEvents,
    ) -> Result<StartAt, StartRefused> {
        let assignment = Assignment {
            partition: LOG.partition,
            committed: committed.map(Offset),
            earliest: Offset(range.start),
            end: Offset(range.end),
        };
        let frontier = |next| RecordedFrontier { next: Offset(next), stamp: Stamp::new() };
        let known: HashMap<_, _> = recorded.map(|next| (LOG, frontier(next))).into_iter().collect();
        let frontiers = RecordedFrontiers { known, is_upgraded };
        start_offset(LOG, &assignment, &frontiers, Offset(range.end), deleted)
    }

    fn start(
        committed: Option<u64>,
        recorded: Option<u64>,
        range: std::ops::Range<u64>,
    ) -> Result<u64, StartRefused> {
        let start = start_with(committed, recorded, range, false, DeletedEvents::Refuse)?;
        assert_eq!(start.missed, None);
        Ok(start.offset.0)
    }

    #[test]
    fn a_partition_is_read_from_the_smaller_of_what_is_recorded_and_committed() {
        assert_eq!(start(None, None, 3..9), Ok(3), "a new group");
        assert_eq!(start(Some(0), None, 0..9), Ok(0), "committed before anything was read");
        assert_eq!(start(Some(5), Some(7), 0..9), Ok(5), "recorded, not committed");
        assert_eq!(start(Some(7), Some(5), 0..9), Ok(5), "the store was set back");
        assert_eq!(start(None, Some(7), 2..9), Ok(2), "recorded, and the group's offsets are gone");
        assert_eq!(start(Some(9), Some(9), 9..9), Ok(9));
        assert_eq!(start(Some(2), Some(7), 4..9), Ok(4), "what is gone is recorded");
    }

    #[test]
    fn a_store_that_knew_no_frontiers_goes_on_where_the_group_stands() {
        let start = |committed| start_with(committed, None, 3..9, true, DeletedEvents::Refuse);
        let at = |offset| StartAt { offset: Offset(offset), frontier: None, missed: None };
        assert_eq!(start(Some(5)), Ok(at(5)));
        assert_eq!(start(None), Ok(at(3)));
        let (needed, earliest) = (Offset(2), Offset(3));
        assert_eq!(start(Some(2)), Err(StartRefused::EventsDeleted { log: LOG, needed, earliest }));
    }

    #[test]
    fn a_generation_that_begins_goes_on_where_the_one_before_stands() {
        let former = LogPartition { generation: Generation(2), ..LOG };
        let next = LogPartition { generation: Generation(3), ..LOG };
        let frontier = |next| RecordedFrontier { next: Offset(next), stamp: Stamp::new() };
        let known = HashMap::from([(LOG, frontier(1)), (former, frontier(7))]);
        let frontiers = RecordedFrontiers { known, is_upgraded: false };
        let start = |committed: Option<u64>, range: std::ops::Range<u64>| {
            let (earliest, end) = (Offset(range.start), Offset(range.end));
            let committed = committed.map(Offset);
            let assignment = Assignment { partition: LOG.partition, committed, earliest, end };
            start_offset(next, &assignment, &frontiers, end, DeletedEvents::Refuse)
        };
        let at = |offset| Ok(StartAt { offset: Offset(offset), frontier: None, missed: None });
        assert_eq!(start(Some(5), 0..9), at(5));
        assert_eq!(start(Some(9), 0..9), at(7), "the store was set back");
        assert_eq!(start(None, 2..9), at(2), "the results were created anew too");
        let (needed, earliest) = (Offset(7), Offset(8));
        assert_eq!(
            start(Some(9), 8..9),
            Err(StartRefused::EventsDeleted { log: next, needed, earliest })
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let (needed, earliest) = (Offset(5), Offset(6));
        let deleted = StartRefused::EventsDeleted { log: LOG, needed, earliest };
        assert_eq!(start(Some(8), Some(5), 6..9), Err(deleted));
        assert_eq!(start(None, Some(5), 6..9), Err(deleted));
        let committed = Offset(5);
        assert_eq!(start(Some(5), None, 0..9), Err(StartRefused::StoreUnknown { log: LOG, committed }));
    }

    #[test]
    fn deleted_events_are_passed_over_only_where_that_is_set() {
        let start = start_with(Some(8), Some(5), 6..9, false, DeletedEvents::Skip).unwrap();
        let missed = Some(Missed::Deleted { needed: Offset(5) });
        assert_eq!(start, StartAt { offset: Offset(6), frontier: Some(Offset(5)), missed });
    }

    #[test]
    fn a_topic_that_was_created_anew_is_read_from_its_beginning() {
        for (committed, recorded, is_upgraded) in
            [(Some(50), Some(50), false), (None, Some(50), false), (Some(50), None, true)]
        {
            let start = start_with(committed, recorded, 2..9, is_upgraded, DeletedEvents::Refuse);
            let missed = Some(Missed::Recreated { recorded: Offset(50) });
            assert_eq!(start, Ok(StartAt { offset: Offset(2), frontier: None, missed }));
        }
    }
}
