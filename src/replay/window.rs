//! Which part of the log is gone through.

use std::collections::BTreeSet;

use crate::account::{Generation, LogPartition, Offset, Partition, Timestamp};
use crate::queue::{Queue, QueueError, ReadRange, Start, Topic};
use crate::store::{Store, StoreError, frontiers};

/// One end of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// As far as the log goes.
    Open,
    /// At this time: a window begins with the first submission appended then or later, and ends before it.
    Time(Timestamp),
    /// At this offset of each of its partitions.
    Offset(Offset),
}

/// A part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where it begins.
    pub from: Bound,
    /// Before what it ends.
    pub to: Bound,
    /// Its partitions; all when empty.
    pub partitions: BTreeSet<Partition>,
}

/// A window as the log has it now. Only what workers have applied and told is in it: they do not come back to that,
/// so none of them tells an outcome anew that was changed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What is read; no range is empty.
    pub ranges: Vec<ReadRange>,
    /// Partitions of which the log no longer holds all that may lie in the window.
    pub shortened: Vec<Shortened>,
}

impl Resolved {
    /// Offsets in the window: at least as many as submissions.
    pub fn offsets(&self) -> u64 {
        self.ranges.iter().map(|range| range.to.0 - range.from.0).sum()
    }
}

/// A window on one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: Partition,
    /// Where it begins.
    pub from: Offset,
    /// The offset after it, at most the end of the log.
    pub to: Offset,
    /// Workers have applied and told everything before this.
    pub settled: Offset,
    /// The first offset that the log still holds, if it has deleted what may lie in the window.
    pub deleted_before: Option<Offset>,
}

/// A partition whose beginning the log has deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// The partition.
    pub partition: Partition,
    /// The first offset that it still holds.
    pub earliest: Offset,
}

/// Why there is nothing to go through.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// The topic has no such partition.
    #[error("there is no partition {}: the topic has partitions 0 to {last}", partition.0)]
    NoPartition {
        /// The partition.
        partition: Partition,
        /// The last one there is.
        last: u32,
    },
    /// It begins past the end of the log.
    #[error("partition {} ends at offset {}: nothing lies at offset {} or after it", partition.0, end.0, from.0)]
    PastTheEnd {
        /// The partition.
        partition: Partition,
        /// Where the window begins.
        from: Offset,
        /// The end of the partition.
        end: Offset,
    },
    /// It ends before it begins.
    #[error("the window ends before it begins")]
    Backwards,
    /// Nothing was submitted in it.
    #[error("no submission that workers have applied and told lies in the window")]
    Empty,
    /// The queue does not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Window {
    /// All that was ever submitted.
    pub fn from_the_beginning() -> Self {
        Self { from: Bound::Time(Timestamp::from_unix_millis(0)), ..Self::whole() }
    }

    /// All that the log has.
    pub fn whole() -> Self {
        Self { from: Bound::Open, to: Bound::Open, partitions: BTreeSet::new() }
    }

    /// Looks the window up on the log. `group` is the workers'.
    pub async fn resolve(
        &self,
        queue: &impl Queue,
        store: &impl Store,
        group: &str,
        generation: Generation,
    ) -> Result<Resolved, WindowError> {
        let mut resolved = Resolved { ranges: Vec::new(), shortened: Vec::new() };
        for span in self.spans(queue, store, group, generation).await? {
            let Span { partition, from, settled, .. } = span;
            let shortened = span.deleted_before.map(|earliest| Shortened { partition, earliest });
            resolved.shortened.extend(shortened);
            let to = span.to.min(settled);
            if from < to {
                resolved.ranges.push(ReadRange { partition, from, to });
            }
        }
        if resolved.ranges.is_empty() { Err(WindowError::Empty) } else { Ok(resolved) }
    }

    /// Looks up where the window lies on each of its partitions, and how far workers are there.
    pub async fn spans(
        &self,
        queue: &impl Queue,
        store: &impl Store,
        group: &str,
        generation: Generation,
    ) -> Result<Vec<Span>, WindowError> {
        self.check()?;
        let standing = queue.standing(Topic::Submitted, group).await?;
        let last = standing.iter().map(|one| one.partition.0).max().unwrap_or(0);
        let is_unknown =
            |partition: &&Partition| standing.iter().all(|one| one.partition != **partition);
        if let Some(partition) = self.partitions.iter().find(is_unknown) {
            return Err(WindowError::NoPartition { partition: *partition, last });
        }
        let log = |partition| LogPartition { generation, partition };
        let frontiers = frontiers(store, standing.iter().map(|one| log(one.partition))).await?;
        let mut spans = Vec::new();
        for one in standing {
            let partition = one.partition;
            if !self.partitions.is_empty() && !self.partitions.contains(&partition) {
                continue;
            }
            if let Bound::Offset(from) = self.from
                && from >= one.end
                && !self.partitions.is_empty()
            {
                return Err(WindowError::PastTheEnd { partition, from, end: one.end });
            }
            let from = place(queue, partition, self.from).await?.unwrap_or(one.earliest);
            let to = place(queue, partition, self.to).await?.unwrap_or(one.end);
            let applied = frontiers.get(&log(partition)).copied().unwrap_or(Offset(0));
            let settled = applied.min(one.committed.unwrap_or(Offset(0)));
            let is_shortened =
                from == one.earliest && one.earliest > Offset(0) && self.reaches_back_before(from);
            let deleted_before = is_shortened.then_some(one.earliest);
            spans.push(Span { partition, from, to, settled, deleted_before });
        }
        Ok(spans)
    }

    fn check(&self) -> Result<(), WindowError> {
        let is_backwards = match (self.from, self.to) {
            (Bound::Time(from), Bound::Time(to)) => from >= to,
            (Bound::Offset(from), Bound::Offset(to)) => from >= to,
            _ => false,
        };
        if is_backwards { Err(WindowError::Backwards) } else { Ok(()) }
    }

    fn reaches_back_before(&self, earliest: Offset) -> bool {
        match self.from {
            Bound::Offset(from) => from < earliest,
            // What was deleted may have been appended then.
            Bound::Time(_) | Bound::Open => true,
        }
    }
}

/// All that a topic holds. `group` is any that may be asked for how it stands.
pub(super) async fn whole(
    queue: &impl Queue,
    topic: Topic,
    group: &str,
) -> Result<Vec<ReadRange>, QueueError> {
    let standing = queue.standing(topic, group).await?.into_iter();
    let range =
        standing.map(|one| ReadRange { partition: one.partition, from: one.earliest, to: one.end });
    Ok(range.filter(|range| range.from < range.to).collect())
}

async fn place(
    queue: &impl Queue,
    partition: Partition,
    bound: Bound,
) -> Result<Option<Offset>, QueueError> {
    let start = match bound {
        Bound::Open => return Ok(None),
        Bound::Time(time) => Start::Time(time),
        Bound::Offset(offset) => Start::Offset(offset),
    };
    queue.find(Topic::Submitted, partition, start).await.map(Some)
}
