//! A batch at its stages, each a type of its own: what is read, what is persisted, what is told.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::account::{Offset, Partition};
use crate::telemetry::Span;

use super::super::decode::Item;
use super::super::emission::Emission;

/// Records that go through the stages together, in the order of their offsets within each partition.
/// Nothing of them is persisted.
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    pub(super) work: Work,
}

/// Working on a batch, from its poll until it is told; parts that it was split into share it.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) span: Span,
    pub(super) polled_at: Instant,
}

impl Batch {
    /// The second half as a batch of its own; this one keeps the first.
    pub(super) fn split(&mut self) -> Self {
        let items = self.items.split_off(self.items.len() / 2);
        Self { items, work: self.work.clone() }
    }

    /// Forgets the records of partitions.
    pub(super) fn drop_partitions(&mut self, partitions: &[Partition]) {
        self.items.retain(|item| !partitions.contains(&item.received.partition));
    }

    /// Every record has its persisted outcome; `emission` tells them.
    pub(super) fn persisted(&self, emission: Emission) -> Untold {
        let dead_letters = emission.dead_letters.len();
        let (through, records, work) = (self.through(), self.items.len(), self.work.clone());
        Untold { told: Told { through, records, dead_letters, work }, emission }
    }

    /// Per partition, the offset after its last record.
    pub(super) fn through(&self) -> BTreeMap<Partition, Offset> {
        self.items.iter().map(|item| (item.received.partition, item.next_offset())).collect()
    }
}

/// A batch whose outcomes are all persisted, and what is to be published before it is done.
pub(super) struct Untold {
    pub(super) emission: Emission,
    pub(super) told: Told,
}

impl Untold {
    /// Per partition, the offset after its last record.
    pub(super) fn through(&self) -> impl Iterator<Item = (&Partition, &Offset)> {
        self.told.through.iter()
    }
}

/// A batch that is done once everything is acknowledged: its offsets may be committed then.
pub(super) struct Told {
    /// Per partition, the offset after its last record.
    pub(super) through: BTreeMap<Partition, Offset>,
    pub(super) records: usize,
    pub(super) dead_letters: usize,
    pub(super) work: Work,
}

impl Told {
    /// Forgets how far partitions came, so that they are not done when the rest is; whether anything
    /// is left.
    pub(super) fn drop_partitions(&mut self, partitions: &[Partition]) -> bool {
        self.through.retain(|partition, _| !partitions.contains(partition));
        !self.through.is_empty()
    }
}
