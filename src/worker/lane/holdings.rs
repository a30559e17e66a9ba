//! The partitions of a lane: which are to be started, and how far each of the others is read, persisted,
//! told and committed.

use std::collections::BTreeMap;

use crate::account::{Offset, Partition};
use crate::queue::Assignment;

use super::committer::Offsets;

/// How far a partition came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    assignment: Assignment,
    /// Where its reading began.
    start: Offset,
    /// What is read of it lies before this.
    read: Offset,
    /// The applied frontier is at least here, unless the store was set back; none while there is none.
    persisted: Option<Offset>,
    done: Offset,
    /// What the group has committed; none when it has committed nothing.
    committed: Option<Offset>,
    /// Nothing before this is committed.
    commit_from: Offset,
}

impl Position {
    /// A partition that is read from `start` on, and was applied up to `applied`.
    ///
    /// A group that has committed nothing may stand before a log that was created anew, which only what is
    /// read back can show: until all of that is compared, nothing is committed.
    pub(super) fn started(assignment: Assignment, start: Offset, applied: Option<Offset>) -> Self {
        Self {
            assignment,
            start,
            read: start,
            persisted: applied.map(|_| start),
            done: start,
            committed: assignment.committed.map(|committed| committed.min(start)),
            commit_from: match assignment.committed {
                Some(_) => Offset(0),
                None => applied.unwrap_or(Offset(0)),
            },
        }
    }

    /// Whether the group has read this very log before, at the latest up to where it is read back.
    pub(super) fn is_vouched_for(&self) -> bool {
        self.assignment.committed.is_some()
    }

    /// The applied frontier is at least here, unless the store was set back.
    pub(super) fn persisted(&self) -> Option<Offset> {
        self.persisted
    }

    /// As it was assigned, with what was committed since.
    fn reassigned(&self) -> Assignment {
        Assignment { committed: self.committed, ..self.assignment }
    }
}

/// The partitions of a lane.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    unstarted: Vec<Assignment>,
    positions: BTreeMap<Partition, Position>,
}

impl Holdings {
    pub(super) fn assigned(&mut self, assignments: Vec<Assignment>) {
        self.unstarted.extend(assignments);
    }

    /// Those that nobody reads yet.
    pub(super) fn unstarted(&self) -> &[Assignment] {
        &self.unstarted
    }

    /// The next partition to start.
    pub(super) fn next_unstarted(&self) -> Option<Assignment> {
        self.unstarted.last().copied()
    }

    /// The next partition to start is read from now on; none when it is not the lane's any more.
    pub(super) fn started(&mut self, position: Option<Position>) {
        if let (Some(assignment), Some(position)) = (self.unstarted.pop(), position) {
            self.positions.insert(assignment.partition, position);
        }
    }

    /// Every partition that is read.
    pub(super) fn positions(&self) -> &BTreeMap<Partition, Position> {
        &self.positions
    }

    /// Every partition that is read.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.positions.keys().copied().collect()
    }

    /// Partitions whose reading has passed places without records, by what the consumer says of each.
    pub(super) fn passed(
        &self,
        position: impl Fn(Partition) -> Option<Offset>,
    ) -> BTreeMap<Partition, Offset> {
        let passed = |(partition, known): (&Partition, &Position)| {
            let position = position(*partition)?;
            (position > known.read).then_some((*partition, position))
        };
        self.positions.iter().filter_map(passed).collect()
    }

    /// Everything before these offsets is read.
    pub(super) fn read(&mut self, through: &BTreeMap<Partition, Offset>) {
        self.each(through.iter(), |position, next| position.read = position.read.max(next));
    }

    /// Everything before these offsets is persisted.
    pub(super) fn persisted<'a>(&mut self, through: impl Iterator<Item = (&'a Partition, &'a Offset)>) {
        self.each(through, |position, next| position.persisted = position.persisted.max(Some(next)));
    }

    /// Everything before these offsets is told.
    pub(super) fn done(&mut self, through: &BTreeMap<Partition, Offset>) {
        self.each(through.iter(), |position, next| position.done = position.done.max(next));
    }

    /// What is told and not committed.
    pub(super) fn to_commit(&self) -> Offsets {
        let moved = |(partition, position): (&Partition, &Position)| {
            let committed = position.committed.unwrap_or(position.start);
            let is_moved = position.done > committed && position.done >= position.commit_from;
            is_moved.then_some((*partition, position.done))
        };
        self.positions.iter().filter_map(moved).collect()
    }

    /// These offsets are committed.
    pub(super) fn committed(&mut self, offsets: &Offsets) {
        let offsets = offsets.iter().map(|(partition, offset)| (partition, offset));
        self.each(offsets, |position, next| position.committed = position.committed.max(Some(next)));
    }

    /// Forgets partitions.
    pub(super) fn drop_partitions(&mut self, partitions: &[Partition]) {
        self.drop_unstarted(partitions);
        self.positions.retain(|partition, _| !partitions.contains(partition));
    }

    /// Forgets those of `partitions` that nobody reads yet.
    pub(super) fn drop_unstarted(&mut self, partitions: &[Partition]) {
        self.unstarted.retain(|assignment| !partitions.contains(&assignment.partition));
    }

    /// Has partitions started anew, as if they had just been assigned.
    pub(super) fn restart(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(position) = self.positions.remove(partition) {
                self.unstarted.push(position.reassigned());
            }
        }
    }

    fn each<'a>(
        &mut self,
        offsets: impl Iterator<Item = (&'a Partition, &'a Offset)>,
        change: impl Fn(&mut Position, Offset),
    ) {
        for (partition, offset) in offsets {
            if let Some(position) = self.positions.get_mut(partition) {
                change(position, *offset);
            }
        }
    }
}
