//! What a decision is made on, and what is to be written for it.

use std::collections::HashMap;
use std::sync::Arc;

use super::coordinates::{Coordinates, LogPartition, Offset};
use super::fingerprint::Fingerprint;
use super::outcome::{EventId, Outcome};
use super::request::Account;
use super::submission::{AccountKey, Communication};
use super::text::{BusinessEntityExtId, CommunicationNumber};

/// The store as a batch sees it: only what the batch asked for, all of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Applied frontier per partition: the first offset that was not applied.
    pub frontiers: HashMap<LogPartition, Offset>,
    /// Accepted communications.
    pub ledger: HashMap<CommunicationNumber, LedgerEntry>,
    /// Known accounts.
    pub accounts: HashMap<AccountKey, AccountState>,
    /// What was persisted by coordinates instead of by number.
    pub rejections: HashMap<Coordinates, Rejection>,
}

/// An accepted communication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Identity of the accepted content.
    pub fingerprint: Fingerprint,
    /// Id of its event.
    pub event_id: EventId,
    /// Where it stood.
    pub coordinates: Coordinates,
}

/// What the rules need to know of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// The customer it is linked with.
    pub business_entity_ext_id: BusinessEntityExtId,
    /// Coordinates of the last accepted submission.
    pub version: Coordinates,
}

/// What is known of a submission that was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It was rejected.
    Decided(Outcome),
    /// The store could not take it, so it was put aside as a dead letter.
    DeadLettered,
}

/// What one transaction writes. Rows are sorted by their keys' bytes, so that two transactions
/// never wait for each other in a circle.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Frontiers to move.
    pub frontiers: Vec<FrontierMove>,
    /// Numbers to claim in the ledger.
    pub claims: Vec<Claim>,
    /// Accounts to write, one row each however many submissions changed it.
    pub accounts: Vec<AccountWrite>,
    /// Rejections that no longer hold.
    pub withdrawals: Vec<Withdrawal>,
    /// Rejections to note.
    pub rejections: Vec<RejectionNote>,
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.frontiers.is_empty()
            && self.claims.is_empty()
            && self.accounts.is_empty()
            && self.withdrawals.is_empty()
            && self.rejections.is_empty()
    }
}

/// Moves a partition's applied frontier, if it still stands where the view showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontierMove {
    /// The partition.
    pub log: LogPartition,
    /// Where the view showed it; none when the store had never heard of the partition.
    pub expected: Option<Offset>,
    /// The first offset not applied once the plan is.
    pub next: Offset,
}

/// Claims a number, if nobody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is about.
    pub communication: Communication,
    /// Identity of its content.
    pub fingerprint: Fingerprint,
    /// Id of its event.
    pub event_id: EventId,
    /// Where it stands.
    pub coordinates: Coordinates,
}

/// Writes an account, if its version still is what the view showed.
#[derive(Clone, Debug)]
pub struct AccountWrite {
    /// The account.
    pub key: AccountKey,
    /// The version the view showed; none when there was no such account.
    pub expected: Option<Coordinates>,
    /// All of its data from now on.
    pub account: Arc<Account>,
    /// Coordinates of the submission it comes from.
    pub version: Coordinates,
}

/// Notes that a submission was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionNote {
    /// Where it stands.
    pub coordinates: Coordinates,
    /// What it is about.
    pub communication: Communication,
    /// Why.
    pub rejection: Rejection,
}

/// Takes a rejection back, if it still is what the view showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Where the submission stands.
    pub coordinates: Coordinates,
    /// The rejection's event.
    pub event_id: EventId,
}
