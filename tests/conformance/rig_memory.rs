//! The ports the lane's tests run over: what they prove counts only if these keep the promises too.

use crate::memory::deliveries::MemoryDeliveries;
use crate::memory::queue::MemoryQueue;
use crate::memory::store::MemoryStore;

use super::deliveries::DeliveriesRig;
use super::rig::{PARTITIONS, QueueRig};
use super::store::StoreRig;

/// A queue that outlives its handles.
pub(crate) struct MemoryQueueRig(MemoryQueue);

impl Default for MemoryQueueRig {
    fn default() -> Self {
        Self(MemoryQueue::new(PARTITIONS))
    }
}

impl QueueRig for MemoryQueueRig {
    type Queue = MemoryQueue;

    async fn open(&self) -> MemoryQueue {
        self.0.new_handle()
    }

    async fn close(&self, queue: MemoryQueue) {
        queue.crash();
    }
}

/// A store that outlives its handles.
#[derive(Default)]
pub(crate) struct MemoryStoreRig(MemoryStore);

impl StoreRig for MemoryStoreRig {
    type Store = MemoryStore;

    async fn open(&self) -> MemoryStore {
        self.0.clone()
    }

    async fn close(&self, store: MemoryStore) {
        drop(store);
    }
}

/// Deliveries that outlive their handles.
#[derive(Default)]
pub(crate) struct MemoryDeliveriesRig(MemoryDeliveries);

impl DeliveriesRig for MemoryDeliveriesRig {
    type Deliveries = MemoryDeliveries;

    async fn open_deliveries(&self) -> MemoryDeliveries {
        self.0.clone()
    }

    async fn close_deliveries(&self, deliveries: MemoryDeliveries) {
        drop(deliveries);
    }
}
