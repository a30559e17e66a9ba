//! How many processes deliver: what all of them may send together, each sends a share of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of processes that deliver, this one among them, as its housekeeping hears from the store. All clones
/// tell the same; 1 before anything is heard.
#[derive(Clone, Debug)]
pub struct Processes(Arc<AtomicU32>);

impl Default for Processes {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(1)))
    }
}

impl Processes {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, count: u64) {
        self.0.store(u32::try_from(count).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
    }
}
