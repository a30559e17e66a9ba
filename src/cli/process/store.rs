//! The store that the settings name, behind one type.

use std::time::Duration;

use crate::account::{CommunicationNumber, Plan, View};
use crate::settings::{Settings, StoreKind, StoreSettings};
use crate::sqlite::store_file;
use crate::store::postgres::{PostgresOpenError, PostgresStore, PostgresStoreOptions};
use crate::store::sqlite::SqliteStore;
use crate::store::{Applied, PersistedOutcome, Store, StoreError, Wanted};
use crate::telemetry::with_causes;

use super::directory::Directory;
use crate::cli::{options, unavailable};

/// How long the server may work on one statement of a command, at least: an operator waits for an answer, a
/// lane for the next batch.
const COMMANDS_TIMEOUT: Duration = Duration::from_mins(1);

/// One of the implementations.
#[derive(Clone)]
pub(in crate::cli) enum AnyStore {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

/// Calls of a port, answered by whichever implementation it is.
macro_rules! forwarded {
    ($(async fn $call:ident(&self $(, $argument:ident: $kind:ty)* $(,)?) -> $answer:ty;)*) => {
        $(async fn $call(&self $(, $argument: $kind)*) -> $answer {
            match self {
                Self::Sqlite(store) => store.$call($($argument),*).await,
                Self::Postgres(store) => store.$call($($argument),*).await,
            }
        })*
    };
}
pub(super) use forwarded;

impl AnyStore {
    /// Opens the store; the embedded one in the data directory.
    pub(super) async fn open(
        settings: &StoreSettings,
        directory: &mut Directory,
    ) -> anyhow::Result<Self> {
        Ok(match settings.kind {
            StoreKind::Sqlite => {
                let options = options::sqlite_store(&settings.sqlite);
                Self::Sqlite(SqliteStore::open_with(directory.opened()?.store_file(), options).await?)
            }
            StoreKind::Postgres => {
                let options = options::postgres_store(&settings.postgres);
                Self::Postgres(PostgresStore::open(options).await?)
            }
        })
    }

    /// Opens the store for a command, beside the processes that have it.
    pub(in crate::cli) async fn open_beside(settings: &Settings) -> anyhow::Result<Self> {
        Ok(match settings.store.kind {
            StoreKind::Sqlite => {
                Self::Sqlite(SqliteStore::open_beside(store_file(&settings.data_dir)).await?)
            }
            StoreKind::Postgres => {
                let options = options::postgres_store(&settings.store.postgres);
                let statement_timeout = options.statement_timeout.max(COMMANDS_TIMEOUT);
                let options = PostgresStoreOptions { statement_timeout, ..options };
                Self::Postgres(PostgresStore::open(options).await?)
            }
        })
    }

    /// The same, whole tables of which are read on the standby that the settings name, if they name one.
    pub(in crate::cli) async fn with_tables_on_standby(&self) -> anyhow::Result<Self> {
        Ok(match self {
            Self::Sqlite(store) => Self::Sqlite(store.clone()),
            Self::Postgres(store) => {
                let store = store.clone().with_tables_on_standby().await;
                Self::Postgres(store.map_err(unavailable)?)
            }
        })
    }

    /// Opens the store for validations and look-ups, which may go unanswered: one that is away is
    /// connected to later, and one that lives in another process counts as none.
    pub(super) async fn open_for_questions(settings: &StoreSettings) -> anyhow::Result<Option<Self>> {
        if settings.kind == StoreKind::Sqlite {
            tracing::warn!(
                "store.kind is sqlite, which a worker has for itself: validations and look-ups are \
                 answered 503. Set store.kind to postgres"
            );
            return Ok(None);
        }
        let options = options::postgres_store(&settings.postgres);
        let store = match PostgresStore::open(options.clone()).await {
            Err(error @ PostgresOpenError::Unreachable { .. }) => {
                tracing::warn!(
                    error = %with_causes(&error),
                    "batches are accepted; validations and look-ups are answered 503 until the store is there"
                );
                PostgresStore::connect_later(options)
            }
            opened => opened?,
        };
        Ok(Some(Self::Postgres(store)))
    }

    /// Finishes what was asked for and closes it.
    pub(in crate::cli) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

impl Store for AnyStore {
    fn system(&self) -> &'static str {
        match self {
            Self::Sqlite(store) => store.system(),
            Self::Postgres(store) => store.system(),
        }
    }

    forwarded! {
        async fn load(&self, wanted: &Wanted) -> Result<View, StoreError>;
        async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError>;
        async fn outcomes(
            &self,
            number: &CommunicationNumber,
            limit: usize,
        ) -> Result<Vec<PersistedOutcome>, StoreError>;
        async fn check(&self) -> Result<(), StoreError>;
    }
}
