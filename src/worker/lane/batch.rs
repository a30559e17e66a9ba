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
    /// Per partition, how far the log was passed: behind the last record there may be places without one.
    pub(super) passed: BTreeMap<Partition, Offset>,
    pub(super) work: Work,
}

/// Working on a batch, from its poll until it is told; parts that it was split into share it.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) span: Span,
    pub(super) polled_at: Instant,
}

impl Batch {
    /// Nothing but places of the log that hold no record.
    pub(super) fn without_records(passed: BTreeMap<Partition, Offset>) -> Self {
        let work = Work { span: Span::default(), polled_at: Instant::now() };
        Self { items: Vec::new(), passed, work }
    }

    /// Two batches of this one's halves; none when there is nothing to split.
    pub(super) fn split(mut self) -> Option<[Self; 2]> {
        if self.items.len() < 2 {
            return None;
        }
        let items = self.items.split_off(self.items.len() / 2);
        let head = Self { items: self.items, passed: BTreeMap::new(), work: self.work.clone() };
        Some([head, Self { items, passed: self.passed, work: self.work }])
    }

    /// Forgets the records of partitions.
    pub(super) fn drop_partitions(&mut self, partitions: &[Partition]) {
        self.items.retain(|item| !partitions.contains(&item.received.partition));
        self.passed.retain(|partition, _| !partitions.contains(partition));
    }

    /// Whether there is nothing to persist.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.passed.is_empty()
    }

    /// Every record has its persisted outcome; `emission` tells them.
    pub(super) fn persisted(&self, emission: Emission) -> Untold {
        let dead_letters = emission.dead_letters.len();
        let (through, records, work) = (self.through(), self.items.len(), self.work.clone());
        let told = Told { through, records, dead_letters, work, has_failed: false };
        Untold { emission, told }
    }

    /// Per partition, the first offset after all of this.
    pub(super) fn through(&self) -> BTreeMap<Partition, Offset> {
        let mut through = self.passed.clone();
        for item in &self.items {
            let next = item.next_offset();
            let known = through.entry(item.received.partition).or_insert(next);
            *known = next.max(*known);
        }
        through
    }
}

/// A batch whose outcomes are all persisted, and what is to be published before it is done.
pub(super) struct Untold {
    pub(super) emission: Emission,
    pub(super) told: Told,
}

impl Untold {
    /// Per partition, the first offset after all of this.
    pub(super) fn through(&self) -> impl Iterator<Item = (&Partition, &Offset)> {
        self.told.through.iter()
    }
}

/// A batch that is done once everything is acknowledged: its offsets may be committed then.
pub(super) struct Told {
    /// Per partition, the first offset after all of this.
    pub(super) through: BTreeMap<Partition, Offset>,
    pub(super) records: usize,
    pub(super) dead_letters: usize,
    pub(super) work: Work,
    /// Whether it could not be published before.
    pub(super) has_failed: bool,
}

impl Told {
    /// Forgets how far partitions came, so that they are not done when the rest is; whether anything
    /// is left.
    pub(super) fn drop_partitions(&mut self, partitions: &[Partition]) -> bool {
        self.through.retain(|partition, _| !partitions.contains(partition));
        !self.through.is_empty()
    }
}
