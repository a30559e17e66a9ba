//! The proof that in equals out: log, store, results, deliveries and dead letters are held against each other.
//!
//! Invariant: every source says what it has of a communication, and nothing is believed because another source says
//! it. What is said is sorted on disk by what it is about, so that memory is bounded whatever the range. How far each
//! source had got is looked up before the one that follows from it is read, so what is still on its way is told
//! apart, and never taken for lost.

mod accounts;
mod bounds;
mod chain;
mod compare;
mod digest;
mod extent;
mod facts;
mod findings;
mod gather;
mod numbers;
mod places;
mod run;
mod sieve;

pub use chain::{Chain, ChainError, Mark};
pub use digest::{Digest, NoDigest};
pub use extent::Extent;
pub use findings::{Counts, Finding, Kind, Sums};
pub use gather::{Receiver, Scope};
pub use run::{Audit, AuditError, Audited, Stage, Telling};
