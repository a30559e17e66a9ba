//! The scans port: every row of a table, a page at a time, for whoever compares the store with the log.
//!
//! An implementation promises, and the conformance suite checks: a row that is there when a scan begins, and is
//! neither changed nor removed until it has ended, is brought once. One that is changed meanwhile may be brought
//! twice or not at all, so who misses a row asks for it by its key before he says so. A page is bounded, and so is
//! the time that it takes: no transaction is open between two pages.

use std::future::Future;

use crate::account::{
    Account, AccountKey, Communication, Coordinates, EventId, LedgerEntry, Rejection, Timestamp,
};
use crate::events::CloudEvent;

use super::{DeliveryKey, DeliveryState, JobName, OutcomeChange, StoreError};

/// Where a scan goes on. Only the implementation that gave it knows what it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanPlace(pub(super) u64);

impl ScanPlace {
    /// The place of this number, for implementations elsewhere.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Some rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// They have no order. There may be none although others follow.
    pub rows: Vec<T>,
    /// Where the scan goes on; none when it has ended.
    pub next: Option<ScanPlace>,
}

impl<T> Page<T> {
    /// The same page of other rows.
    pub(super) fn map<U>(self, row: impl FnMut(T) -> U) -> Page<U> {
        Page { rows: self.rows.into_iter().map(row).collect(), next: self.next }
    }
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// What was accepted.
    pub communication: Communication,
    /// How the ledger identifies it.
    pub entry: LedgerEntry,
}

/// What is noted of a submission that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionRow {
    /// Where it stands.
    pub coordinates: Coordinates,
    /// What it is about.
    pub communication: Communication,
    /// Why; none when the row says nothing that penstock writes.
    pub rejection: Option<Rejection>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// The account.
    pub key: AccountKey,
    /// Coordinates of the submission it comes from.
    pub version: Coordinates,
    /// Its data, times to the microsecond; none when the row says nothing that penstock writes.
    pub account: Option<Box<Account>>,
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// What it is.
    pub key: DeliveryKey,
    /// The communication's number.
    pub number: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The event; none when the row holds none.
    pub event: Option<CloudEvent>,
}

/// An outcome that a job has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// The job.
    pub job: JobName,
    /// What it changed.
    pub change: OutcomeChange,
}

impl ChangeRow {
    /// The event of the outcome before, if there was one.
    pub fn event_before(&self) -> Option<EventId> {
        self.change.before.map(|before| before.event_id)
    }
}

/// Rows of whole tables. Every scan begins at [`ScanPlace::default`].
pub trait Scans: Clone + Send + Sync + 'static {
    /// The ledger.
    fn scan_ledger(
        &self,
        from: ScanPlace,
    ) -> impl Future<Output = Result<Page<LedgerRow>, StoreError>> + Send;

    /// What was not accepted.
    fn scan_rejections(
        &self,
        from: ScanPlace,
    ) -> impl Future<Output = Result<Page<RejectionRow>, StoreError>> + Send;

    /// The accounts.
    fn scan_accounts(
        &self,
        from: ScanPlace,
    ) -> impl Future<Output = Result<Page<AccountRow>, StoreError>> + Send;

    /// The deliveries.
    fn scan_deliveries(
        &self,
        from: ScanPlace,
    ) -> impl Future<Output = Result<Page<DeliveryRow>, StoreError>> + Send;

    /// What jobs have changed.
    fn scan_changes(
        &self,
        from: ScanPlace,
    ) -> impl Future<Output = Result<Page<ChangeRow>, StoreError>> + Send;
}
