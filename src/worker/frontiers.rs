//! How far each partition is applied and committed, for operators: looked at, and moved past what the
//! log has lost.

use std::collections::HashMap;
use std::ops::Range;

use crate::account::{FrontierMove, Generation, LogPartition, Offset, Partition, Plan};
use crate::queue::{Assignment, Queue, QueueError, Topic};
use crate::store::{Applied, Store, StoreError, frontiers};

use super::start::{StartRefused, start_offset};

/// How it stands with a partition of the submitted topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The partition.
    pub log: LogPartition,
    /// Everything before this is persisted; none when the store has never heard of the partition.
    pub applied: Option<Offset>,
    /// Everything before this is persisted and told; none when the group has committed nothing.
    pub committed: Option<Offset>,
    /// The first offset the log still holds.
    pub earliest: Offset,
    /// The end of the log.
    pub end: Offset,
}

/// Why frontiers could not be looked at or moved.
#[derive(Debug, thiserror::Error)]
pub enum FrontierError {
    /// The queue does not answer, or the group is in use.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// The store does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The frontier has moved meanwhile.
    #[error(
        "the frontier has moved meanwhile: a worker runs. Stop the workers, look again, and repeat it"
    )]
    Moved,
}

/// Why a partition is not to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipRefused {
    /// Workers start with it.
    #[error("partition {} misses nothing: workers start with it as it is", partition.0)]
    NothingMissing {
        /// The partition.
        partition: Partition,
    },
    /// Something else is wrong with it.
    #[error("nothing would be mended by it: {0}")]
    OtherRemedy(StartRefused),
    /// It would leave a gap, or skip what is there.
    #[error(
        "partition {} misses offsets {} to before {}: --to must be {}, or records that are there would be \
         skipped, or some still be missing", partition.0, missing.0.0, missing.1.0, missing.1.0
    )]
    OtherPlace {
        /// The partition.
        partition: Partition,
        /// The first offset that is missing, and the first one that is there.
        missing: (Offset, Offset),
    },
}

/// A partition of which only its records can show that it is the one that the store has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "partition {} of accounts.submitted is applied up to offset {}, but the group has committed nothing of it: its \
     offsets were deleted, or the topic was deleted and created anew. A worker compares what it reads with what the \
     store has applied, and refuses at the first record that is another; if it is another topic, raise \
     queue.generation to begin a new log", log.partition.0, applied.0
)]
pub struct Unvouched {
    log: LogPartition,
    applied: Offset,
}

impl Standing {
    fn assignment(&self) -> Assignment {
        let Self { log, committed, earliest, end, .. } = *self;
        Assignment { partition: log.partition, committed, earliest, end }
    }

    /// Why workers refuse to start with it, if they do.
    pub fn refusal(&self) -> Option<StartRefused> {
        start_offset(self.log, &self.assignment(), self.applied, self.end).err()
    }

    /// What workers cannot know before they have read it back, although they start with it.
    pub fn unvouched(&self) -> Option<Unvouched> {
        let applied = self.applied.filter(|applied| *applied > Offset(0))?;
        let is_in_doubt = self.committed.is_none() && self.refusal().is_none();
        is_in_doubt.then_some(Unvouched { log: self.log, applied })
    }

    /// The offsets that the log has lost before they were applied and told.
    pub fn missing(&self) -> Option<Range<Offset>> {
        match self.refusal() {
            Some(StartRefused::RecordsDeleted { needed, earliest, .. }) => Some(needed..earliest),
            _ => None,
        }
    }

    /// What moves the partition to `to`, past what is missing; refused when that makes no sense.
    pub fn skip(&self, to: Offset) -> Result<Skip, SkipRefused> {
        let partition = self.log.partition;
        let missing = match self.refusal() {
            None => return Err(SkipRefused::NothingMissing { partition }),
            Some(StartRefused::RecordsDeleted { needed, earliest, .. }) => (needed, earliest),
            Some(other) => return Err(SkipRefused::OtherRemedy(other)),
        };
        if to != missing.1 {
            return Err(SkipRefused::OtherPlace { partition, missing });
        }
        let is_before = |offset: Option<Offset>| offset.is_some_and(|offset| offset < to);
        Ok(Skip {
            applied: is_before(self.applied).then_some(FrontierMove {
                log: self.log,
                expected: self.applied,
                next: to,
            }),
            committed: is_before(self.committed).then_some((partition, to)),
        })
    }
}

/// Moves a partition past offsets that its log has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    applied: Option<FrontierMove>,
    committed: Option<(Partition, Offset)>,
}

