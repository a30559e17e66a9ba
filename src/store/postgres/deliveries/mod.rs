//! The deliveries port on PostgreSQL.

mod rows;
pub mod statements;
mod work;

use crate::account::Timestamp;
use crate::store::decode_delivery as decode;
use crate::store::{
    Applied, Attempt, Backlog, Claim, Deliveries, DeliveryKey, DeliveryRecord, EndpointState,
    KnownDeliveries, Leased, Mark, NewDelivery, Redelivered, Selection, Settled, StateCount, StoreError,
    Swept, WantedDeliveries,
};

use super::connections::Work;
use super::{PostgresStore, encoding_error};
use work::{Change, ClaimDue, Hasten, Look, Read, Record, Redeliver, Settle, Sweep};

impl Deliveries for PostgresStore {
    async fn look(&self, wanted: &WantedDeliveries) -> Result<KnownDeliveries, StoreError> {
        let keys = rows::keys(&wanted.keys).map_err(encoding_error::<Look>)?;
        let lines = rows::lines(&wanted.lines).map_err(encoding_error::<Look>)?;
        if keys.is_none() && lines.is_none() {
            return Ok(KnownDeliveries::default());
        }
        self.0.run(Look { keys, lines }).await
    }

    async fn record(&self, new: &[NewDelivery], now: Timestamp) -> Result<(), StoreError> {
        match Record::of(new, now).map_err(encoding_error::<Record>)? {
            Some(work) => self.0.run(work).await,
            None => Ok(()),
        }
    }

    async fn claim(
        &self,
        claims: &[Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        match rows::claims(claims, now, until).map_err(encoding_error::<ClaimDue>)? {
            Some(arguments) => self.0.run(ClaimDue(arguments)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn settle(&self, settled: &[Settled], now: Timestamp) -> Result<(), StoreError> {
        match Settle::of(settled, now).map_err(encoding_error::<Settle>)? {
            Some(work) => self.0.run(work).await,
            None => Ok(()),
        }
    }

    async fn sweep(
        &self,
        now: Timestamp,
        keep_from: Timestamp,
        limit: usize,
    ) -> Result<Swept, StoreError> {
        let remove = rows::bounded(keep_from, limit).map_err(encoding_error::<Sweep>)?;
        let release = rows::bounded(now, limit).map_err(encoding_error::<Sweep>)?;
        self.0.run(Sweep { remove, release }).await
    }

    async fn endpoint_states(&self) -> Result<Vec<EndpointState>, StoreError> {
        let read = Read::all(statements::ENDPOINTS, decode::endpoint_state);
        self.0.run(read).await
    }

    async fn change_endpoint(&self, state: &EndpointState) -> Result<Applied, StoreError> {
        let arguments = rows::endpoint(state).map_err(encoding_error::<Change>)?;
        self.0.run(Change(arguments)).await
    }

    async fn list(
        &self,
        selection: &Selection,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let arguments = rows::selection_of(selection, limit).map_err(read_error)?;
        self.0.run(Read::some(statements::LIST, arguments, decode::record)).await
    }

    async fn count(&self, selection: &Selection) -> Result<u64, StoreError> {
        let arguments = rows::selection(selection).map_err(read_error)?;
        let counts = self.0.run(Read::some(statements::COUNT, arguments, decode::count)).await?;
        Ok(counts.into_iter().sum())
    }

    async fn failed_attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        let arguments = rows::key(key).map_err(read_error)?;
        self.0.run(Read::some(statements::FAILED_ATTEMPTS, arguments, decode::failed_attempt)).await
    }

    async fn redeliver(
        &self,
        selection: &Selection,
        mark: Mark,
        limit: usize,
        now: Timestamp,
    ) -> Result<Redelivered, StoreError> {
        let arguments =
            rows::redeliver(selection, mark, limit, now).map_err(encoding_error::<Redeliver>)?;
        self.0.run(Redeliver { arguments, mark, now }).await
    }

    async fn hasten(
        &self,
        selection: &Selection,
        due_after: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let arguments =
            rows::hasten(selection, due_after, limit, now).map_err(encoding_error::<Hasten>)?;
        self.0.run(Hasten(arguments)).await
    }

    async fn state_counts(&self) -> Result<Vec<StateCount>, StoreError> {
        self.0.run(Read::all(statements::STATE_COUNTS, decode::state_count)).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.0.run(Read::all(statements::BACKLOG, decode::backlog)).await
    }
}

fn read_error(cause: crate::store::Cause) -> StoreError {
    StoreError::Poison { action: <Read<()> as Work>::ACTION, cause }
}
