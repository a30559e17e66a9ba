//! Reading the results topic again from its beginning, so that endpoints get what they are to have of it and have
//! not: what is recorded is not sent again.

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Queue, QueueError, Topic};

/// The partitions that are to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reread {
    /// Each with the first offset that its log holds, and the one that the group has committed.
    partitions: Vec<(Partition, Offset, Offset)>,
}

impl Reread {
    /// Looks how the group stands.
    pub async fn of(queue: &impl Queue, group: &str) -> Result<Self, QueueError> {
        Ok(Self::from(queue.standing(Topic::Results, group).await?))
    }

    /// Places of the log before those that the group has committed; not every one has a record.
    pub fn places(&self) -> u64 {
        self.partitions.iter().map(|(_, earliest, committed)| committed.0 - earliest.0).sum()
    }

    /// Sets the group back. An error while anybody is in it; what was set back by then stays so, and it may be
    /// carried out again.
    pub async fn carry_out(&self, queue: &impl Queue, group: &str) -> Result<(), QueueError> {
        for (partition, earliest, _) in &self.partitions {
            queue.set_committed(Topic::Results, group, *partition, *earliest).await?;
        }
        Ok(())
    }
}

impl From<Vec<Assignment>> for Reread {
    fn from(standing: Vec<Assignment>) -> Self {
        // A group that has committed nothing of a partition reads it from its beginning as it is.
        let behind = |Assignment { partition, committed, earliest, .. }| {
            let committed = committed.filter(|committed| *committed > earliest)?;
            Some((partition, earliest, committed))
        };
        Self { partitions: standing.into_iter().filter_map(behind).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_has_committed_and_the_log_still_holds_is_read_again() {
        let partition = |partition, committed: Option<u64>| Assignment {
            partition: Partition(partition),
            committed: committed.map(Offset),
            earliest: Offset(4),
            end: Offset(9),
        };
        let standing = [None, Some(2), Some(4), Some(7), Some(9)];
        let standing = (0..).zip(standing).map(|(number, committed)| partition(number, committed));
        let reread = Reread::from(standing.collect::<Vec<_>>());
        let expected = [(Partition(3), Offset(4), Offset(7)), (Partition(4), Offset(4), Offset(9))];
        assert_eq!((reread.partitions.as_slice(), reread.places()), (expected.as_slice(), 8));
    }
}
