//! The store port's promises behind a pooler that hands out sessions by transaction and follows no prepared
//! statements: every test shares two sessions of the server among all that it opens.

use penstock::store::Store;
use penstock::store::postgres::{
    PostgresOpenError, PostgresStore, PostgresStoreOptions, examine, migrate,
};
use penstock::telemetry::Verdict;
use tokio::sync::OnceCell;

use super::deliveries::DeliveriesRig;
use super::servers::pooler::Pooler;
use super::servers::postgres::Database;
use super::store::StoreRig;

/// A database behind a pooler; both go with the rig.
#[derive(Default)]
pub(crate) struct PooledRig(OnceCell<(Pooler, Database)>);

impl PooledRig {
    async fn with_sessions(sessions: u32) -> Self {
        let rig = Self::default();
        rig.served(sessions).await;
        rig
    }

    async fn served(&self, sessions: u32) -> &(Pooler, Database) {
        let start = || async move {
            let database = Database::create().await;
            migrate(&PostgresStoreOptions::new(database.url())).await.unwrap();
            (Pooler::start(sessions), database)
        };
        self.0.get_or_init(start).await
    }

    async fn options(&self) -> PostgresStoreOptions {
        let (pooler, database) = self.served(2).await;
        let url = pooler.url(database.name());
        PostgresStoreOptions { statement_cache: 0, ..PostgresStoreOptions::new(url) }
    }
}

impl StoreRig for PooledRig {
    type Store = PostgresStore;

    async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.options().await).await.unwrap()
    }

    async fn close(&self, store: PostgresStore) {
        store.close().await;
    }
}

impl DeliveriesRig for PooledRig {
    type Deliveries = PostgresStore;

    async fn open_deliveries(&self) -> PostgresStore {
        self.open().await
    }

    async fn close_deliveries(&self, store: PostgresStore) {
        self.close(store).await;
    }
}

mod postgres_store {
    crate::store_conformance!(super::PooledRig);
}

mod postgres_deliveries {
    crate::deliveries_conformance!(super::PooledRig);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_share_one_session_start_again_and_again() {
    let rig = PooledRig::with_sessions(1).await;
    let options = rig.options().await;
    for _ in 0..3 {
        let (one, two) = (rig.open().await, rig.open().await);
        one.check().await.unwrap();
        two.check().await.unwrap();
        let findings = examine(&options).await;
        assert!(findings.iter().all(|found| found.verdict != Verdict::Wrong), "{findings:?}");
        one.close().await;
        two.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_statements_behind_a_pooler_are_refused_with_the_setting_that_helps() {
    let rig = PooledRig::with_sessions(1).await;
    let named = PostgresStoreOptions { statement_cache: 100, ..rig.options().await };
    let first = PostgresStore::open(named.clone()).await;
    let Err(error) = PostgresStore::open(named).await else { panic!("it was opened") };
    assert!(matches!(error, PostgresOpenError::Pooler { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("store.postgres.statement_cache = 0") && !said.contains("password"), "{said}");
    drop(first);
}
