//! The deliveries port on `SQLite`.

mod housekeeping;
mod operating;
mod rows;
pub mod statements;
mod writes;

use sqlx::SqlitePool;

use crate::account::{LogPartition, Timestamp};
use crate::store::decode_delivery as decode;
use crate::store::deliveries::{GiveUp, Hasten, Redeliver, RemoveEnded, backlogs, newest, state_counts};
use crate::store::{
    Attempt, Attendance, Backlog, Cause, Changed, Claim, Counted, Deliveries, DeliveryKey,
    DeliveryRecord, DeliveryState, EndpointName, EndpointState, FrontierStep, GivingUp, KnownDeliveries,
    Leased, Line, Mark, NewDelivery, ProcessId, Redelivered, Released, Selection, Settled, StateCount,
    StoreError, WantedDeliveries,
};

use super::{SqliteStore, uncancelled};
use housekeeping::ReleaseStranded;
use writes::{Attend, Change, ClaimDue, Record, Register, Settle};

impl Deliveries for SqliteStore {
    async fn look(&self, wanted: &WantedDeliveries) -> Result<KnownDeliveries, StoreError> {
        let action = "looking up deliveries";
        let keys = rows::keys(&wanted.keys).map_err(|cause| unfit(action, cause))?;
        let lines = rows::lines(&wanted.lines).map_err(|cause| unfit(action, cause))?;
        let logs = rows::logs(&wanted.logs).map_err(|cause| unfit(action, cause))?;
        let readers = self.readers.clone();
        uncancelled(action, async move { look(&readers, &keys, &lines, &logs).await }).await
    }

    async fn record(
        &self,
        new: &[NewDelivery],
        frontiers: &[FrontierStep],
        now: Timestamp,
    ) -> Result<Vec<LogPartition>, StoreError> {
        let action = "recording deliveries";
        match Record::of(new, frontiers, now).map_err(|cause| unfit(action, cause))? {
            Some(record) => self.run(action, record).await,
            None => Ok(Vec::new()),
        }
    }

    async fn claim(
        &self,
        claims: &[Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        self.run("claiming deliveries", ClaimDue { claims: claims.to_vec(), now, until }).await
    }

    async fn settle(&self, settled: &[Settled], now: Timestamp) -> Result<(), StoreError> {
        let action = "settling deliveries";
        match Settle::of(settled, now).map_err(|cause| unfit(action, cause))? {
            Some(settle) => self.run(action, settle).await,
            None => Ok(()),
        }
    }

    async fn remove_ended(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.run("removing deliveries", RemoveEnded { before, limit }).await
    }

    async fn give_up(
        &self,
        selection: &Selection,
        giving_up: &GivingUp,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let (selection, giving_up) = (selection.clone(), giving_up.clone());
        self.run("giving deliveries up", GiveUp { selection, giving_up, limit }).await
    }

    async fn release_stranded(
        &self,
        after: Option<&Line>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Released, StoreError> {
        self.run("releasing deliveries", ReleaseStranded { after: after.cloned(), limit, now }).await
    }

    async fn attend(
        &self,
        process: ProcessId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Attendance, StoreError> {
        self.run("reporting a process", Attend { process, now, until }).await
    }

    async fn register(&self, endpoints: &[(EndpointName, Timestamp)]) -> Result<(), StoreError> {
        let action = "registering endpoints";
        let registered = rows::registered(endpoints).map_err(|cause| unfit(action, cause))?;
        if registered.count == 0 {
            return Ok(());
        }
        self.run(action, Register(registered)).await
    }

    async fn endpoint_states(&self) -> Result<Vec<EndpointState>, StoreError> {
        self.rows(sqlx::query(statements::ENDPOINTS), decode::endpoint_state).await
    }

    async fn change_endpoint(&self, state: &EndpointState) -> Result<Changed, StoreError> {
        self.run("changing an endpoint's state", Change(state.clone())).await
    }

    async fn list(
        &self,
        selection: &Selection,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let list = operating::list(self.readers.clone(), selection.clone(), limit);
        uncancelled("listing deliveries", list).await.map(|listed| newest(listed, limit))
    }

    async fn count(&self, selection: &Selection, limit: Option<u64>) -> Result<Counted, StoreError> {
        let count = operating::count(self.readers.clone(), selection.clone(), limit);
        uncancelled("counting deliveries", count).await
    }

    async fn failed_attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        let statement = sqlx::query(statements::FAILED_ATTEMPTS)
            .bind(key.endpoint.as_str().to_owned())
            .bind(key.event.0.as_bytes().to_vec());
        self.rows(statement, decode::failed_attempt).await
    }

    async fn redeliver(
        &self,
        selection: &Selection,
        mark: Mark,
        limit: usize,
        now: Timestamp,
    ) -> Result<Redelivered, StoreError> {
        let redeliver = Redeliver { selection: selection.clone(), mark, limit, now };
        self.run("making deliveries due again", redeliver).await
    }

    async fn hasten(
        &self,
        selection: &Selection,
        due_after: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let hasten = Hasten { selection: selection.clone(), due_after, limit, now };
        self.run("making deliveries due earlier", hasten).await
    }

    async fn state_counts(&self) -> Result<Vec<StateCount>, StoreError> {
        let tallies = operating::tallies(self.readers.clone(), &DeliveryState::ALL);
        uncancelled("counting deliveries", tallies).await.map(state_counts)
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        let tallies = operating::tallies(self.readers.clone(), &DeliveryState::LIVE);
        uncancelled("counting deliveries", tallies).await.map(backlogs)
    }
}

async fn look(
    readers: &SqlitePool,
    keys: &super::rows::Rows,
    lines: &super::rows::Rows,
    logs: &super::rows::Rows,
) -> Result<KnownDeliveries, sqlx::Error> {
    let mut known = KnownDeliveries::default();
    let mut snapshot = readers.begin().await?;
    if keys.count > 0 {
        let rows = sqlx::query(statements::LOOK_KEYS)
            .bind(keys.json.as_str())
            .fetch_all(&mut *snapshot)
            .await?;
        known.recorded = rows.iter().map(decode::key).collect::<Result<_, _>>()?;
    }
    if lines.count > 0 {
        let rows = sqlx::query(statements::LOOK_LINES)
            .bind(lines.json.as_str())
            .fetch_all(&mut *snapshot)
            .await?;
        known.held = rows.iter().map(decode::line).collect::<Result<_, _>>()?;
    }
    if logs.count > 0 {
        let rows = sqlx::query(statements::FRONTIERS)
            .bind(logs.json.as_str())
            .fetch_all(&mut *snapshot)
            .await?;
        let rows = rows.iter().map(decode::recorded_frontier).collect::<Result<_, _>>()?;
        known.frontiers = decode::recorded_frontiers(rows);
    }
    snapshot.commit().await?;
    Ok(known)
}

fn unfit(action: &'static str, cause: Cause) -> StoreError {
    StoreError::Poison { action, cause }
}
