//! Callbacks: every result event reaches the endpoints it is routed to, signed.
//!
//! Invariant: a committed offset of the results topic never passes an event that is not, for each of
//! its endpoints, delivered or parked in the store.

pub mod address;
pub mod attempt;
pub mod breaker;
pub mod routing;
pub mod schedule;
pub mod signature;
