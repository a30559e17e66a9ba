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
mod standby;
pub mod statements;
mod work;

use crate::account::{CommunicationNumber, Plan, View};

use super::{Applied, Cause, PersistedOutcome, Store, StoreError, Wanted};
use connections::{Connections, Work};
use rows::WantedRows;
use standby::Standby;
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
pub struct PostgresStore {
    sessions: Connections,
    standby: Option<Standby>,
    tables: Tables,
}

/// Where whole tables are read.
#[derive(Clone)]
enum Tables {
    /// Where everything is.
    OnServer,
    /// On a standby that has what the server had when a scan began.
    OnStandby(Standby),
}

impl PostgresStore {
    /// Connects, and sees that server and schema are what this release needs. Creates nothing.
    pub async fn open(options: PostgresStoreOptions) -> Result<Self, PostgresOpenError> {
        let session = schema::check(&options).await?;
        let store = Self::connect_later(options);
        store.sessions.keep(session);
        Ok(store)
    }

    /// A handle to a server that is connected to when it is first needed. Neither the server nor its
    /// schema is looked at.
    pub fn connect_later(options: PostgresStoreOptions) -> Self {
        let standby = options.replica().map(Standby::of);
        Self { sessions: Connections::new(options), standby, tables: Tables::OnServer }
    }

    /// The same store, whole tables of which are read on the standby that its options name, if they name one. An
    /// error when that is not there, or is none of this server.
    pub async fn with_tables_on_standby(self) -> Result<Self, StoreError> {
        let Some(standby) = self.standby.clone() else { return Ok(self) };
        standby.behind(&self.sessions).await?;
        Ok(Self { tables: Tables::OnStandby(standby), ..self })
    }

    /// Finishes what was asked for and closes every session. Every handle is of no use afterwards.
    pub async fn close(&self) {
        self.sessions.close().await;
        if let Some(standby) = &self.standby {
            standby.close().await;
        }
    }
}

impl Store for PostgresStore {
    fn system(&self) -> &'static str {
        SYSTEM
    }

    async fn load(&self, wanted: &Wanted) -> Result<View, StoreError> {
        let rows = WantedRows::of(wanted).map_err(encoding_error::<Load>)?;
        self.sessions.run(Load(rows)).await
    }

    async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError> {
        if plan.is_empty() {
            return Ok(Applied::Done);
        }
        let steps = rows::steps(plan).map_err(encoding_error::<Apply>)?;
        self.sessions.run(Apply(steps)).await
    }

    async fn outcomes(
        &self,
        number: &CommunicationNumber,
        limit: usize,
    ) -> Result<Vec<PersistedOutcome>, StoreError> {
        self.sessions.run(Outcomes { number: number.clone(), limit }).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.sessions.run(Probe).await
    }
}

fn encoding_error<W: Work>(cause: Cause) -> StoreError {
    StoreError::Poison { action: W::ACTION, cause }
}
