//! The store port: the ledger, the accounts, the rejections and the applied frontiers.
//!
//! An implementation promises, and the conformance suite checks: a plan is applied whole or not at
//! all, and only if everything its view showed still holds; what was applied survives the process.

mod cases;
mod decode;
mod decode_case;
mod decode_delivery;
mod decode_operation;
mod decode_replay;
mod decode_scan;
mod deliveries;
mod endpoints;
mod operations;
pub mod postgres;
mod replays;
mod scans;
pub mod sqlite;
mod stored;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::account::{
    AccountKey, Communication, CommunicationNumber, Coordinates, LogPartition, Offset, Outcome, Plan,
    View,
};

pub use cases::{Case, CaseState, Cases, Decided, Decision, SettledCase};
pub use deliveries::{
    Attempt, Attendance, Backlog, Claim, Counted, Deliveries, DeliveryKey, DeliveryRecord,
    DeliveryState, Ending, FrontierStep, GivingUp, KnownDeliveries, Leased, Line, Mark, NewDelivery,
    Place, ProcessId, RecordedFrontier, RecordedFrontiers, Redelivered, Released, Selection, Settled,
    Stamp, StateCount, WantedDeliveries,
};
pub use endpoints::{Availability, Breaker, Changed, EndpointName, EndpointState, NameError};
pub use operations::{
    Asked, By, NewOperation, NewStep, NotApproved, NotDecidable, Operation, OperationId,
    OperationIdError, OperationSelection, Operations, OperatorCommand, Stage, Step, TakenStep, Witness,
};
pub use replays::{
    Job, JobChange, JobName, JobNameError, JobState, JobStep, NewJob, OutcomeChange, Replays, RunnerId,
};
pub use scans::{AccountRow, ChangeRow, DeliveryRow, LedgerRow, Page, RejectionRow, ScanPlace, Scans};

/// How often a role sees whether the store was set back, as after a restore from a backup.
pub const SET_BACK_CHECK: Duration = Duration::from_secs(5);

/// An error's cause, kept for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the store did not do what was asked, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may work later: try again in place with a backoff.
    #[error("the store is unavailable ({action})")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
    /// A row of the plan cannot be stored, whenever it is tried: find it and put it aside.
    #[error("a row cannot be stored ({action})")]
    Poison {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
    /// It will not work without an operator: stop.
    #[error("the store is broken ({action})")]
    Broken {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
}

impl StoreError {
    /// Its kind, as metrics and spans tell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Poison { .. } => "poison",
            Self::Broken { .. } => "broken",
        }
    }
}

/// Offsets of one partition, `from` to before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The partition.
    pub log: LogPartition,
    /// The first offset.
    pub from: Offset,
    /// The offset after the last one.
    pub to: Offset,
}

/// What a view must show. Lists may repeat themselves.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Ledger rows of these numbers.
    pub numbers: Vec<CommunicationNumber>,
    /// Account rows of these keys.
    pub accounts: Vec<AccountKey>,
    /// Frontiers of these partitions, and the rejections whose coordinates lie in the ranges.
    pub ranges: Vec<OffsetRange>,
}

/// The applied frontiers of partitions that the store knows.
pub async fn frontiers(
    store: &impl Store,
    logs: impl Iterator<Item = LogPartition>,
) -> Result<HashMap<LogPartition, Offset>, StoreError> {
    let range = |log| OffsetRange { log, from: Offset(0), to: Offset(0) };
    let wanted = Wanted { ranges: logs.map(range).collect(), ..Wanted::default() };
    Ok(store.load(&wanted).await?.frontiers)
}

/// Whether a plan was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a stale plan was not applied"]
pub enum Applied {
    /// All of it.
    Done,
    /// Nothing: the store has moved on since the view was loaded, or does not hold what it showed.
    Stale(StalePart),
}

/// The first part of a plan that does not fit what the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalePart {
    /// A frontier stands elsewhere than the view showed it.
    Frontier,
    /// A number of the ledger is taken.
    Claim,
    /// An account has another version than the view showed, or none.
    Account,
    /// A rejection is noted already.
    Rejection,
    /// A rejection that is to be taken back is another one, or there is none.
    Withdrawal,
    /// The job it is a step of is not, or no longer, to be run by whoever took the step.
    Job,
}

impl fmt::Display for StalePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frontier => "a frontier stands elsewhere",
            Self::Claim => "a number is in the ledger already",
            Self::Account => "an account has another version",
            Self::Rejection => "a rejection is noted already",
            Self::Withdrawal => "a rejection to be taken back is not there",
            Self::Job => "the job is not this runner's",
        })
    }
}

/// What becomes of a transaction whose work is done.
enum End<T> {
    /// What it wrote stays.
    Commit(T),
    /// Nothing of it stays.
    Rollback(T),
}

/// A communication's outcome as it was persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistedOutcome {
    /// What it was about.
    pub communication: Communication,
    /// Where it stood on the log.
    pub coordinates: Coordinates,
    /// How it ended; none when it was put aside as a dead letter.
    pub outcome: Option<Outcome>,
}

/// A handle to the store; cheap to clone.
pub trait Store: Clone + Send + Sync + 'static {
    /// The system behind it, as OpenTelemetry's conventions name databases.
    fn system(&self) -> &'static str;

    /// One consistent look at what is wanted.
    fn load(&self, wanted: &Wanted) -> impl Future<Output = Result<View, StoreError>> + Send;

    /// Applies a plan in one transaction. Dropping the future does not take anything back.
    fn apply(&self, plan: &Plan) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// The persisted outcomes of a number: the accepted one first, then the newest rejections,
    /// at most `limit` in all.
    fn outcomes(
        &self,
        number: &CommunicationNumber,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<PersistedOutcome>, StoreError>> + Send;

    /// Tells whether the store answers now.
    fn check(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
