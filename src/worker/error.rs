//! Why a lane ends.

use crate::account::InconsistentStore;
use crate::queue::QueueError;
use crate::store::StoreError;

use super::start::StartRefused;

/// An error no retry helps against: the process should end and an operator look.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The queue does not work.
    #[error("the worker cannot go on: {0}")]
    Queue(#[source] QueueError),
    /// The store does not work.
    #[error("the worker cannot go on: {0}")]
    Store(#[source] StoreError),
    /// Queue and store do not belong together.
    #[error("the worker refuses to start: {0}")]
    Start(#[from] StartRefused),
    /// The store lacks rows it must have.
    #[error("the worker cannot go on: {0}")]
    Inconsistent(#[from] InconsistentStore),
    /// An event could not be written as JSON.
    #[error("the worker cannot go on: a result event could not be encoded")]
    Encode(#[from] serde_json::Error),
}
