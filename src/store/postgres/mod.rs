//! The production store: PostgreSQL 15 or later.
//!
//! Every load is one read-only snapshot and every plan one short transaction of set-based statements.
//! Nothing depends on a session's state, so a pooler may hand out sessions by transaction. Both run in
//! tasks of their own that nobody cancels, so a dropped future never leaves a transaction open; what
//! bounds them is the server's own timeouts, and a time after which the session is closed.

mod address;
mod cases;
mod connections;
mod deliveries;
mod error;
mod examine;
mod operations;
mod options;
mod replays;
mod row;
mod rows;
mod scans;
mod schema;
mod session;
pub mod statements;
mod work;

use crate::account::{CommunicationNumber, Plan, View};

use super::{Applied, Cause, PersistedOutcome, Store, StoreError, Wanted};
use connections::{Connections, Work};
use rows::WantedRows;
use work::{Apply, Load, Outcomes, Probe};

pub use deliveries::statements as delivery_statements;
pub use error::ServerError;
pub use examine::examine;
pub use operations::statements as operation_statements;
pub use options::PostgresStoreOptions;
pub use replays::statements as replay_statements;
pub use scans::statements as scan_statements;
pub use schema::{Migrated, PostgresOpenError, migrate};

/// The system's name in OpenTelemetry's conventions.
const SYSTEM: &str = "postgresql";

/// A handle to the production store; cheap to clone. All clones share its sessions.
#[derive(Clone)]
pub struct PostgresStore(Connections);

impl PostgresStore {
    /// Connects, and sees that server and schema are what this release needs. Creates nothing.
    pub async fn open(options: PostgresStoreOptions) -> Result<Self, PostgresOpenError> {
        let session = schema::check(&options).await?;
        let connections = Connections::new(options);
        connections.keep(session);
        Ok(Self(connections))
    }

    /// A handle to a server that is connected to when it is first needed. Neither the server nor its
    /// schema is looked at.
    pub fn connect_later(options: PostgresStoreOptions) -> Self {
        Self(Connections::new(options))
    }

    /// Finishes what was asked for and closes every session. Every handle is of no use afterwards.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl Store for PostgresStore {
    fn system(&self) -> &'static str {
        SYSTEM
    }

    async fn load(&self, wanted: &Wanted) -> Result<View, StoreError> {
        let rows = WantedRows::of(wanted).map_err(encoding_error::<Load>)?;
        self.0.run(Load(rows)).await
    }

    async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError> {
        if plan.is_empty() {
            return Ok(Applied::Done);
        }
        let steps = rows::steps(plan).map_err(encoding_error::<Apply>)?;
        self.0.run(Apply(steps)).await
    }

    async fn outcomes(
        &self,
        number: &CommunicationNumber,
        limit: usize,
    ) -> Result<Vec<PersistedOutcome>, StoreError> {
        self.0.run(Outcomes { number: number.clone(), limit }).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.0.run(Probe).await
    }
}

fn encoding_error<W: Work>(cause: Cause) -> StoreError {
    StoreError::Poison { action: W::ACTION, cause }
}
