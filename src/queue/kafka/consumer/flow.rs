//! How much was polled and not yet taken, bounded so that a busy lane does not fill the memory.

use std::sync::atomic::{AtomicUsize, Ordering};

const MAX_RECORDS: usize = 4_000;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Records between the polling thread and the owner of the consumer.
#[derive(Debug, Default)]
pub(super) struct Flow {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

impl Flow {
    pub(super) fn add(&self, bytes: usize) {
        self.records.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.records.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub(super) fn is_full(&self) -> bool {
        self.fill() == Fill::Full
    }

    pub(super) fn fill(&self) -> Fill {
        let (records, bytes) =
            (self.records.load(Ordering::Acquire), self.bytes.load(Ordering::Acquire));
        if records >= MAX_RECORDS || bytes >= MAX_BYTES {
            Fill::Full
        } else if records <= MAX_RECORDS / 2 && bytes <= MAX_BYTES / 2 {
            Fill::HalfEmpty
        } else {
            Fill::Some
        }
    }
}

/// How much waits to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// There is no room.
    Full,
    /// There is some room.
    Some,
    /// There is room for a good while, so that reading is not stopped and begun all the time.
    HalfEmpty,
}
