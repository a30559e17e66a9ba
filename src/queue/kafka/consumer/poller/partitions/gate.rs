//! Whether records are read while their owner has not taken what is there: reading stops at once, and the
//! client is paused when that lasts, because pausing throws away what it has fetched.

use std::time::{Duration, Instant};

use super::super::super::flow::Fill;

/// An owner that takes nothing for this long has its partitions paused.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is to be done at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Read.
    Read,
    /// Read nothing.
    Wait,
    /// Pause the client, and read what it still has.
    Shut,
    /// Let the client fetch again, and read.
    Open,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
    #[default]
    Open,
    /// Nothing is read, and the client still fetches.
    Closing { since: Instant },
    /// The client is paused.
    Shut,
}

impl Gate {
    pub(super) fn is_shut(self) -> bool {
        self == Self::Shut
    }

    pub(super) fn turn(&mut self, fill: Fill, now: Instant) -> Turn {
        let (next, turn) = match (*self, fill) {
            (Self::Shut, Fill::HalfEmpty) => (Self::Open, Turn::Open),
            (Self::Shut, Fill::Full | Fill::Some) => (Self::Shut, Turn::Read),
            (_, Fill::Some | Fill::HalfEmpty) => (Self::Open, Turn::Read),
            (Self::Open, Fill::Full) => (Self::Closing { since: now }, Turn::Wait),
            (Self::Closing { since }, Fill::Full) => {
                if now.saturating_duration_since(since) < PATIENCE {
                    (*self, Turn::Wait)
                } else {
                    (Self::Shut, Turn::Shut)
                }
            }
        };
        *self = next;
        turn
    }
}
