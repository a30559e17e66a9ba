//! Where on the log a submission stands.

use std::fmt;

/// Number of the topics' incarnation; a topic with another partition count is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// A position within a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One partition of one generation of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPartition {
    /// The topic's generation.
    pub generation: Generation,
    /// The partition within it.
    pub partition: Partition,
}

impl LogPartition {
    /// The coordinates of the record at `offset`.
    pub fn at(self, offset: Offset) -> Coordinates {
        Coordinates { log: self, offset }
    }
}

/// Topic generation, partition and offset of a submission. Within one partition, later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coordinates {
    /// The partition the submission is on.
    pub log: LogPartition,
    /// Its position there.
    pub offset: Offset,
}

impl Coordinates {
    /// Coordinates for item `index` of a batch that is on no topic, as a validation needs them.
    /// They are past every frontier.
    pub fn hypothetical(index: usize) -> Self {
        let log = LogPartition { generation: Generation(u32::MAX), partition: Partition(u32::MAX) };
        log.at(Offset(index as u64))
    }
}

/// `generation/partition/offset`, such as `1/7/42`.
impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.log.generation.0, self.log.partition.0, self.offset.0)
    }
}
