//! Stored deliveries as typed data.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{Generation, LogPartition, Timestamp};

use super::decode::{Decoded, StoredRow, event_id, offset, unreadable};
use super::deliveries::{Listed, Tally};
use super::stored::event_of;
use super::{
    Attempt, Availability, Breaker, DeliveryKey, DeliveryRecord, DeliveryState, EndpointName,
    EndpointState, Leased, Line, Place, RecordedFrontier, RecordedFrontiers, Stamp,
};

pub(super) fn key(row: &impl StoredRow) -> Decoded<DeliveryKey> {
    let event = event_id(row)?.ok_or_else(|| unreadable("event_id"))?;
    Ok(DeliveryKey { endpoint: name(row, "endpoint")?, event })
}

pub(super) fn line(row: &impl StoredRow) -> Decoded<Line> {
    Ok(Line { endpoint: name(row, "endpoint")?, account: row.text("account")?.into() })
}

pub(super) use super::decode::log_partition;

pub(super) fn recorded_frontier(row: &impl StoredRow) -> Decoded<(LogPartition, RecordedFrontier)> {
    let stamp = row.uuid("stamp")?.ok_or_else(|| unreadable("stamp"))?;
    let frontier = RecordedFrontier { next: offset(row, "next_offset")?, stamp: Stamp(stamp) };
    Ok((log_partition(row)?, frontier))
}

/// Generation 0 stands for the deliveries from before there were frontiers.
pub(super) fn recorded_frontiers(rows: Vec<(LogPartition, RecordedFrontier)>) -> RecordedFrontiers {
    let (known, before): (HashMap<_, _>, HashMap<_, _>) =
        rows.into_iter().partition(|(log, _)| log.generation != Generation(0));
    RecordedFrontiers { known, is_upgraded: !before.is_empty() }
}

pub(super) fn processes(row: &impl StoredRow) -> Decoded<u64> {
    unsigned(row, "processes")
}

pub(super) fn leased(row: &impl StoredRow) -> Decoded<Leased> {
    let event = event_of(row.text("attributes")?, row.text("data")?.to_owned());
    Ok(Leased {
        key: key(row)?,
        account: row.text("account")?.into(),
        event: Arc::new(event.ok_or_else(|| unreadable("attributes"))?),
        lease: row.number("lease")?,
        failures: row.number("failures")?,
        recorded_at: time(row, "recorded_at")?,
    })
}

pub(super) fn endpoint_state(row: &impl StoredRow) -> Decoded<EndpointState> {
    let breaker = match (row.optional_time("open_since")?, row.optional_time("probe_at")?) {
        (Some(since), Some(probe_at)) => {
            Breaker::Open { since, probe_at, probes: row.number("probes")? }
        }
        _ => Breaker::Closed,
    };
    let availability = Availability::parse(row.text("availability")?);
    Ok(EndpointState {
        name: name(row, "name")?,
        availability: availability.ok_or_else(|| unreadable("availability"))?,
        reason: row.text("reason")?.to_owned(),
        breaker,
        changed_at: time(row, "changed_at")?,
        version: unsigned(row, "version")?,
        known_since: row.optional_time("known_since")?,
    })
}

/// A delivery, and what sorts it: since when it has been in its state, and its id.
pub(super) fn listed(row: &impl StoredRow) -> Decoded<Listed> {
    Ok(((time(row, "since")?, row.offset("id")?), record(row)?))
}

fn record(row: &impl StoredRow) -> Decoded<DeliveryRecord> {
    let state = state(row)?;
    let due_at = row.optional_time("due_at")?.filter(|_| state == DeliveryState::Parked);
    Ok(DeliveryRecord {
        key: key(row)?,
        number: row.text("number")?.to_owned(),
        state,
        recorded_at: time(row, "recorded_at")?,
        since: time(row, "since")?,
        reason: row.optional_text("reason")?.map(str::to_owned),
        due_at,
        attempts: row.number("attempts")?,
        last_attempt: attempt(row)?,
    })
}

pub(super) fn failed_attempt(row: &impl StoredRow) -> Decoded<Attempt> {
    attempt(row)?.ok_or_else(|| unreadable("attempted_at"))
}

pub(super) fn count(row: &impl StoredRow) -> Decoded<u64> {
    unsigned(row, "count")
}

pub(super) fn endpoint(row: &impl StoredRow) -> Decoded<EndpointName> {
    name(row, "endpoint")
}

/// What one endpoint and state come to, unless there is nothing of it.
pub(super) fn tally(row: &impl StoredRow) -> Decoded<Option<Tally>> {
    let (oldest_at, due_at) = (row.optional_time("oldest_at")?, row.optional_time("due_at")?);
    let tally = Tally { count: count(row)?, oldest_at, due_at };
    Ok(Some(tally).filter(|tally| tally.count > 0))
}

/// The place of what had ended in a state, and the line that goes on.
pub(super) fn redelivered(row: &impl StoredRow, state: DeliveryState) -> Decoded<(Place, Line)> {
    let place = Place::of(state, time(row, "since")?, row.offset("id")?);
    Ok((place.ok_or_else(|| unreadable("state"))?, line(row)?))
}

/// A line that was looked at, and whether something in it waits behind nothing.
pub(super) fn looked_at(row: &impl StoredRow) -> Decoded<(Line, bool)> {
    Ok((line(row)?, row.flag("is_stranded")?))
}

pub(super) fn state(row: &impl StoredRow) -> Decoded<DeliveryState> {
    DeliveryState::parse(row.text("state")?).ok_or_else(|| unreadable("state"))
}

fn attempt(row: &impl StoredRow) -> Decoded<Option<Attempt>> {
    let Some(at) = row.optional_time("attempted_at")? else { return Ok(None) };
    let status = row.optional_number("status")?.map(u16::try_from).transpose();
    Ok(Some(Attempt {
        at,
        duration: Duration::from_millis(unsigned(row, "duration_ms")?),
        status: status.map_err(|_| unreadable("status"))?,
        answer: row.text("answer")?.to_owned(),
    }))
}

fn name(row: &impl StoredRow, column: &'static str) -> Decoded<EndpointName> {
    EndpointName::parse(row.text(column)?).map_err(|_| unreadable(column))
}

pub(super) fn time(row: &impl StoredRow, column: &'static str) -> Decoded<Timestamp> {
    row.optional_time(column)?.ok_or_else(|| unreadable(column))
}

fn unsigned(row: &impl StoredRow, column: &'static str) -> Decoded<u64> {
    u64::try_from(row.offset(column)?).map_err(|_| unreadable(column))
}
