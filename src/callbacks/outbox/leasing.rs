//! How much of what is parked is leased at a time: as much as keeps an endpoint busy for a moment, and no
//! more than the rate at which its backlog may drain.

use std::time::Duration;

use crate::account::Timestamp;

use super::super::endpoint::Endpoint;
use super::super::pace::Pace;
use super::super::schedule::later;

/// How long what is leased at a time should keep an endpoint busy.
const CLAIM_LASTS: Duration = Duration::from_secs(1);
/// How long what is leased may wait for its request before it is given back.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The leases of an endpoint.
pub(super) struct Leasing {
    /// What keeps the endpoint busy at the least.
    least: usize,
    size: usize,
    claimed_at: Timestamp,
    drain: Pace,
}

impl Leasing {
    pub(super) fn new(endpoint: &Endpoint, now: Timestamp) -> Self {
        let least = endpoint.full_flights();
        Self { least, size: least, claimed_at: now, drain: Pace::new(endpoint.drain_rate, now) }
    }

    /// Whether there is something to send for a while when so many that were leased wait.
    pub(super) fn is_supplied(&self, waiting: usize) -> bool {
        waiting > self.size / 2
    }

    /// How many to lease now, at most `max`. When the last ones went fast, more are leased at a time; when
    /// they went slowly, fewer, so that no lease ends while its delivery waits.
    pub(super) fn next(&mut self, now: Timestamp, max: usize) -> usize {
        let changed = if now <= later(self.claimed_at, CLAIM_LASTS) {
            self.size.saturating_mul(2)
        } else {
            self.size / 2
        };
        self.size = changed.clamp(self.least.min(max), max);
        self.drain.allows(self.size, now)
    }

    /// So many were leased.
    pub(super) fn leased(&mut self, count: usize, now: Timestamp) {
        self.drain.spend(count);
        self.claimed_at = now;
    }
}
