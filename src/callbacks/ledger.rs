//! How far a partition of the results topic is done: up to its first event that is not, for each of its
//! endpoints, delivered or parked. The store knows how far that is (the recorded frontier), and only what it
//! knows is committed.

use std::collections::BTreeMap;

use crate::account::{LogPartition, Offset};
use crate::queue::Assignment;
use crate::store::{FrontierStep, RecordedFrontier, Stamp};

/// Deliveries by the offset of their event.
pub(super) type Counts = BTreeMap<Offset, usize>;

/// One partition's events that are not done.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// As it was given.
    pub(super) assignment: Assignment,
    /// Deliveries still to be recorded, by offset.
    open: Counts,
    /// The offset after the last one read.
    read: Offset,
    /// The recorded frontier; none while the store has none for this log.
    frontier: Option<Offset>,
    /// The stamp of the frontier in the store.
    stamp: Option<Stamp>,
    /// The stamp of a recording that may have been taken: what became of it is not known.
    attempted: Option<Stamp>,
    committed: Offset,
}

impl Ledger {
    /// A partition that is read from `start`. `frontier` is how far the store says that this log is recorded,
    /// `stamp` what it has with that.
    pub(super) fn new(
        assignment: Assignment,
        start: Offset,
        frontier: Option<Offset>,
        stamp: Option<Stamp>,
    ) -> Self {
        Self {
            assignment,
            open: BTreeMap::new(),
            read: start,
            frontier,
            stamp,
            attempted: None,
            committed: assignment.committed.unwrap_or(start).min(start),
        }
    }

    /// An event was read; so many deliveries of it are to be recorded.
    pub(super) fn read(&mut self, offset: Offset, deliveries: usize) {
        self.read = self.read.max(offset.next());
        if deliveries > 0 {
            self.open.insert(offset, deliveries);
        }
    }

