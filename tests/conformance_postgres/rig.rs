//! A database of its own for every test.

use penstock::store::postgres::{PostgresStore, PostgresStoreOptions, migrate};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::OnceCell;

use super::deliveries::DeliveriesRig;
use super::servers::postgres::Database;
use super::store::StoreRig;

/// A database that goes with the rig.
#[derive(Default)]
pub(crate) struct PostgresStoreRig(OnceCell<Database>);

impl PostgresStoreRig {
    /// Options of a store with the schema in place.
    pub(crate) async fn options(&self) -> PostgresStoreOptions {
        let options = self.options_of_empty_database().await;
        migrate(&options).await.unwrap();
        options
    }

    /// Options of a store whose database has no schema.
    pub(crate) async fn options_of_empty_database(&self) -> PostgresStoreOptions {
        PostgresStoreOptions::new(self.database().await.url())
    }

    /// A session of the test's own.
    pub(crate) async fn session(&self) -> PgConnection {
        self.database().await.session().await
    }

    /// How the test itself connects.
    pub(crate) async fn connect_options(&self) -> PgConnectOptions {
        self.database().await.connect_options()
    }

    async fn database(&self) -> &Database {
        self.0.get_or_init(Database::create).await
    }
}

impl StoreRig for PostgresStoreRig {
    type Store = PostgresStore;

    async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.options().await).await.unwrap()
    }

    async fn close(&self, store: PostgresStore) {
        store.close().await;
    }
}

impl DeliveriesRig for PostgresStoreRig {
    type Deliveries = PostgresStore;

    async fn open_deliveries(&self) -> PostgresStore {
        self.open().await
    }

    async fn close_deliveries(&self, store: PostgresStore) {
        self.close(store).await;
    }
}
