//! A record's place in the one log: topic, partition and offset in one row id, in this order of
//! significance, so that a partition is a range of row ids.

use crate::account::{Offset, Partition};
use crate::queue::Topic;

const OFFSET_BITS: u32 = 44;
const PARTITION_BITS: u32 = 11;
/// Most partitions a topic can have.
pub(super) const MAX_PARTITIONS: u32 = 1 << PARTITION_BITS;
const MAX_OFFSET: u64 = (1 << OFFSET_BITS) - 1;

/// The number that stands for a topic in the file. It never changes.
pub(super) fn topic_number(topic: Topic) -> u8 {
    match topic {
        Topic::Submitted => 0,
        Topic::Results => 1,
        Topic::DeadLetter => 2,
    }
}

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) topic: Topic,
    pub(super) partition: Partition,
}

impl Slice {
    /// The row id of `offset`. Offsets beyond the range, which no log reaches, become its end.
    pub(super) fn at(self, offset: Offset) -> i64 {
        let number = i64::from(topic_number(self.topic)) << PARTITION_BITS | i64::from(self.partition.0);
        number << OFFSET_BITS | offset.0.min(MAX_OFFSET).cast_signed()
    }

    /// The first and the last row id of the partition.
    pub(super) fn bounds(self) -> (i64, i64) {
        (self.at(Offset(0)), self.at(Offset(MAX_OFFSET)))
    }
}

/// Partition and offset of a row id.
pub(super) fn place(position: i64) -> (Partition, Offset) {
    let offset = position & MAX_OFFSET.cast_signed();
    let partition = (position >> OFFSET_BITS) & i64::from(MAX_PARTITIONS - 1);
    // Both are masked to ranges that fit and are never negative.
    (Partition(u32::try_from(partition).unwrap_or(0)), Offset(offset.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_tells_its_place_and_sorts_like_it() {
        let mut last = -1;
        for topic in Topic::ALL {
            for partition in [0, 1, MAX_PARTITIONS - 1] {
                let slice = Slice { topic, partition: Partition(partition) };
                for offset in [0, 1, MAX_OFFSET] {
                    let position = slice.at(Offset(offset));
                    assert!(position > last, "{slice:?} {offset}");
                    assert_eq!(place(position), (Partition(partition), Offset(offset)));
                    last = position;
                }
            }
        }
    }
}
