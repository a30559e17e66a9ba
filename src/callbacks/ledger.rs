//! How far a partition of the results topic is done: up to its first event that is not, for each of its
//! endpoints, delivered or parked.

use std::collections::BTreeMap;

use crate::account::Offset;

/// One partition's events that are not done.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// Deliveries still to be recorded, by offset.
    open: BTreeMap<Offset, usize>,
    /// The offset after the last one read.
    read: Offset,
    committed: Offset,
}

impl Ledger {
    /// A partition that is read from `start`.
    pub(super) fn new(start: Offset) -> Self {
        Self { open: BTreeMap::new(), read: start, committed: start }
    }

    /// An event was read; so many deliveries of it are to be recorded.
    pub(super) fn read(&mut self, offset: Offset, deliveries: usize) {
        self.read = self.read.max(offset.next());
        if deliveries > 0 {
            self.open.insert(offset, deliveries);
        }
    }

    /// One delivery of an event is recorded.
    pub(super) fn recorded(&mut self, offset: Offset) {
        if let Some(deliveries) = self.open.get_mut(&offset) {
            *deliveries -= 1;
            if *deliveries == 0 {
                self.open.remove(&offset);
            }
        }
    }

    /// The offset to commit, if it has moved.
    pub(super) fn to_commit(&self) -> Option<Offset> {
        let done = self.open.first_key_value().map_or(self.read, |(offset, _)| *offset);
        (done > self.committed).then_some(done)
    }

    /// `offset` is committed.
    pub(super) fn committed(&mut self, offset: Offset) {
        self.committed = self.committed.max(offset);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_open_event_holds_the_offset() {
        let mut ledger = Ledger::new(Offset(5));
        assert_eq!(ledger.to_commit(), None);
        ledger.read(Offset(5), 2);
        ledger.read(Offset(6), 0);
        ledger.read(Offset(9), 1);
        assert_eq!(ledger.to_commit(), None);
        ledger.recorded(Offset(9));
        ledger.recorded(Offset(5));
        assert_eq!(ledger.to_commit(), None, "one of two endpoints");
        ledger.recorded(Offset(5));
        assert_eq!(ledger.to_commit(), Some(Offset(10)), "gaps are passed");
        ledger.committed(Offset(10));
        assert_eq!(ledger.to_commit(), None);
        ledger.recorded(Offset(3));
        assert_eq!(ledger.to_commit(), None, "what it does not know is nothing to it");
    }

    proptest! {
        #[test]
        fn an_offset_never_passes_an_open_event(
            deliveries in prop::collection::vec(0_usize..4, 1..40),
            order in prop::collection::vec(0_usize..40, 0..120),
        ) {
            let mut ledger = Ledger::new(Offset(0));
            let mut open = deliveries.clone();
            for (offset, count) in deliveries.iter().enumerate() {
                ledger.read(Offset(offset as u64), *count);
            }
            for place in order {
                if let Some(count) = open.get_mut(place).filter(|count| **count > 0) {
                    *count -= 1;
                    ledger.recorded(Offset(place as u64));
                }
                let done = open.iter().position(|count| *count > 0).unwrap_or(open.len());
                let expected = (done > 0).then_some(Offset(done as u64));
                prop_assert_eq!(ledger.to_commit(), expected);
            }
        }
    }
}
