//! Where on the log a submission stands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of the topics' incarnation; a topic with another partition count is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u32);

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u32);

/// A position within a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);

impl Offset {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One partition of one generation of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Coordinates {
    /// The partition the submission is on.
    pub log: LogPartition,
    /// Its position there.
    pub offset: Offset,
}

impl Coordinates {
    /// Whether this came after `other`, or may have: partitions of one generation have no order among each other.
    pub fn may_follow(self, other: Self) -> bool {
        if self.log == other.log {
            return self.offset > other.offset;
        }
        self.log.generation >= other.log.generation
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let log = LogPartition {
            generation: Generation(parts.next()?.parse().ok()?),
            partition: Partition(parts.next()?.parse().ok()?),
        };
        let offset = Offset(parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(log.at(offset))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: u32, partition: u32, offset: u64) -> Coordinates {
        let log = LogPartition { generation: Generation(generation), partition: Partition(partition) };
        log.at(Offset(offset))
    }

    #[test]
    fn what_stands_behind_or_elsewhere_may_follow() {
        let submission = at(2, 1, 7);
        for (other, may_follow) in [
            (at(2, 1, 8), true),
            (at(2, 1, 7), false),
            (at(2, 1, 6), false),
            (at(2, 0, 0), true),
            (at(1, 1, 99), false),
            (at(1, 2, 99), false),
            (at(3, 1, 0), true),
        ] {
            assert_eq!(other.may_follow(submission), may_follow, "{other}");
        }
    }

    #[test]
    fn coordinates_are_read_as_they_are_written() {
        assert_eq!(Coordinates::parse(&at(1, 7, 42).to_string()), Some(at(1, 7, 42)));
        for text in ["", "1/7", "1/7/42/0", "1//42", "-1/7/42", "a/7/42"] {
            assert_eq!(Coordinates::parse(text), None, "{text:?}");
        }
    }
}
