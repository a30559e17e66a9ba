//! How much waits to be written, bounded in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that wait.
#[derive(Debug)]
pub(super) struct Pending {
    bytes: AtomicUsize,
    max_bytes: usize,
}

impl Pending {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), max_bytes }
    }

    /// Takes a share; none when there is no room. What alone exceeds the bound passes while nothing
    /// else waits, or it never could.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        self.bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                let total = waiting.saturating_add(bytes);
                (waiting == 0 || total <= self.max_bytes).then_some(total)
            })
            .ok()
            .map(|_| Reservation { pending: Arc::clone(self), bytes })
    }

    /// Takes a share whether there is room or not, for what is bounded otherwise.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Reservation { pending: Arc::clone(self), bytes }
    }
}

/// A share of what may wait; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    pending: Arc<Pending>,
    bytes: usize,
}

impl Reservation {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pending.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_shares_come_back() {
        let pending = Arc::new(Pending::new(10));
        let first = pending.reserve(6).unwrap();
        assert!(pending.reserve(5).is_none());
        let second = pending.reserve(4).unwrap();
        assert!(pending.reserve(1).is_none());
        drop((first, second));
        assert!(pending.reserve(10).is_some());
    }

    #[test]
    fn what_exceeds_the_bound_passes_alone() {
        let pending = Arc::new(Pending::new(10));
        let large = pending.reserve(11).unwrap();
        assert!(pending.reserve(1).is_none());
        drop(large);
    }

    #[test]
    fn what_is_bounded_otherwise_always_passes_and_counts() {
        let pending = Arc::new(Pending::new(10));
        let taken = [pending.take(6), pending.take(7)];
        assert!(pending.reserve(1).is_none());
        drop(taken);
        assert!(pending.reserve(10).is_some());
    }
}
