//! Why a lane ends.

use crate::account::Coordinates;
use crate::queue::QueueError;
use crate::store::{StalePart, StoreError};

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
    /// The store contradicts itself.
    #[error("the worker cannot go on: {0}")]
    Inconsistent(#[from] InconsistentStore),
    /// Records and what was decided of them do not belong together.
    #[error("the worker cannot go on: {0}")]
    Unpaired(#[from] Unpaired),
    /// An event could not be written as JSON.
    #[error("the worker cannot go on: a result event could not be encoded")]
    Encode(#[from] serde_json::Error),
}

/// The store refuses a plan although it shows what the plan was made on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store refuses the outcomes of the submissions before {} again and again ({part}), although it shows what \
     they were decided on: its tables do not belong together, as after some of them were restored. Restore \
     all of them from one backup; the store catches up from the log by itself",
    list(before)
)]
pub struct InconsistentStore {
    /// What it refused last.
    pub part: StalePart,
    /// Per partition, where the outcomes end that it refuses.
    pub before: Vec<Coordinates>,
}

fn list(coordinates: &[Coordinates]) -> String {
    coordinates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// There is not one outcome for each submission. Nothing was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{outcomes} outcomes were decided of {submissions} submissions, which is a fault of penstock: please \
     report it. Nothing was written or told"
)]
pub struct Unpaired {
    /// How many submissions there were.
    pub submissions: usize,
    /// How many outcomes.
    pub outcomes: usize,
}
