//! What implementations find endpoint by endpoint and state by state, put together: each is a range of its own
//! in an index, so that no question reads more than it is about.

use std::cmp::Reverse;

use crate::account::Timestamp;
use crate::store::EndpointName;

use super::{Backlog, Counted, DeliveryRecord, DeliveryState, StateCount};

/// A delivery, and what sorts it: since when it has been in its state, and its id.
pub(in crate::store) type Listed = ((Timestamp, i64), DeliveryRecord);

/// What the deliveries of one endpoint in one state come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Tally {
    /// How many were counted.
    pub(in crate::store) count: u64,
    /// Since when the oldest has been in it, if they are parked or wait.
    pub(in crate::store) oldest_at: Option<Timestamp>,
    /// When the first is due, if they are parked.
    pub(in crate::store) due_at: Option<Timestamp>,
}

/// The first of all that was listed, the newest first.
pub(in crate::store) fn newest(mut listed: Vec<Listed>, limit: usize) -> Vec<DeliveryRecord> {
    listed.sort_by_key(|(place, _)| Reverse(*place));
    listed.into_iter().take(limit).map(|(_, record)| record).collect()
}

/// Tallies as operators see them.
pub(in crate::store) fn state_counts(
    tallies: Vec<(EndpointName, DeliveryState, Tally)>,
) -> Vec<StateCount> {
    let state_count = |(endpoint, state, tally): (EndpointName, DeliveryState, Tally)| StateCount {
        endpoint,
        state,
        count: Counted::up_to(state.most_counted(), tally.count),
        oldest_at: tally.oldest_at,
        due_at: tally.due_at,
    };
    tallies.into_iter().map(state_count).collect()
}

/// Tallies of what is parked or waits, by endpoint; those of an endpoint stand together.
pub(in crate::store) fn backlogs(tallies: Vec<(EndpointName, DeliveryState, Tally)>) -> Vec<Backlog> {
    let mut backlogs: Vec<Backlog> = Vec::new();
    for StateCount { endpoint, count, oldest_at, .. } in state_counts(tallies) {
        let Some(oldest_at) = oldest_at else { continue };
        match backlogs.last_mut() {
            Some(backlog) if backlog.endpoint == endpoint => {
                backlog.count = backlog.count.and(count);
                backlog.oldest_at = backlog.oldest_at.min(oldest_at);
            }
            _ => backlogs.push(Backlog { endpoint, count, oldest_at }),
        }
    }
    backlogs
}