impl Skip {
    /// Carries it out, if the frontier still stands where it was seen and no worker is in the group.
    pub async fn carry_out(
        self,
        queue: &impl Queue,
        store: &impl Store,
        group: &str,
    ) -> Result<(), FrontierError> {
        if let Some((partition, offset)) = self.committed {
            queue.set_committed(Topic::Submitted, group, partition, offset).await?;
        }
        if let Some(step) = self.applied {
            let plan = Plan { frontiers: vec![step], ..Plan::default() };
            if let Applied::Stale(_) = store.apply(&plan).await? {
                return Err(FrontierError::Moved);
            }
        }
        Ok(())
    }
}

/// How it stands with every partition.
pub async fn standings(
    queue: &impl Queue,
    store: &impl Store,
    group: &str,
    generation: Generation,
) -> Result<Vec<Standing>, FrontierError> {
    let known = queue.standing(Topic::Submitted, group).await?;
    let log = |partition| LogPartition { generation, partition };
    let frontiers = frontiers(store, known.iter().map(|known| log(known.partition))).await?;
    // Workers may be at work: only an end that is found after the frontier is not before it in the same log.
    let ends: HashMap<Partition, Offset> = queue
        .standing(Topic::Submitted, group)
        .await?
        .into_iter()
        .map(|found| (found.partition, found.end))
        .collect();
    let standing = |Assignment { partition, committed, earliest, end }| {
        let (log, end) = (log(partition), ends.get(&partition).copied().unwrap_or(end));
        Standing { log, applied: frontiers.get(&log).copied(), committed, earliest, end }
    };
    Ok(known.into_iter().map(standing).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: Partition = Partition(3);

    fn standing(applied: Option<u64>, committed: Option<u64>, log: Range<u64>) -> Standing {
        Standing {
            log: LogPartition { generation: Generation(1), partition: PARTITION },
            applied: applied.map(Offset),
            committed: committed.map(Offset),
            earliest: Offset(log.start),
            end: Offset(log.end),
        }
    }

    #[test]
    fn only_what_is_missing_is_skipped() {
        let lost = standing(Some(7), Some(5), 9..12);
        assert_eq!(lost.missing(), Some(Offset(5)..Offset(9)));
        let skip = lost.skip(Offset(9)).unwrap();
        assert_eq!(skip.committed, Some((PARTITION, Offset(9))));
        let step = FrontierMove { log: lost.log, expected: Some(Offset(7)), next: Offset(9) };
        assert_eq!(skip.applied, Some(step));
        let missing = (Offset(5), Offset(9));
        for to in [0, 7, 8, 10, 12, 99] {
            let refused = SkipRefused::OtherPlace { partition: PARTITION, missing };
            assert_eq!(lost.skip(Offset(to)), Err(refused));
        }
    }

    #[test]
    fn only_what_stands_before_the_gap_is_moved() {
        let untold = standing(Some(10), Some(5), 9..12).skip(Offset(9)).unwrap();
        assert_eq!((untold.applied, untold.committed), (None, Some((PARTITION, Offset(9)))));
        let never_committed = standing(Some(7), None, 9..12).skip(Offset(9)).unwrap();
        assert!(never_committed.applied.is_some() && never_committed.committed.is_none());
    }

    #[test]
    fn what_the_store_has_applied_and_no_group_has_committed_is_in_doubt_unless_it_is_refused() {
        let recreated = standing(Some(7), None, 0..3);
        assert!(matches!(recreated.refusal(), Some(StartRefused::LogRecreated { .. })));
        assert_eq!(recreated.unvouched(), None);
        let refilled = standing(Some(7), None, 0..12);
        assert_eq!(refilled.refusal(), None, "its end shows nothing");
        let told = refilled.unvouched().unwrap().to_string();
        assert!(told.contains("accounts.submitted") && told.contains("queue.generation"), "{told}");
        for sound in [standing(Some(7), Some(7), 0..12), standing(None, None, 0..12)] {
            assert_eq!(sound.unvouched(), None);
        }
        assert_eq!(standing(Some(0), None, 0..12).unvouched(), None, "nothing is applied");
    }

    #[test]
    fn a_partition_that_misses_nothing_is_left_alone() {
        let refused = Err(SkipRefused::NothingMissing { partition: PARTITION });
        assert_eq!(standing(Some(9), Some(9), 9..12).skip(Offset(9)), refused);
        assert_eq!(standing(None, None, 9..12).skip(Offset(9)), refused);
        let unknown = standing(None, Some(5), 9..12).skip(Offset(9));
        assert!(matches!(unknown, Err(SkipRefused::OtherRemedy(StartRefused::StoreUnknown { .. }))));
        let recreated = standing(Some(20), Some(5), 0..12).skip(Offset(0));
        assert!(matches!(recreated, Err(SkipRefused::OtherRemedy(StartRefused::LogRecreated { .. }))));
    }
}
