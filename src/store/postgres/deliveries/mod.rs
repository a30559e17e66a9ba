//! The deliveries port on PostgreSQL.

mod housekeeping;
mod operating;
mod rows;
pub mod statements;
mod work;

use crate::account::{LogPartition, Timestamp};
use crate::store::decode_delivery as decode;
use crate::store::deliveries::{GiveUp, Hasten, Redeliver, RemoveEnded, backlogs, newest, state_counts};
use crate::store::{
    Attempt, Attendance, Backlog, Changed, Claim, Counted, Deliveries, DeliveryKey, DeliveryRecord,
    DeliveryState, EndpointName, EndpointState, FrontierStep, GivingUp, KnownDeliveries, Leased, Line,
    Mark, NewDelivery, ProcessId, Redelivered, Released, Selection, Settled, StateCount, StoreError,
    WantedDeliveries,
};

use super::work::Read;
use super::{PostgresStore, encoding_error};
use housekeeping::ReleaseStranded;
use operating::{Count, List, Operating, Tallies};
use work::{Attend, Change, ClaimDue, Look, Record, Register, Settle};

impl Deliveries for PostgresStore {
    async fn look(&self, wanted: &WantedDeliveries) -> Result<KnownDeliveries, StoreError> {
        let keys = rows::keys(&wanted.keys).map_err(encoding_error::<Look>)?;
        let lines = rows::lines(&wanted.lines).map_err(encoding_error::<Look>)?;
        let logs = rows::logs(&wanted.logs).map_err(encoding_error::<Look>)?;
        if keys.is_none() && lines.is_none() && logs.is_none() {
            return Ok(KnownDeliveries::default());
        }
        self.sessions.run(Look { keys, lines, logs }).await
    }

    async fn record(
        &self,
        new: &[NewDelivery],
        frontiers: &[FrontierStep],
        now: Timestamp,
    ) -> Result<Vec<LogPartition>, StoreError> {
        match Record::of(new, frontiers, now).map_err(encoding_error::<Record>)? {
            Some(work) => self.sessions.run(work).await,
            None => Ok(Vec::new()),
        }
    }

    async fn claim(
        &self,
        claims: &[Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        match rows::claims(claims, now, until).map_err(encoding_error::<ClaimDue>)? {
            Some(arguments) => self.sessions.run(ClaimDue(arguments)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn settle(&self, settled: &[Settled], now: Timestamp) -> Result<(), StoreError> {
        match Settle::of(settled, now).map_err(encoding_error::<Settle>)? {
            Some(work) => self.sessions.run(work).await,
            None => Ok(()),
        }
    }

    async fn remove_ended(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.sessions.run(RemoveEnded { before, limit }).await
    }

    async fn give_up(
        &self,
        selection: &Selection,
        giving_up: &GivingUp,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let (selection, giving_up) = (selection.clone(), giving_up.clone());
        self.sessions.run(GiveUp { selection, giving_up, limit }).await
    }

    async fn release_stranded(
        &self,
        after: Option<&Line>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Released, StoreError> {
        self.sessions.run(ReleaseStranded { after: after.cloned(), limit, now }).await
    }

    async fn attend(
        &self,
        process: ProcessId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Attendance, StoreError> {
        let arguments = rows::attend(process, now, until).map_err(encoding_error::<Attend>)?;
        self.sessions.run(Attend(arguments)).await
    }

    async fn register(&self, endpoints: &[(EndpointName, Timestamp)]) -> Result<(), StoreError> {
        match rows::registered(endpoints).map_err(encoding_error::<Register>)? {
            Some(arguments) => self.sessions.run(Register(arguments)).await,
            None => Ok(()),
        }
    }

    async fn endpoint_states(&self) -> Result<Vec<EndpointState>, StoreError> {
        let read = Read::<Operating, _>::of(statements::ENDPOINTS, decode::endpoint_state, |_| Ok(()));
        self.sessions.run(read?).await
    }

    async fn change_endpoint(&self, state: &EndpointState) -> Result<Changed, StoreError> {
        let arguments = rows::endpoint(state).map_err(encoding_error::<Change>)?;
        self.sessions.run(Change(arguments)).await
    }

    async fn list(
        &self,
        selection: &Selection,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let listed = self.sessions.run(List { selection: selection.clone(), limit }).await?;
        Ok(newest(listed, limit))
    }

    async fn count(&self, selection: &Selection, limit: Option<u64>) -> Result<Counted, StoreError> {
        self.sessions.run(Count { selection: selection.clone(), limit }).await
    }

    async fn failed_attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        type Attempts = Read<Operating, Attempt>;
        let arguments = rows::key(key).map_err(encoding_error::<Attempts>)?;
        self.sessions
            .run(Attempts::with(statements::FAILED_ATTEMPTS, decode::failed_attempt, arguments))
            .await
    }

    async fn redeliver(
        &self,
        selection: &Selection,
        mark: Mark,
        limit: usize,
        now: Timestamp,
    ) -> Result<Redelivered, StoreError> {
        let selection = selection.clone();
        self.sessions.run(Redeliver { selection, mark, limit, now }).await
    }

    async fn hasten(
        &self,
        selection: &Selection,
        due_after: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let selection = selection.clone();
        self.sessions.run(Hasten { selection, due_after, limit, now }).await
    }

    async fn state_counts(&self) -> Result<Vec<StateCount>, StoreError> {
        self.sessions.run(Tallies(&DeliveryState::ALL)).await.map(state_counts)
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.sessions.run(Tallies(&DeliveryState::LIVE)).await.map(backlogs)
    }
}
