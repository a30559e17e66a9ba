//! The deliveries of the store that the settings name.

use crate::account::{LogPartition, Timestamp};
use crate::store::{
    Attempt, Attendance, Backlog, Changed, Claim, Counted, Deliveries, DeliveryKey, DeliveryRecord,
    EndpointName, EndpointState, FrontierStep, GivingUp, KnownDeliveries, Leased, Line, Mark,
    NewDelivery, ProcessId, Redelivered, Released, Selection, Settled, StateCount, StoreError,
    WantedDeliveries,
};

use super::store::{AnyStore, forwarded};

impl Deliveries for AnyStore {
    forwarded! {
        async fn look(&self, wanted: &WantedDeliveries) -> Result<KnownDeliveries, StoreError>;
        async fn record(
            &self,
            new: &[NewDelivery],
            frontiers: &[FrontierStep],
            now: Timestamp,
        ) -> Result<Vec<LogPartition>, StoreError>;
        async fn claim(
            &self,
            claims: &[Claim],
            now: Timestamp,
            until: Timestamp,
        ) -> Result<Vec<Leased>, StoreError>;
        async fn settle(&self, settled: &[Settled], now: Timestamp) -> Result<(), StoreError>;
        async fn remove_ended(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError>;
        async fn give_up(
            &self,
            selection: &Selection,
            giving_up: &GivingUp,
            limit: usize,
        ) -> Result<u64, StoreError>;
        async fn release_stranded(
            &self,
            after: Option<&Line>,
            limit: usize,
            now: Timestamp,
        ) -> Result<Released, StoreError>;
        async fn attend(
            &self,
            process: ProcessId,
            now: Timestamp,
            until: Timestamp,
        ) -> Result<Attendance, StoreError>;
        async fn register(&self, endpoints: &[(EndpointName, Timestamp)]) -> Result<(), StoreError>;
        async fn endpoint_states(&self) -> Result<Vec<EndpointState>, StoreError>;
        async fn change_endpoint(&self, state: &EndpointState) -> Result<Changed, StoreError>;
        async fn list(
            &self,
            selection: &Selection,
            limit: usize,
        ) -> Result<Vec<DeliveryRecord>, StoreError>;
        async fn count(&self, selection: &Selection, limit: Option<u64>) -> Result<Counted, StoreError>;
        async fn failed_attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, StoreError>;
        async fn redeliver(
            &self,
            selection: &Selection,
            mark: Mark,
            limit: usize,
            now: Timestamp,
        ) -> Result<Redelivered, StoreError>;
        async fn hasten(
            &self,
            selection: &Selection,
            due_after: Timestamp,
            limit: usize,
            now: Timestamp,
        ) -> Result<u64, StoreError>;
        async fn state_counts(&self) -> Result<Vec<StateCount>, StoreError>;
        async fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;
    }
}
