//! The breaker of an endpoint: whether it is worth an attempt. All replicas share its state through the
//! store; what each sees of the endpoint it counts for itself.
//!
//! Closed: everything is attempted. Open: events are parked without an attempt, and from time to time
//! one replica, the one whose change of the state was taken, sends one event as a probe. A probe that
//! is delivered closes it.

use std::time::Duration;

use crate::account::Timestamp;
use crate::store::Breaker;

/// When a breaker opens, and how it probes.
#[derive(Clone, Copy, Debug)]
pub struct BreakerOptions {
    /// Failures in a row, seen by one replica, before it may open.
    pub min_failures: u32,
    /// How long nothing else than failures must have been seen.
    pub failing_for: Duration,
    /// The wait before the first probe; it doubles up to the longest.
    pub probe_interval: Duration,
    /// The longest wait between probes.
    pub max_probe_interval: Duration,
}

impl BreakerOptions {
    /// The wait after so many probes in vain.
    pub(super) fn interval(&self, probes: u32) -> Duration {
        self.probe_interval.saturating_mul(1 << probes.min(16)).min(self.max_probe_interval)
    }

    /// A breaker that opens now.
    pub fn opened(&self, now: Timestamp) -> Breaker {
        Breaker::Open { since: now, probe_at: now.later(self.interval(0)), probes: 0 }
    }

    /// The state of a breaker that lets the caller probe now; none when it is closed or no probe is due.
    /// Who gets it stored has the probe until the next one is due. One that is further away than any may
    /// be was meant by a clock that has been set back since, and is due.
    pub fn probing(&self, breaker: Breaker, now: Timestamp) -> Option<Breaker> {
        let Breaker::Open { since, probe_at, probes } = breaker else { return None };
        let probes = probes.saturating_add(1);
        let is_due = probe_at <= now || probe_at > now.later(self.max_probe_interval);
        is_due.then(|| Breaker::Open { since, probe_at: now.later(self.interval(probes)), probes })
    }
}

/// The failures in a row that one replica has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    count: u32,
    since: Option<Timestamp>,
}

impl Failing {
    /// Attempts that have failed in a row.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// An attempt was answered as it should, or what was counted does not hold any longer.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// An attempt failed; tells whether the breaker is to open.
    pub fn failed(&mut self, now: Timestamp, options: &BreakerOptions) -> bool {
        self.count = self.count.saturating_add(1);
        // A clock that was set back only makes the count begin later.
        let since = self.since.map_or(now, |since| since.min(now));
        self.since = Some(since);
        self.count >= options.min_failures && since.later(options.failing_for) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: BreakerOptions = BreakerOptions {
        min_failures: 3,
        failing_for: Duration::from_secs(10),
        probe_interval: Duration::from_secs(5),
        max_probe_interval: Duration::from_mins(1),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
    }

    fn probe_at(breaker: Breaker) -> Timestamp {
        match breaker {
            Breaker::Open { probe_at, .. } => probe_at,
            Breaker::Closed => panic!("closed"),
        }
    }

    #[test]
    fn it_takes_enough_failures_over_enough_time() {
        let mut failing = Failing::default();
        let opens: Vec<bool> =
            [0, 1, 2, 9, 10].into_iter().map(|second| failing.failed(at(second), &OPTIONS)).collect();
        assert_eq!(opens, [false, false, false, false, true]);
        let mut rare = Failing::default();
        assert!(!rare.failed(at(0), &OPTIONS) && !rare.failed(at(100), &OPTIONS), "two are too few");
    }

    #[test]
    fn one_success_starts_the_count_anew() {
        let mut failing = Failing::default();
        (0..5).for_each(|second| assert!(!failing.failed(at(second), &OPTIONS)));
        failing.succeeded();
        assert!(!failing.failed(at(10), &OPTIONS) && !failing.failed(at(19), &OPTIONS));
        assert!(failing.failed(at(20), &OPTIONS));
    }

    #[test]
    fn probes_are_further_and_further_apart_up_to_a_limit() {
        let mut breaker = OPTIONS.opened(at(0));
        assert_eq!(OPTIONS.probing(breaker, at(4)), None, "not due");
        let mut waits = Vec::new();
        for _ in 0..6 {
            let now = probe_at(breaker);
            breaker = OPTIONS.probing(breaker, now).unwrap();
            waits.push((probe_at(breaker).unix_millis() - now.unix_millis()) / 1_000);
        }
        assert_eq!(waits, [10, 20, 40, 60, 60, 60]);
        assert!(matches!(breaker, Breaker::Open { since, probes: 6, .. } if since == at(0)));
    }

    #[test]
    fn a_clock_that_is_set_back_postpones_neither_a_probe_nor_the_opening() {
        let breaker = OPTIONS.opened(at(100_000));
        assert!(OPTIONS.probing(breaker, at(0)).is_some());
        assert_eq!(OPTIONS.probing(breaker, at(99_999)), None, "by a little it may differ");
        let mut failing = Failing::default();
        assert!(!failing.failed(at(100_000), &OPTIONS) && !failing.failed(at(0), &OPTIONS));
        assert!(failing.failed(at(10), &OPTIONS));
    }

    #[test]
    fn a_closed_breaker_needs_no_probe() {
        assert_eq!(OPTIONS.probing(Breaker::Closed, at(0)), None);
    }
}
