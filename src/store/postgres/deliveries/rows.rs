//! What statements about deliveries take, in the order in which they name it.

use std::collections::BTreeSet;

use sqlx::Arguments;
use sqlx::postgres::PgArguments;

use crate::account::{LogPartition, Timestamp};
use crate::store::deliveries::Slice;
use crate::store::stored::{attributes_of, duration_ms, failed_attempt, new_states, state_of, storable};
use crate::store::{
    Attempt, Breaker, Cause, Claim, DeliveryKey, DeliveryState, Ending, EndpointName, EndpointState,
    FrontierStep, GivingUp, Line, NewDelivery, Place, ProcessId, Selection, Settled,
};

use super::super::rows::{Columns, columns, time};
use super::statements;

pub(super) fn keys(keys: &[DeliveryKey]) -> Result<Option<PgArguments>, Cause> {
    columns(keys, |keys, columns| key_columns(keys.iter(), columns))
}

pub(super) fn key(key: &DeliveryKey) -> Result<PgArguments, Cause> {
    let mut arguments = PgArguments::default();
    arguments.add(key.endpoint.as_str())?;
    arguments.add(key.event.0)?;
    Ok(arguments)
}

pub(super) fn lines(lines: &[Line]) -> Result<Option<PgArguments>, Cause> {
    let distinct: Vec<&Line> = lines.iter().collect::<BTreeSet<_>>().into_iter().collect();
    columns(&distinct, |lines, columns| {
        columns.add(lines.iter().map(|line| line.endpoint.as_str()))?;
        columns.add(lines.iter().map(|line| &*line.account))
    })
}

pub(super) fn claims(
    claims: &[Claim],
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<PgArguments>, Cause> {
    let arguments = columns(claims, |claims, columns| {
        columns.add(claims.iter().map(|claim| claim.endpoint.as_str()))?;
        columns.add(claims.iter().map(|claim| storable(claim.limit as u64)))
    })?;
    arguments.map(|arguments| with_times(arguments, [now, until])).transpose()
}

pub(super) fn record(new: &[NewDelivery], now: Timestamp) -> Result<Option<PgArguments>, Cause> {
    let attributes: Vec<String> =
        new.iter().map(|new| attributes_of(&new.event)).collect::<Result<_, _>>()?;
    let data: Vec<&str> =
        new.iter().map(|new| std::str::from_utf8(&new.event.data)).collect::<Result<_, _>>()?;
    let arguments = columns(new, |new, columns| {
        key_columns(new.iter().map(|new| &new.key), columns)?;
        columns.add(new.iter().map(|new| &*new.account))?;
        columns.add(new.iter().map(|new| new.event.source.as_str()))?;
        columns.add(new.iter().map(|new| new.is_ordered))?;
        state_columns(&new_states(new), columns)?;
        columns.add(new.iter().map(|new| integer(new.failures)))?;
        attempt_columns(new.iter().map(|new| new.attempt.as_ref()), columns)?;
        columns.add(attributes.iter().map(String::as_str))?;
        columns.add(data.iter().copied())
    })?;
    arguments.map(|arguments| with_times(arguments, [now])).transpose()
}

/// Generations and partitions.
pub(super) fn logs(logs: &[LogPartition]) -> Result<Option<PgArguments>, Cause> {
    columns(logs, |logs, columns| columns.log_partitions(logs.iter().copied()))
}

pub(super) fn frontiers(steps: &[FrontierStep]) -> Result<Option<PgArguments>, Cause> {
    columns(steps, |steps, columns| {
        columns.log_partitions(steps.iter().map(|step| step.log))?;
        columns.offsets(steps.iter().map(|step| step.next))?;
        columns.add(steps.iter().map(|step| step.stamp.0))?;
        columns.add(steps.iter().map(|step| step.expected.map(|stamp| stamp.0)))
    })
}

pub(super) fn settle(settled: &[Settled], now: Timestamp) -> Result<Option<PgArguments>, Cause> {
    let states: Vec<_> = settled.iter().map(|settled| state_of(settled.ending)).collect();
    let arguments = columns(settled, |settled, columns| {
        key_columns(settled.iter().map(|settled| &settled.key), columns)?;
        columns.add(settled.iter().map(|settled| integer(settled.lease)))?;
        state_columns(&states, columns)?;
        columns.add(settled.iter().map(|settled| integer(settled.failures)))?;
        attempt_columns(settled.iter().map(|settled| settled.attempt.as_ref()), columns)
    })?;
    arguments.map(|arguments| with_times(arguments, [now])).transpose()
}

/// The attempts among them that failed.
pub(super) fn failed_attempts<'a>(
    ended: impl Iterator<Item = (&'a DeliveryKey, Ending, Option<&'a Attempt>)>,
) -> Result<Option<PgArguments>, Cause> {
    let failed: Vec<(&DeliveryKey, &Attempt)> = ended
        .filter_map(|(key, ending, attempt)| Some((key, failed_attempt(ending, attempt)?)))
        .collect();
    columns(&failed, |failed, columns| {
        key_columns(failed.iter().map(|(key, _)| *key), columns)?;
        attempt_columns(failed.iter().map(|(_, attempt)| Some(*attempt)), columns)
    })
}

