//! Deliveries as operators select and see them.

use std::fmt;

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
    /// Parked, or ended, at or after; see [`DeliveryRecord::since`].
    pub from: Option<Timestamp>,
    /// Parked, or ended, before.
    pub to: Option<Timestamp>,
}

impl Selection {
    /// The states it takes: each is a range of its own in an endpoint's index.
    pub(in crate::store) fn states(&self, among: &[DeliveryState]) -> Vec<DeliveryState> {
        let is_selected = |state: &DeliveryState| self.state.is_none_or(|selected| selected == *state);
        among.iter().copied().filter(is_selected).collect()
    }
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
    /// Since when it has been tried (parked or waiting; anew, if it was redelivered), or when it ended.
    pub since: Timestamp,
    /// Why it was given up without a further attempt.
    pub reason: Option<String>,
    /// When it is due, if it is parked; when a lease is on it, the lease's end.
    pub due_at: Option<Timestamp>,
    /// Attempts so far.
    pub attempts: u32,
    /// The last attempt.
    pub last_attempt: Option<Attempt>,
}

/// A number that was counted up to a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many were counted.
    pub count: u64,
    /// Whether there may be more.
    pub may_be_more: bool,
}

impl Counted {
    /// What was found when at most so many were looked for.
    pub(in crate::store) fn up_to(bound: u64, found: u64) -> Self {
        Self { count: found, may_be_more: found >= bound }
    }

    /// Up to how many the next of a range is counted, whose own bound is `bound`; none when that is enough.
    pub(in crate::store) fn next_bound(self, bound: u64, limit: Option<u64>) -> Option<u64> {
        let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.count));
        (left > 0).then_some(bound.min(left))
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            may_be_more: self.may_be_more || other.may_be_more,
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, if self.may_be_more { "+" } else { "" })
    }
}

/// What is parked for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Deliveries that are parked or wait, counted up to 250,000 in each of both states.
    pub count: Counted,
    /// Since when the oldest of them has been tried.
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
    pub count: Counted,
    /// Since when the oldest of them has been in it, if they are parked or wait; see [`DeliveryRecord::since`].
    /// What has ended is removed from that end, and its oldest is found only past all that is.
    pub oldest_at: Option<Timestamp>,
    /// When the first of them is due, if they are parked; when a lease is on it, the lease's end.
    pub due_at: Option<Timestamp>,
}

/// A place in the order in which what has ended is delivered again, of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// What was delivered goes in the order in which it was: since when it has been delivered, and the number
    /// under which it was recorded, counted up from 1.
    Delivered(Timestamp, i64),
    /// What was given up goes in the order of the log, by the number under which it was recorded: what waited
    /// in a line was given up before what it waited for.
    Exhausted(i64),
}

impl Place {
    /// The place of what has been in a state since then; none in a state that is no end.
    pub fn of(state: DeliveryState, since: Timestamp, number: i64) -> Option<Self> {
        match state {
            DeliveryState::Delivered => Some(Self::Delivered(since, number)),
            DeliveryState::Exhausted => Some(Self::Exhausted(number)),
            DeliveryState::Parked | DeliveryState::Waiting => None,
        }
    }

    /// Before everything of its state.
    fn first(state: DeliveryState) -> Option<Self> {
        Self::of(state, Timestamp::from_unix_millis(0), 0)
    }

    fn state(self) -> DeliveryState {
        match self {
            Self::Delivered(..) => DeliveryState::Delivered,
            Self::Exhausted(_) => DeliveryState::Exhausted,
        }
    }
}

/// How far a redelivery has come: everything up to there is done with, in the order of the endpoints' names
/// and then of their places. It takes what was delivered before it began: what it made due ends later, and
/// is not taken again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    began: Timestamp,
    reached: Option<(EndpointName, Place)>,
}

impl Mark {
    /// Of a redelivery that begins now.
    pub fn start(began: Timestamp) -> Self {
        Self { began, reached: None }
    }

    /// When the redelivery began.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// The mark of the same redelivery once it has come there.
    #[must_use]
    pub fn reaching(&self, endpoint: EndpointName, place: Place) -> Self {
        Self { began: self.began, reached: Some((endpoint, place)) }
    }

    /// Whether the redelivery is still to take what is there.
    pub fn is_before(&self, endpoint: &EndpointName, place: Place) -> bool {
        self.within(endpoint, place.state()).is_some_and(|after| after < place)
            && !matches!(place, Place::Delivered(since, _) if since >= self.began)
    }

    /// Where it stands in a state of an endpoint: the place after which it goes on; none when that is done
    /// with, or no end.
    pub(in crate::store) fn within(
        &self,
        endpoint: &EndpointName,
        state: DeliveryState,
    ) -> Option<Place> {
        let first = Place::first(state);
        match &self.reached {
            Some((reached, _)) if endpoint < reached => None,
            Some((reached, place)) if endpoint == reached => {
                if place.state() == state {
                    Some(*place)
                } else {
                    first.filter(|first| first > place)
                }
            }
            _ => first,
        }
    }
}

/// What one call made due anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redelivered {
    /// How many deliveries.
    pub count: u64,
    /// Where to go on: nothing up to there is selected again.
    pub mark: Mark,
}

impl Redelivered {
    /// Takes in what of an endpoint was made due, each by its place and line; the lines are handed on.
    pub(in crate::store) fn take(
        &mut self,
        endpoint: &EndpointName,
        chosen: Vec<(Place, super::Line)>,
    ) -> Vec<super::Line> {
        if let Some(last) = chosen.iter().map(|(place, _)| *place).max() {
            self.mark = self.mark.reaching(endpoint.clone(), last);
        }
        self.count += chosen.len() as u64;
        chosen.into_iter().map(|(_, line)| line).collect()
    }
}

/// Why and when deliveries are given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivingUp {
    /// Why, for whoever looks at them; no personal data.
    pub reason: String,
    /// Now.
    pub now: Timestamp,
    /// A bound that no lease reaches: what is parked until then may be under way, and is left alone.
    pub leases_end: Timestamp,
}

/// What a slice of a look for stranded lines did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Deliveries that waited behind nothing and are due now.
    pub count: u64,
    /// Where the next slice goes on; none when every line has been looked at.
    pub after: Option<super::Line>,
}
