//! Deliveries as operators select and see them.

use crate::account::{EventId, Timestamp};

use super::{Attempt, DeliveryKey, DeliveryState};
use crate::store::EndpointName;

/// Which deliveries an operator means: those for which all that is set holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The endpoint.
    pub endpoint: Option<EndpointName>,
    /// The state.
    pub state: Option<DeliveryState>,
    /// The communication's number.
    pub number: Option<String>,
    /// The event.
    pub event: Option<EventId>,
    /// Recorded at or after.
    pub from: Option<Timestamp>,
    /// Recorded before.
    pub to: Option<Timestamp>,
}

/// A delivery as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// What it is.
    pub key: DeliveryKey,
    /// The communication's number.
    pub number: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it was recorded first.
    pub recorded_at: Timestamp,
    /// When it is due, if it is parked; when a lease is on it, the lease's end.
    pub due_at: Option<Timestamp>,
    /// Attempts so far.
    pub attempts: u32,
    /// The last attempt.
    pub last_attempt: Option<Attempt>,
}

/// What is parked for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Deliveries that are parked or wait.
    pub count: u64,
    /// When the oldest of them was recorded.
    pub oldest_at: Timestamp,
}

/// Deliveries of one endpoint that are in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCount {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The state.
    pub state: DeliveryState,
    /// How many there are.
    pub count: u64,
    /// When the first of them is due, if they are parked; when a lease is on it, the lease's end.
    pub due_at: Option<Timestamp>,
}

/// How far a redelivery has come: everything recorded up to there is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(in crate::store) i64);

impl Mark {
    /// Before everything.
    pub const START: Self = Self(0);

    /// The mark of the delivery that was recorded as this number, counted up from 1.
    pub fn of(number: i64) -> Self {
        Self(number)
    }
}

/// What one call made due anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redelivered {
    /// How many deliveries.
    pub count: u64,
    /// Where to go on: nothing up to there is selected again.
    pub mark: Mark,
}
