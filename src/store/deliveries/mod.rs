//! The deliveries port: which event was brought to which endpoint, what is to be tried again, and what
//! is known of the endpoints.
//!
//! An implementation promises, and the conformance suite checks: there is at most one delivery for an
//! event and an endpoint; one that is due is leased to at most one holder at a time, and a holder whose
//! lease has passed to another changes nothing; of the deliveries of an account to an ordered endpoint
//! one is due at a time, in the order in which they were recorded; each operation takes place whole or
//! not at all; a frontier moves together with the deliveries it covers, and only from where it is said to
//! stand.

mod changes;
mod frontier;
mod operating;
mod processes;
mod tally;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{EventId, LogPartition, Timestamp};
use crate::events::CloudEvent;

use super::{Changed, EndpointName, EndpointState, StoreError};

pub(super) use changes::{Changing, GiveUp, Hasten, Redeliver, RemoveEnded, Slice};
pub(super) use tally::{Listed, Tally, backlogs, newest, state_counts};

pub use frontier::{FrontierStep, RecordedFrontier, RecordedFrontiers, Stamp};
pub use operating::{
    Backlog, Counted, DeliveryRecord, GivingUp, Mark, Place, Redelivered, Released, Selection,
    StateCount,
};
pub use processes::{Attendance, ProcessId};

/// One event to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The event.
    pub event: EventId,
}

/// The events of one account to one endpoint: what an ordered endpoint gets one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The key of the event's record, which names the account.
    pub account: Arc<str>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// It is tried when it is due.
    Parked,
    /// It waits behind a parked one of its account.
    Waiting,
    /// The receiver has acknowledged it.
    Delivered,
    /// It was given up: it failed as often as the schedule allows, was parked for too long, or was
    /// discarded. [`Deliveries::redeliver`] tries it again.
    Exhausted,
}

impl DeliveryState {
    /// States of deliveries that are still to be brought.
    pub const LIVE: [Self; 2] = [Self::Waiting, Self::Parked];

    /// States of deliveries that have ended.
    pub const ENDED: [Self; 2] = [Self::Delivered, Self::Exhausted];

    /// Most that are counted of it, so that counting takes well under a second. What is delivered grows for
    /// as long as it is kept, and how much of it there is tells least.
    pub(super) fn most_counted(self) -> u64 {
        match self {
            Self::Delivered => 100_000,
            Self::Parked | Self::Waiting | Self::Exhausted => 250_000,
        }
    }

    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Parked, Self::Waiting, Self::Delivered, Self::Exhausted];

    /// The state as tables, output and metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
        }
    }

    /// Finds a state by its spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The answer's HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The first bytes of the answer's body as text, or why there was no answer.
    pub answer: String,
}

/// How a delivery goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The receiver has acknowledged it.
    Delivered,
    /// It is due again then.
    Parked {
        /// When.
        due_at: Timestamp,
    },
    /// It is given up.
    Exhausted,
}

impl Ending {
    /// The state of a delivery that goes on so.
    pub fn state(self) -> DeliveryState {
        match self {
            Self::Delivered => DeliveryState::Delivered,
            Self::Parked { .. } => DeliveryState::Parked,
            Self::Exhausted => DeliveryState::Exhausted,
        }
    }
}

/// A delivery that came from the topic.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// What it is.
    pub key: DeliveryKey,
    /// The key of the event's record.
    pub account: Arc<str>,
    /// The event.
    pub event: Arc<CloudEvent>,
    /// Whether the endpoint gets the events of an account one after the other.
    pub is_ordered: bool,
    /// How it goes on.
    pub ending: Ending,
    /// Failures that count towards the schedule's end.
    pub failures: u32,
    /// The attempt, unless it was parked without one.
    pub attempt: Option<Attempt>,
}

impl NewDelivery {
    /// The line it is in.
    pub fn line(&self) -> Line {
        Line { endpoint: self.key.endpoint.clone(), account: Arc::clone(&self.account) }
    }
}

/// How many deliveries to take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// At most so many.
    pub limit: usize,
}

/// A delivery that is the caller's alone until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// What it is.
    pub key: DeliveryKey,
    /// The key of the event's record.
    pub account: Arc<str>,
    /// The event.
    pub event: Arc<CloudEvent>,
    /// Number of the lease: whoever has a later one takes this holder's say away.
    pub lease: u32,
    /// Failures that count towards the schedule's end.
    pub failures: u32,
    /// When it was recorded first.
    pub recorded_at: Timestamp,
}

impl Leased {
    /// The line it is in.
    pub fn line(&self) -> Line {
        Line { endpoint: self.key.endpoint.clone(), account: Arc::clone(&self.account) }
    }
}

/// What a holder has to say at the end of its lease.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What it is.
    pub key: DeliveryKey,
    /// Number of the lease.
    pub lease: u32,
    /// How it goes on.
    pub ending: Ending,
    /// Failures that count towards the schedule's end.
    pub failures: u32,
    /// The attempt, unless it is given back without one.
    pub attempt: Option<Attempt>,
}