/// Lines and when what is next in them is due.
pub(super) fn release(lines: &[Line], now: Timestamp) -> Result<Option<PgArguments>, Cause> {
    self::lines(lines)?.map(|arguments| with_times(arguments, [now])).transpose()
}

/// Where a look at lines goes on, and how many it looks at.
pub(super) fn lines_after(after: Option<&Line>, limit: usize) -> Result<PgArguments, Cause> {
    let mut arguments = PgArguments::default();
    arguments.add(after.map_or("", |line| line.endpoint.as_str()))?;
    arguments.add(after.map_or("", |line| &*line.account))?;
    arguments.add(storable(limit as u64))?;
    Ok(arguments)
}

/// An endpoint's deliveries in a state that ended before a time.
pub(super) fn ended(slice: &Slice<'_>, before: Timestamp) -> Result<PgArguments, Cause> {
    let mut arguments = PgArguments::default();
    arguments.add(slice.endpoint.as_str())?;
    arguments.add(slice.state.as_str())?;
    let mut arguments = with_times(arguments, [before])?;
    arguments.add(storable(slice.limit))?;
    Ok(arguments)
}

/// An endpoint's deliveries in a state, counted up to what its state says.
pub(super) fn tally(endpoint: &EndpointName, state: DeliveryState) -> Result<PgArguments, Cause> {
    let mut arguments = PgArguments::default();
    arguments.add(endpoint.as_str())?;
    arguments.add(state.as_str())?;
    arguments.add(storable(state.most_counted()))?;
    Ok(arguments)
}

pub(super) fn attend(
    process: ProcessId,
    now: Timestamp,
    until: Timestamp,
) -> Result<PgArguments, Cause> {
    let mut arguments = PgArguments::default();
    arguments.add(process.0)?;
    with_times(arguments, [now, until])
}

/// Endpoints and times.
pub(super) fn registered(endpoints: &[(EndpointName, Timestamp)]) -> Result<Option<PgArguments>, Cause> {
    columns(endpoints, |endpoints, columns| {
        columns.add(endpoints.iter().map(|(name, _)| name.as_str()))?;
        columns.add(endpoints.iter().map(|(_, since)| time(*since)))
    })
}

pub(super) fn endpoint(state: &EndpointState) -> Result<PgArguments, Cause> {
    let (since, probe_at, probes) = match state.breaker {
        Breaker::Closed => (None, None, 0),
        Breaker::Open { since, probe_at, probes } => (time(since), time(probe_at), probes),
    };
    let mut arguments = PgArguments::default();
    arguments.add(state.name.as_str())?;
    arguments.add(state.availability.as_str())?;
    arguments.add(state.reason.as_str())?;
    arguments.add(since)?;
    arguments.add(probe_at)?;
    arguments.add(integer(probes))?;
    arguments.add(time(state.changed_at))?;
    arguments.add(storable(state.version))?;
    Ok(arguments)
}

