//! The store that the settings name, behind one type.

use crate::account::{CommunicationNumber, Plan, View};
use crate::settings::{StoreKind, StoreSettings};
use crate::sqlite::DataDir;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Applied, PersistedOutcome, Store, StoreError, Wanted};

use super::options;

/// One of the implementations.
#[derive(Clone)]
pub(super) enum AnyStore {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl AnyStore {
    /// Opens the store; the embedded one in the data directory.
    pub(super) async fn open(settings: &StoreSettings, data_dir: &DataDir) -> anyhow::Result<Self> {
        Ok(match settings.kind {
            StoreKind::Sqlite => {
                let options = options::sqlite_store(&settings.sqlite);
                Self::Sqlite(SqliteStore::open_with(data_dir.store_file(), options).await?)
            }
            StoreKind::Postgres => {
                let options = options::postgres_store(&settings.postgres);
                Self::Postgres(PostgresStore::open(options).await?)
            }
        })
    }

    /// Finishes what was asked for and closes it.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

impl Store for AnyStore {
    async fn load(&self, wanted: &Wanted) -> Result<View, StoreError> {
        match self {
            Self::Sqlite(store) => store.load(wanted).await,
            Self::Postgres(store) => store.load(wanted).await,
        }
    }

    async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError> {
        match self {
            Self::Sqlite(store) => store.apply(plan).await,
            Self::Postgres(store) => store.apply(plan).await,
        }
    }

    async fn outcomes(
        &self,
        number: &CommunicationNumber,
        limit: usize,
    ) -> Result<Vec<PersistedOutcome>, StoreError> {
        match self {
            Self::Sqlite(store) => store.outcomes(number, limit).await,
            Self::Postgres(store) => store.outcomes(number, limit).await,
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.check().await,
            Self::Postgres(store) => store.check().await,
        }
    }
}
