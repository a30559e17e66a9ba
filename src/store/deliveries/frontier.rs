//! How far the deliveries of each partition of the results topic are recorded.

use std::collections::HashMap;

use uuid::Uuid;

use crate::account::{LogPartition, Offset};

/// Names the recording that moved a frontier last. Whoever finds another one than its own knows that the
/// store was set back, or that somebody else records now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp(pub Uuid);

impl Stamp {
    /// One that nobody has had.
    #[allow(clippy::new_without_default, reason = "no two are alike, so none is a default")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

/// How far a partition is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedFrontier {
    /// Every delivery of every event before it is recorded.
    pub next: Offset,
    /// The recording that said so.
    pub stamp: Stamp,
}

/// What is known of how far partitions are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedFrontiers {
    /// Those of the wanted that are known, and those of their partitions in the generations before.
    pub known: HashMap<LogPartition, RecordedFrontier>,
    /// The store is of a release that kept no frontiers: of a partition that is unknown, the group's committed
    /// offset tells how far it is recorded.
    pub is_upgraded: bool,
}

impl RecordedFrontiers {
    /// How far a partition was recorded in the newest of the generations before this one.
    pub fn before(&self, log: LogPartition) -> Option<Offset> {
        let is_before = |known: &&LogPartition| {
            known.partition == log.partition && known.generation < log.generation
        };
        let newest = self.known.keys().filter(is_before).max_by_key(|known| known.generation)?;
        self.known.get(newest).map(|frontier| frontier.next)
    }
}

/// How a recording moves a frontier. Every recording with a delivery of a partition has one, also when the
/// offset stays, so that the loss of any recording shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontierStep {
    /// The partition.
    pub log: LogPartition,
    /// Where it stands afterwards.
    pub next: Offset,
    /// The stamp of this recording. One that is tried again keeps it.
    pub stamp: Stamp,
    /// The stamp that is there before; none when the partition is unknown.
    pub expected: Option<Stamp>,
}
