//! Why a deliverer ends.

use crate::queue::QueueError;
use crate::store::StoreError;

/// An error no retry helps against: the process should end and an operator look.
#[derive(Debug, thiserror::Error)]
pub enum DelivererError {
    /// The queue does not work.
    #[error("callbacks cannot go on: {0}")]
    Queue(#[source] QueueError),
    /// The store does not work.
    #[error("callbacks cannot go on: {0}")]
    Store(#[source] StoreError),
}
