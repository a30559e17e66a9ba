//! A database of its own for every test.

use std::sync::atomic::{AtomicU32, Ordering};

use penstock::store::postgres::{PostgresStore, PostgresStoreOptions, migrate};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::sync::OnceCell;

use super::store::StoreRig;

/// Names the server to use.
const SERVER: &str = "PENSTOCK_TEST_POSTGRES";

/// A database that goes with the rig.
pub(crate) struct PostgresStoreRig {
    server: String,
    database: String,
    created: OnceCell<()>,
}

impl Default for PostgresStoreRig {
    fn default() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var(SERVER).unwrap_or_else(|_| {
            panic!(
                "{SERVER} is not set: these tests need a PostgreSQL server. Set it to the URL that \
                 `deploy/local/postgres.sh start` prints, or run tests/run.sh"
            )
        });
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let database = format!("penstock_test_{}_{number}", std::process::id());
        Self { server, database, created: OnceCell::new() }
    }
}

impl PostgresStoreRig {
    /// Options of a store with the schema in place.
    pub(crate) async fn options(&self) -> PostgresStoreOptions {
        let options = self.options_of_empty_database().await;
        migrate(&options).await.unwrap();
        options
    }

    /// Options of a store whose database has no schema.
    pub(crate) async fn options_of_empty_database(&self) -> PostgresStoreOptions {
        self.created
            .get_or_init(|| async {
                let mut server = self.server().connect().await.unwrap();
                let create = format!("CREATE DATABASE {}", self.database);
                server.execute(AssertSqlSafe(create)).await.unwrap();
                server.close().await.unwrap();
            })
            .await;
        PostgresStoreOptions::new(self.connect_options().to_url_lossy().to_string())
    }

    /// A session of the test's own.
    pub(crate) async fn session(&self) -> PgConnection {
        self.connect_options().connect().await.unwrap()
    }

    /// How the test itself connects.
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        self.server().database(&self.database).application_name("test")
    }

    fn server(&self) -> PgConnectOptions {
        self.server.parse().expect("PENSTOCK_TEST_POSTGRES is no URL of a PostgreSQL server")
    }
}

impl Drop for PostgresStoreRig {
    fn drop(&mut self) {
        if !self.created.initialized() {
            return;
        }
        let (server, drop) = (self.server(), format!("DROP DATABASE {} WITH (FORCE)", self.database));
        // The runtime of the test may be the one that drops this, and must not be waited on.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                server.connect().await?.execute(AssertSqlSafe(drop)).await.map(|_| ())
            })
        });
        // A database that is left behind fails no promise.
        let _: Result<Result<(), sqlx::Error>, _> = dropping.join();
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