/// A selection's values, of one endpoint and of one state or all, and at most how many.
pub(super) fn selection(
    selection: &Selection,
    endpoint: &EndpointName,
    state: Option<DeliveryState>,
    limit: u64,
) -> Result<PgArguments, Cause> {
    let mut arguments = PgArguments::default();
    arguments.add(endpoint.as_str())?;
    arguments.add(state.map(DeliveryState::as_str))?;
    arguments.add(selection.number.as_deref())?;
    arguments.add(selection.event.map(|event| event.0))?;
    arguments.add(selection.from.and_then(time))?;
    arguments.add(selection.to.and_then(time))?;
    arguments.add(storable(limit))?;
    Ok(arguments)
}

fn sliced(slice: &Slice<'_>) -> Result<PgArguments, Cause> {
    selection(slice.selection, slice.endpoint, Some(slice.state), slice.limit)
}

/// The statement that makes deliveries due anew from after a place, and what it takes.
pub(super) fn redeliver(
    slice: &Slice<'_>,
    (began, after): (Timestamp, Place),
    now: Timestamp,
) -> Result<(&'static str, PgArguments), Cause> {
    let mut arguments = with_times(sliced(slice)?, [now])?;
    match after {
        Place::Delivered(since, id) => {
            arguments.add(time(since))?;
            arguments.add(id)?;
            arguments.add(time(began))?;
            Ok((statements::REDELIVER_DELIVERED, arguments))
        }
        Place::Exhausted(id) => {
            arguments.add(id)?;
            Ok((statements::REDELIVER_EXHAUSTED, arguments))
        }
    }
}

pub(super) fn hasten(
    slice: &Slice<'_>,
    due_after: Timestamp,
    now: Timestamp,
) -> Result<PgArguments, Cause> {
    with_times(sliced(slice)?, [now, due_after])
}

pub(super) fn give_up(slice: &Slice<'_>, giving_up: &GivingUp) -> Result<PgArguments, Cause> {
    let mut arguments = with_times(sliced(slice)?, [giving_up.now, giving_up.leases_end])?;
    arguments.add(giving_up.reason.as_str())?;
    Ok(arguments)
}

fn with_times<const N: usize>(
    mut arguments: PgArguments,
    times: [Timestamp; N],
) -> Result<PgArguments, Cause> {
    for at in times {
        arguments.add(time(at))?;
    }
    Ok(arguments)
}

/// Endpoints and events.
fn key_columns<'a>(
    keys: impl Iterator<Item = &'a DeliveryKey> + Clone,
    columns: &mut Columns,
) -> Result<(), Cause> {
    columns.add(keys.clone().map(|key| key.endpoint.as_str()))?;
    columns.add(keys.map(|key| key.event.0))
}

/// States and due times.
fn state_columns(
    states: &[(DeliveryState, Option<Timestamp>)],
    columns: &mut Columns,
) -> Result<(), Cause> {
    columns.add(states.iter().map(|(state, _)| state.as_str()))?;
    columns.add(states.iter().map(|(_, due_at)| due_at.and_then(time)))
}

/// Times, durations, statuses, answers.
fn attempt_columns<'a>(
    attempts: impl Iterator<Item = Option<&'a Attempt>> + Clone,
    columns: &mut Columns,
) -> Result<(), Cause> {
    columns.add(attempts.clone().map(|attempt| attempt.and_then(|attempt| time(attempt.at))))?;
    columns.add(attempts.clone().map(|attempt| attempt.map(duration_ms)))?;
    columns.add(
        attempts.clone().map(|attempt| attempt.and_then(|attempt| attempt.status).map(i32::from)),
    )?;
    columns.add(attempts.map(|attempt| attempt.map(|attempt| attempt.answer.as_str())))
}

/// A count as a signed column holds it. None of ours reaches the end of that range.
fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
