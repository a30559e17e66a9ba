//! The numbers of a process's members of a group: the lowest that is free, so that a member that comes
//! back is the one it was. And whether each has joined.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The taken numbers, by group.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<BTreeMap<(String, u32), Joined>>>);

/// A number that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    group: String,
    number: u32,
    joined: Joined,
    seats: Seats,
}

/// Whether a member has heard from its group what is its own, be that nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Joined(Arc<AtomicBool>);

impl Joined {
    pub(super) fn set(&self, has_joined: bool) {
        self.0.store(has_joined, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Seats {
    pub(super) fn take(&self, group: &str) -> Seat {
        let mut taken = self.taken();
        let mut key = (group.to_owned(), 0);
        while taken.contains_key(&key) {
            key.1 += 1;
        }
        let joined = Joined::default();
        taken.insert(key.clone(), joined.clone());
        Seat { group: key.0, number: key.1, joined, seats: self.clone() }
    }

    /// The groups that a member is about to join, or to join again.
    pub(super) fn awaited(&self) -> Vec<String> {
        let taken = self.taken();
        let awaited = taken.iter().filter(|(_, joined)| !joined.get());
        let mut groups: Vec<String> = awaited.map(|((group, _), _)| group.clone()).collect();
        groups.dedup();
        groups
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<(String, u32), Joined>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// From 0.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Where the member notes that it has joined.
    pub(super) fn joined(&self) -> Joined {
        self.joined.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let key = (std::mem::take(&mut self.group), self.number);
        self.seats.taken().remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_of_a_group_is_taken() {
        let seats = Seats::default();
        let first = seats.take("workers");
        let second = seats.take("workers");
        assert_eq!((first.number(), second.number()), (0, 1));
        assert_eq!(seats.take("callbacks").number(), 0);
        drop(first);
        assert_eq!(seats.take("workers").number(), 0);
    }

    #[test]
    fn a_group_is_awaited_until_its_last_member_has_joined() {
        let seats = Seats::default();
        assert!(seats.awaited().is_empty());
        let (first, second) = (seats.take("workers"), seats.take("workers"));
        assert_eq!(seats.awaited(), ["workers"]);
        first.joined().set(true);
        assert_eq!(seats.awaited(), ["workers"]);
        second.joined().set(true);
        assert!(seats.awaited().is_empty());
        second.joined().set(false);
        assert_eq!(seats.awaited(), ["workers"]);
        drop(second);
        assert!(seats.awaited().is_empty());
    }
}