    /// Nothing is left to be read before `position`.
    pub(super) fn passed(&mut self, position: Offset) {
        self.read = self.read.max(position);
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

    /// Up to where everything is recorded once these are.
    fn done_with(&self, recorded: &Counts) -> Offset {
        let is_open = |(offset, open): &(&Offset, &usize)| {
            recorded.get(offset).is_none_or(|recorded| recorded < *open)
        };
        self.open.iter().find(is_open).map_or(self.read, |(offset, _)| *offset)
    }

    /// Whether the store's frontier is behind.
    pub(super) fn is_behind(&self) -> bool {
        self.frontier.is_none_or(|frontier| self.done_with(&Counts::new()) > frontier)
    }

    /// How a recording of these moves the frontier.
    pub(super) fn step(&mut self, log: LogPartition, recorded: &Counts) -> FrontierStep {
        let next = self.frontier.max(Some(self.done_with(recorded))).unwrap_or(self.read);
        let stamp = *self.attempted.get_or_insert_with(Stamp::new);
        FrontierStep { log, next, stamp, expected: self.stamp }
    }

    /// Whether a step is this one's, and what became of it not known yet.
    pub(super) fn has_attempted(&self, step: &FrontierStep) -> bool {
        self.attempted == Some(step.stamp)
    }

    /// The store has taken a step.
    pub(super) fn stepped(&mut self, step: &FrontierStep) {
        self.attempted = None;
        self.stamp = Some(step.stamp);
        self.frontier = Some(step.next);
    }

    /// The store has not taken a step.
    pub(super) fn not_stepped(&mut self, step: &FrontierStep) {
        self.attempted.take_if(|stamp| *stamp == step.stamp);
    }

    /// Whether what the store has of the partition is what this one last left there.
    pub(super) fn agrees_with(&self, stored: Option<&RecordedFrontier>) -> bool {
        let stored = stored.map(|frontier| frontier.stamp);
        stored == self.stamp || stored.is_some() && stored == self.attempted
    }

    /// The offset to commit, if it has moved: never past what the store knows to be recorded.
    pub(super) fn to_commit(&self) -> Option<Offset> {
        let done = self.done_with(&Counts::new()).min(self.frontier?);
        (done > self.committed).then_some(done)
    }

    /// `offset` is committed.
    pub(super) fn committed(&mut self, offset: Offset) {
        self.committed = self.committed.max(offset);
    }

    /// The assignment, with how far it was committed since.
    pub(super) fn reassigned(&self) -> Assignment {
        Assignment { committed: Some(self.committed), ..self.assignment }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::account::{Generation, Partition};

    const LOG: LogPartition = LogPartition { generation: Generation(1), partition: Partition(0) };

    fn ledger(start: u64) -> Ledger {
        let (partition, start) = (LOG.partition, Offset(start));
        let assignment = Assignment { partition, committed: None, earliest: start, end: start };
        Ledger::new(assignment, start, None, None)
    }

    /// The store takes a recording of these; how far it says that everything is recorded.
    fn record(ledger: &mut Ledger, offsets: &[u64]) -> u64 {
        let mut counts = Counts::new();
        for offset in offsets {
            *counts.entry(Offset(*offset)).or_default() += 1;
        }
        let step = ledger.step(LOG, &counts);
        for offset in offsets {
            ledger.recorded(Offset(*offset));
        }
        ledger.stepped(&step);
        step.next.0
    }

    #[test]
    fn the_first_open_event_holds_frontier_and_offset() {
        let mut ledger = ledger(5);
        assert!(ledger.is_behind(), "the store knows nothing of it");
        assert_eq!(record(&mut ledger, &[]), 5);
        assert!(!ledger.is_behind() && ledger.to_commit().is_none());
        ledger.read(Offset(5), 2);
        ledger.read(Offset(6), 0);
        ledger.read(Offset(9), 1);
        assert_eq!(record(&mut ledger, &[9, 5]), 5, "one of two endpoints");
        assert_eq!(ledger.to_commit(), None);
        assert_eq!(record(&mut ledger, &[5]), 10, "gaps are passed");
        assert_eq!(ledger.to_commit(), Some(Offset(10)));
        ledger.committed(Offset(10));
        assert_eq!(ledger.to_commit(), None);
        ledger.passed(Offset(12));
        assert_eq!(record(&mut ledger, &[]), 12);
        assert_eq!(ledger.to_commit(), Some(Offset(12)), "so are places without a record at the end");
        ledger.committed(Offset(12));
        ledger.recorded(Offset(3));
        assert_eq!(ledger.to_commit(), None, "what it does not know is nothing to it");
    }

    #[test]
    fn what_the_store_does_not_know_is_not_committed() {
        let mut ledger = ledger(0);
        ledger.read(Offset(0), 0);
        assert_eq!(ledger.to_commit(), None);
        let step = ledger.step(LOG, &Counts::new());
        assert_eq!(ledger.to_commit(), None, "it is under way");
        ledger.stepped(&step);
        assert_eq!(ledger.to_commit(), Some(Offset(1)));
    }

    #[test]
    fn a_step_that_failed_keeps_its_stamp_and_may_have_been_taken() {
        let mut ledger = ledger(0);
        let first = ledger.step(LOG, &Counts::new());
        ledger.read(Offset(0), 0);
        let again = ledger.step(LOG, &Counts::new());
        assert_eq!((again.stamp, again.expected, again.next), (first.stamp, None, Offset(1)));
        let stored = |stamp| Some(RecordedFrontier { next: Offset(0), stamp });
        assert!(ledger.agrees_with(None) && ledger.agrees_with(stored(first.stamp).as_ref()));
        ledger.stepped(&again);
        assert!(!ledger.agrees_with(None), "the store has lost it");
        assert!(!ledger.agrees_with(stored(Stamp::new()).as_ref()), "somebody else records");
        assert!(ledger.agrees_with(stored(again.stamp).as_ref()));
        let next = ledger.step(LOG, &Counts::new());
        assert_eq!(next.expected, Some(again.stamp));
        assert_ne!(next.stamp, again.stamp);
    }

    #[test]
    fn a_frontier_does_not_move_back() {
        let start = Assignment {
            partition: LOG.partition,
            committed: Some(Offset(3)),
            earliest: Offset(0),
            end: Offset(9),
        };
        let mut ledger = Ledger::new(start, Offset(3), Some(Offset(7)), Some(Stamp::new()));
        ledger.read(Offset(3), 1);
        assert_eq!(record(&mut ledger, &[]), 7);
        ledger.read(Offset(4), 0);
        assert_eq!(ledger.to_commit(), None, "an event that is recorded is looked at again");
    }

    proptest! {
        #[test]
        fn neither_passes_an_open_event(
            deliveries in prop::collection::vec(0_usize..4, 1..40),
            order in prop::collection::vec(0_u64..40, 0..120),
        ) {
            let mut ledger = ledger(0);
            let mut open = deliveries.clone();
            for (offset, count) in deliveries.iter().enumerate() {
                ledger.read(Offset(offset as u64), *count);
            }
            for place in order {
                let Some(count) = open.get_mut(usize::try_from(place).unwrap()) else { continue };
                if *count == 0 {
                    continue;
                }
                *count -= 1;
                let next = record(&mut ledger, &[place]);
                let done = open.iter().position(|count| *count > 0).unwrap_or(open.len()) as u64;
                prop_assert_eq!(next, done);
                let expected = (done > 0).then_some(Offset(done));
                prop_assert_eq!(ledger.to_commit(), expected);
            }
        }
    }
}
