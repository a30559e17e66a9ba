//! The pure heart: what an account is, what is wrong with one, and what becomes of it.
//!
//! Nothing here does I/O, reads a clock or is async; every function's result depends on its
//! arguments alone.

mod batch;
mod coordinates;
mod currency;
mod decide;
mod fingerprint;
mod outcome;
mod plan;
mod redecide;
mod reference;
mod request;
mod rules;
mod schema;
mod submission;
mod text;
mod timestamp;

pub use batch::{BatchItem, BatchLimits, parse_batch, parse_single};
pub use coordinates::{Coordinates, Generation, LogPartition, Offset, Partition};
pub use currency::currencies;
pub use decide::{Decided, Decision, ForeignOutcome, Told, decide, restore, set_aside};
pub use fingerprint::Fingerprint;
pub use outcome::{EventId, Outcome, RejectionCode, Verdict};
pub use plan::{
    AccountState, AccountWrite, Claim, FrontierMove, LedgerEntry, Plan, Rejection, RejectionNote, View,
    Withdrawal,
};
pub use redecide::{Redecided, Redecision, redecide};
pub use reference::{Classifier, CreateExisting, Policy, Reference, UpdateMissing};
pub use request::{Account, AccountStatus, Action, ItemError};
pub use schema::{Place, Problem, SchemaError, SchemaErrors};
pub use submission::{AccountKey, Communication, Submission};
pub use text::{
    AccountExtId, AccountNumber, BusinessEntityExtId, BusinessUnit, CommunicationNumber, CurrencyCode,
    Requester, Text,
};
pub use timestamp::Timestamp;
