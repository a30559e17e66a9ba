//! What can go wrong with a queue, by what the caller does next.

use crate::account::Partition;

/// An error's cause, kept for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the queue did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Too much is waiting to be written: refuse new work for a moment.
    #[error("the queue is full: what waits to be written has reached its limit")]
    Overloaded,
    /// The partition is not this consumer's, or no more: forget it.
    #[error("partition {} is not, or no longer, this consumer's", partition.0)]
    NotAssigned {
        /// The partition.
        partition: Partition,
    },
    /// It may work later: try again with a backoff.
    #[error("the queue is unavailable ({action})")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
    /// It will not work without an operator: stop.
    #[error("the queue is broken ({action})")]
    Broken {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
}

impl QueueError {
    /// None when what was asked about is not, or no longer, this consumer's, so that nothing is left to be
    /// done about it; otherwise this error.
    pub fn unless_gone<T>(self) -> Result<Option<T>, Self> {
        if matches!(self, Self::NotAssigned { .. }) { Ok(None) } else { Err(self) }
    }

    /// Its kind, as metrics and spans tell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::NotAssigned { .. } => "not_assigned",
            Self::Unavailable { .. } => "unavailable",
            Self::Broken { .. } => "broken",
        }
    }
}
