//! The worker: load → decide → apply → emit → commit.
//!
//! Invariant: a partition's committed offset never passes a record whose outcome is not persisted
//! and whose event is not acknowledged. The applied frontier in the store moves with the data it
//! covers; the committed offset follows once the events are out. Whatever dies in between, the
//! records between the two are read back and told again under the same event ids.

mod brake;
mod decode;
mod emission;
mod error;
mod frontiers;
mod lane;
mod options;
mod start;
mod traces;
mod wanted;

pub(crate) use decode::{Content, Item, NOT_STORABLE};
pub(crate) use emission::replayed_results;
pub use error::{InconsistentStore, LaneError, Unpaired};
pub use frontiers::{FrontierError, Skip, SkipRefused, Standing, Unvouched, standings};
pub use lane::{Lane, StepOutcome};
pub use options::{Backoff, BrakeOptions, LaneOptions};
pub use start::StartRefused;
pub(crate) use wanted::wanted_by;