/// What is asked before events are sent. Lists may repeat themselves.
#[derive(Clone, Debug, Default)]
pub struct WantedDeliveries {
    /// Deliveries that may have been recorded.
    pub keys: Vec<DeliveryKey>,
    /// Lines in which something may be parked.
    pub lines: Vec<Line>,
    /// Partitions whose frontier tells whether the store is the one that is expected.
    pub logs: Vec<LogPartition>,
}

/// What of the wanted is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownDeliveries {
    /// Deliveries that are recorded, whatever their state.
    pub recorded: HashSet<DeliveryKey>,
    /// Lines with a delivery that is parked or waits.
    pub held: HashSet<Line>,
    /// How far partitions are recorded.
    pub frontiers: RecordedFrontiers,
}

/// A handle to what is known of deliveries; cheap to clone.
pub trait Deliveries: Clone + Send + Sync + 'static {
    /// What is known, at one moment.
    fn look(
        &self,
        wanted: &WantedDeliveries,
    ) -> impl Future<Output = Result<KnownDeliveries, StoreError>> + Send;

    /// Records deliveries from the topic, in the order of the log; their keys are distinct. One that is
    /// recorded already changes only if it is delivered now. A parked one of an ordered endpoint waits
    /// if something before it in its line does not. Frontiers move with them, each from where it is said
    /// to stand; when some stand elsewhere nothing is recorded, and they are returned.
    fn record(
        &self,
        new: &[NewDelivery],
        frontiers: &[FrontierStep],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<LogPartition>, StoreError>> + Send;

    /// Leases parked deliveries that are due, the ones due longest first.
    fn claim(
        &self,
        claims: &[Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Vec<Leased>, StoreError>> + Send;

    /// Ends leases. One that has passed to another holder changes nothing but the list of attempts.
    /// What waits behind a delivery of an ordered endpoint that ends is due.
    fn settle(
        &self,
        settled: &[Settled],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes at most `limit` deliveries that ended before `ended_before`; tells how many.
    fn remove_ended(
        &self,
        ended_before: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Gives up at most `limit` selected deliveries that are parked or wait; tells how many. What may be
    /// under way is left alone. What waits behind one that ends so is due.
    fn give_up(
        &self,
        selection: &Selection,
        giving_up: &GivingUp,
        limit: usize,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Looks at the next lines after `after`, at most `limit`, and makes due in each what waits behind
    /// nothing, as something may after two processes met.
    fn release_stranded(
        &self,
        after: Option<&Line>,
        limit: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Released, StoreError>> + Send;

    /// Reports a process until then; one that was reported until before `now` is gone.
    fn attend(
        &self,
        process: ProcessId,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Attendance, StoreError>> + Send;

    /// Tells since when endpoints, all different, are configured. What was told of one before stays. Where nothing
    /// was told of any although deliveries are recorded, as by a release that did not tell, they are known from
    /// the beginning of time on.
    fn register(
        &self,
        endpoints: &[(EndpointName, Timestamp)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The states of all endpoints that anything is known of.
    fn endpoint_states(&self) -> impl Future<Output = Result<Vec<EndpointState>, StoreError>> + Send;

    /// Changes an endpoint's state, if it is still at the version the change was made of.
    fn change_endpoint(
        &self,
        state: &EndpointState,
    ) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Selected deliveries, those first that were parked or ended last, at most `limit`.
    fn list(
        &self,
        selection: &Selection,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DeliveryRecord>, StoreError>> + Send;

    /// How many deliveries are selected, counted up to a bound for each endpoint and state, and in all up to
    /// `limit`, if there is one.
    fn count(
        &self,
        selection: &Selection,
        limit: Option<u64>,
    ) -> impl Future<Output = Result<Counted, StoreError>> + Send;

    /// The attempts of a delivery that failed, in their order.
    fn failed_attempts(
        &self,
        key: &DeliveryKey,
    ) -> impl Future<Output = Result<Vec<Attempt>, StoreError>> + Send;

    /// Makes at most `limit` selected deliveries that have ended and come after `mark` due anew, with no failures
    /// counted, endpoint by endpoint: in each first what was delivered, the first delivered first, then what was
    /// given up, the first recorded first.
    fn redeliver(
        &self,
        selection: &Selection,
        mark: Mark,
        limit: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Redelivered, StoreError>> + Send;

    /// Makes at most `limit` selected deliveries that are parked until after `due_after` due `now`, with
    /// no failures counted; tells how many. A leased one is due when its lease ends, so a bound no lease
    /// reaches leaves alone what is under way.
    fn hasten(
        &self,
        selection: &Selection,
        due_after: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// How many deliveries there are, by endpoint and state, each counted up to a bound; none where there
    /// are none.
    fn state_counts(&self) -> impl Future<Output = Result<Vec<StateCount>, StoreError>> + Send;

    /// What is parked or waits, by endpoint, counted up to a bound.
    fn backlog(&self) -> impl Future<Output = Result<Vec<Backlog>, StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_found_by_their_spelling() {
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::parse(state.as_str()), Some(state));
        }
        assert_eq!(DeliveryState::parse("lost"), None);
    }
}
