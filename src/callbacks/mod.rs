//! Callbacks: every result event reaches the endpoints it is routed to, signed.
//!
//! Invariant: neither a partition's recorded frontier, which the store moves with what it covers, nor a
//! committed offset of the results topic ever passes an event that is not, for each of its endpoints,
//! delivered or parked in the store. A partition is read from the smaller of the two.

pub mod address;
mod ambient;
pub mod attempt;
pub mod breaker;
mod deliverer;
mod endpoint;
mod error;
pub mod handshake;
mod housekeeping;
pub mod http;
mod ledger;
mod operational;
mod outbox;
mod pace;
mod processes;
mod reread;
pub mod routing;
pub mod schedule;
mod sender;
mod sends;
pub mod signature;
mod standing;
mod start;

pub use ambient::Ambient;
pub(crate) use deliverer::event_of;
pub use deliverer::{Deliverer, StepOutcome};
pub use endpoint::{DelivererOptions, Endpoint};
pub use error::DelivererError;
pub use housekeeping::{Housekeeper, HousekeepingOptions};
pub use operational::{OperatorReporter, OperatorReports, operator_webhook};
pub use processes::Processes;
pub use reread::Reread;
pub use sender::{Headers, Request, Sender};
pub use standing::start_refusals;
pub use start::{DeletedEvents, StartRefused};
