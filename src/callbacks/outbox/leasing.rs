//! How much of what is parked is leased at a time: as much as keeps an endpoint busy for a moment, and no
//! more than the rate at which its backlog may drain.

use std::time::Duration;

use crate::account::Timestamp;

use super::super::endpoint::Endpoint;
use super::super::pace::{Pace, Rate};

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
        let drain = Pace::new(endpoint.drain_rate.map_or(Rate::Any, Rate::PerSecond), now);
        Self { least, size: least, claimed_at: now, drain }
    }

    /// Whether there is something to send for a while when so many that were leased wait.
    pub(super) fn is_supplied(&self, waiting: usize) -> bool {
        waiting > self.size / 2
    }

    /// How many one of so many processes is to lease now, at most `max`. When the last ones went fast, more are leased at a time; when
    /// they went slowly, fewer, so that no lease ends while its delivery waits. An endpoint that only fails does so
    /// fast, and each failure is a row to be leased and parked again: it gets no more than is tried at a time.
    pub(super) fn next(
        &mut self,
        now: Timestamp,
        max: usize,
        only_fails: bool,
        processes: u32,
    ) -> usize {
        let changed = if only_fails {
            self.least
        } else if now <= self.claimed_at.later(CLAIM_LASTS) {
            self.size.saturating_mul(2)
        } else {
            self.size / 2
        };
        self.size = changed.clamp(self.least.min(max), max);
        self.drain.allows(self.size, processes, now)
    }

    /// So many were leased.
    pub(super) fn leased(&mut self, count: usize, now: Timestamp) {
        self.drain.spend(count);
        self.claimed_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, endpoint};
    use super::*;

    #[test]
    fn more_is_leased_of_an_endpoint_that_is_fast_and_least_of_one_that_only_fails() {
        let mut leasing = Leasing::new(&endpoint(), at(0));
        let mut next = |only_fails| {
            let size = leasing.next(at(0), 100, only_fails, 1);
            leasing.leased(size, at(0));
            size
        };
        assert_eq!([next(false), next(false), next(false)], [4, 8, 16]);
        assert_eq!([next(true), next(true)], [2, 2], "what goes at a time");
        assert_eq!(next(false), 4, "and more again once it works");
    }
}
