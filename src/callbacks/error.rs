//! Why a deliverer ends.

use crate::queue::QueueError;
use crate::store::StoreError;

use super::start::StartRefused;

/// An error no retry helps against: the process should end and an operator look.
#[derive(Debug, thiserror::Error)]
pub enum DelivererError {
    /// The queue does not work.
    #[error("callbacks cannot go on: {0}")]
    Queue(#[source] QueueError),
    /// The store does not work.
    #[error("callbacks cannot go on: {0}")]
    Store(#[source] StoreError),
    /// A partition must not be read.
    #[error("callbacks cannot go on: {0}")]
    Start(#[from] StartRefused),
}
