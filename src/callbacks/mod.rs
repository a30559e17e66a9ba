//! Callbacks: every result event reaches the endpoints it is routed to, signed.
//!
//! Invariant: a committed offset of the results topic never passes an event that is not, for each of
//! its endpoints, delivered or parked in the store.

pub mod address;
mod ambient;
pub mod attempt;
pub mod breaker;
mod deliverer;
mod endpoint;
mod error;
pub mod handshake;
pub mod http;
mod ledger;
mod operational;
mod outbox;
mod pace;
pub mod routing;
pub mod schedule;
mod sender;
mod sends;
pub mod signature;

pub use ambient::Ambient;
pub use deliverer::{Deliverer, StepOutcome};
pub use endpoint::{DelivererOptions, Endpoint};
pub use error::DelivererError;
pub use operational::{OperatorReporter, OperatorReports, operator_webhook};
pub use sender::{Headers, Request, Sender};
