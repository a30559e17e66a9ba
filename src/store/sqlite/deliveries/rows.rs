//! What statements about deliveries take, as JSON arrays in the order in which they name it.

use std::collections::BTreeSet;

use crate::account::{EventId, LogPartition, Timestamp};
use crate::store::stored::{attributes_of, duration_ms, failed_attempt, new_states, state_of, storable};
use crate::store::{
    Attempt, Cause, DeliveryKey, DeliveryState, Ending, EndpointName, FrontierStep, Line, NewDelivery,
    Settled, Stamp,
};

use super::super::rows::Rows;

pub(super) fn keys(keys: &[DeliveryKey]) -> Result<Rows, Cause> {
    let rows: Vec<_> = keys.iter().map(key_of).collect();
    Ok(Rows::of(&rows)?)
}

pub(super) fn lines(lines: &[Line]) -> Result<Rows, Cause> {
    let distinct: BTreeSet<&Line> = lines.iter().collect();
    let rows: Vec<_> =
        distinct.into_iter().map(|line| (line.endpoint.as_str(), &*line.account)).collect();
    Ok(Rows::of(&rows)?)
}

pub(super) fn record(new: &[NewDelivery]) -> Result<Rows, Cause> {
    let row = |(new, state): (&NewDelivery, (DeliveryState, Option<Timestamp>))| {
        let (endpoint, event) = key_of(&new.key);
        let (state, due_at) = columns_of(state);
        let (at, duration, status, answer) = attempt_of(new.attempt.as_ref());
        let attributes = attributes_of(&new.event)?;
        let data = std::str::from_utf8(&new.event.data)?.to_owned();
        Ok::<_, Cause>((
            (endpoint.to_owned(), event, new.account.to_string(), new.event.source.clone()),
            (new.is_ordered, state, due_at, new.failures),
            (at, duration, status, answer.map(str::to_owned)),
            (attributes, data),
        ))
    };
    let rows = new.iter().zip(new_states(new)).map(row).collect::<Result<Vec<_>, _>>()?;
    let flat: Vec<_> = rows
        .iter()
        .map(|(key, state, attempt, event)| {
            (
                &key.0, &key.1, &key.2, &key.3, state.0, state.1, state.2, state.3, attempt.0,
                attempt.1, attempt.2, &attempt.3, &event.0, &event.1,
            )
        })
        .collect();
    Ok(Rows::of(&flat)?)
}

/// `[generation, partition]`
pub(super) fn logs(logs: &[LogPartition]) -> Result<Rows, Cause> {
    let rows: Vec<_> = logs.iter().map(|log| (log.generation.0, log.partition.0)).collect();
    Ok(Rows::of(&rows)?)
}

pub(super) fn frontiers(steps: &[FrontierStep]) -> Result<Rows, Cause> {
    let row = |step: &FrontierStep| {
        let FrontierStep { log, next, stamp, expected } = *step;
        let hex = |stamp: Stamp| stamp.0.simple().to_string();
        (log.generation.0, log.partition.0, storable(next.0), hex(stamp), expected.map(hex))
    };
    let rows: Vec<_> = steps.iter().map(row).collect();
    Ok(Rows::of(&rows)?)
}

/// `[name, since]`
pub(super) fn registered(endpoints: &[(EndpointName, Timestamp)]) -> Result<Rows, Cause> {
    let row = |(name, since): &(EndpointName, Timestamp)| (name.to_string(), since.unix_millis());
    Ok(Rows::of(&endpoints.iter().map(row).collect::<Vec<_>>())?)
}

pub(super) fn settle(settled: &[Settled]) -> Result<Rows, Cause> {
    let row = |settled: &Settled| {
        let (endpoint, event) = key_of(&settled.key);
        let (state, due_at) = columns_of(state_of(settled.ending));
        let (at, duration, status, answer) = attempt_of(settled.attempt.as_ref());
        let answer = answer.map(str::to_owned);
        let endpoint = endpoint.to_owned();
        (endpoint, event, settled.lease, state, due_at, settled.failures, at, duration, status, answer)
    };
    let rows: Vec<_> = settled.iter().map(row).collect();
    Ok(Rows::of(&rows)?)
}

/// The attempts among them that failed.
pub(super) fn failed_attempts<'a>(
    ended: impl Iterator<Item = (&'a DeliveryKey, Ending, Option<&'a Attempt>)>,
) -> Result<Rows, Cause> {
    let rows: Vec<_> = ended
        .filter_map(|(key, ending, attempt)| Some((key, failed_attempt(ending, attempt)?)))
        .map(|(key, attempt)| {
            let (endpoint, event) = key_of(key);
            let (at, duration, status, answer) = attempt_of(Some(attempt));
            (endpoint, event, at, duration, status, answer)
        })
        .collect();
    Ok(Rows::of(&rows)?)
}

fn key_of(key: &DeliveryKey) -> (&str, String) {
    (key.endpoint.as_str(), hex(key.event))
}

fn hex(event: EventId) -> String {
    event.0.simple().to_string()
}

fn columns_of((state, due_at): (DeliveryState, Option<Timestamp>)) -> (&'static str, Option<i64>) {
    (state.as_str(), due_at.map(Timestamp::unix_millis))
}

type AttemptColumns<'a> = (Option<i64>, Option<i64>, Option<u16>, Option<&'a str>);

fn attempt_of(attempt: Option<&Attempt>) -> AttemptColumns<'_> {
    let Some(attempt) = attempt else { return (None, None, None, None) };
    let (at, duration) = (attempt.at.unix_millis(), duration_ms(attempt));
    (Some(at), Some(duration), attempt.status, Some(&attempt.answer))
}
