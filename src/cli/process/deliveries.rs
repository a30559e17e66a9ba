//! The deliveries of the store that the settings name.

use crate::account::Timestamp;
use crate::store::{
    Applied, Attempt, Backlog, Claim, Deliveries, DeliveryKey, DeliveryRecord, EndpointState,
    KnownDeliveries, Leased, Mark, NewDelivery, Redelivered, Selection, Settled, StateCount, StoreError,
    Swept, WantedDeliveries,
};

use super::store::AnyStore;

macro_rules! delegated {
    ($store:ident, $call:ident ( $($argument:expr),* )) => {
        match $store {
            AnyStore::Sqlite(store) => store.$call($($argument),*).await,
            AnyStore::Postgres(store) => store.$call($($argument),*).await,
        }
    };
}

impl Deliveries for AnyStore {
    async fn look(&self, wanted: &WantedDeliveries) -> Result<KnownDeliveries, StoreError> {
        delegated!(self, look(wanted))
    }

    async fn record(&self, new: &[NewDelivery], now: Timestamp) -> Result<(), StoreError> {
        delegated!(self, record(new, now))
    }

    async fn claim(
        &self,
        claims: &[Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        delegated!(self, claim(claims, now, until))
    }

    async fn settle(&self, settled: &[Settled], now: Timestamp) -> Result<(), StoreError> {
        delegated!(self, settle(settled, now))
    }

    async fn sweep(
        &self,
        now: Timestamp,
        keep_from: Timestamp,
        limit: usize,
    ) -> Result<Swept, StoreError> {
        delegated!(self, sweep(now, keep_from, limit))
    }

    async fn endpoint_states(&self) -> Result<Vec<EndpointState>, StoreError> {
        delegated!(self, endpoint_states())
    }

    async fn change_endpoint(&self, state: &EndpointState) -> Result<Applied, StoreError> {
        delegated!(self, change_endpoint(state))
    }

    async fn list(
        &self,
        selection: &Selection,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        delegated!(self, list(selection, limit))
    }

    async fn count(&self, selection: &Selection) -> Result<u64, StoreError> {
        delegated!(self, count(selection))
    }

    async fn failed_attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        delegated!(self, failed_attempts(key))
    }

    async fn redeliver(
        &self,
        selection: &Selection,
        mark: Mark,
        limit: usize,
        now: Timestamp,
    ) -> Result<Redelivered, StoreError> {
        delegated!(self, redeliver(selection, mark, limit, now))
    }

    async fn hasten(
        &self,
        selection: &Selection,
        due_after: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        delegated!(self, hasten(selection, due_after, limit, now))
    }

    async fn state_counts(&self) -> Result<Vec<StateCount>, StoreError> {
        delegated!(self, state_counts())
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        delegated!(self, backlog())
    }
}
