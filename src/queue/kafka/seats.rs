//! The numbers of a process's members of a group: the lowest that is free, so that a member that comes
//! back is the one it was.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The taken numbers, by group.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<BTreeSet<(String, u32)>>>);

/// A number that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    group: String,
    number: u32,
    seats: Seats,
}

impl Seats {
    pub(super) fn take(&self, group: &str) -> Seat {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = 0;
        while !taken.insert((group.to_owned(), number)) {
            number += 1;
        }
        Seat { group: group.to_owned(), number, seats: self.clone() }
    }
}

impl Seat {
    /// From 0.
    pub(super) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&(std::mem::take(&mut self.group), self.number));
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
}
