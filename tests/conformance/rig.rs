//! What a suite needs of an implementation.

use penstock::queue::Queue;
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::store::sqlite::SqliteStore;
use tempfile::TempDir;

use super::deliveries::DeliveriesRig;
use super::store::StoreRig;

/// Partitions every queue under test has.
pub(crate) const PARTITIONS: u32 = 4;

/// The data of one queue, empty at first, that can be opened again and again.
pub(crate) trait QueueRig: Default + Send + Sync + 'static {
    /// The implementation.
    type Queue: Queue;

    /// Opens the queue, or opens it again, with [`PARTITIONS`] partitions.
    fn open(&self) -> impl Future<Output = Self::Queue> + Send;

    /// Ends the process that has the queue, as far as the queue can tell.
    fn close(&self, queue: Self::Queue) -> impl Future<Output = ()> + Send;
}

/// A queue in a directory of its own.
pub(crate) struct SqliteQueueRig(TempDir);

impl Default for SqliteQueueRig {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl QueueRig for SqliteQueueRig {
    type Queue = SqliteQueue;

    async fn open(&self) -> SqliteQueue {
        let options = SqliteQueueOptions { partitions: PARTITIONS, ..SqliteQueueOptions::default() };
        SqliteQueue::open(self.0.path().join("queue.db"), options).await.unwrap()
    }

    async fn close(&self, queue: SqliteQueue) {
        queue.close().await;
    }
}

/// A store in a directory of its own.
pub(crate) struct SqliteStoreRig(TempDir);

impl Default for SqliteStoreRig {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl StoreRig for SqliteStoreRig {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.0.path().join("store.db")).await.unwrap()
    }

    async fn close(&self, store: SqliteStore) {
        store.close().await;
    }
}

impl DeliveriesRig for SqliteStoreRig {
    type Deliveries = SqliteStore;

    async fn open_deliveries(&self) -> SqliteStore {
        self.open().await
    }

    async fn close_deliveries(&self, store: SqliteStore) {
        self.close(store).await;
    }
}
