//! A limit of events a second. It is the time that has passed between two calls that counts: a clock that is
//! set back or forth costs or gives a second's share at most.

use crate::account::Timestamp;

/// Lets through so many a second, and what one second has left over at once.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    per_second: Option<f64>,
    allowance: f64,
    at: Timestamp,
}

/// The longest time between two calls that counts; any rate is full again after it.
const LONGEST_MS: i64 = 24 * 60 * 60 * 1_000;

impl Pace {
    /// None lets everything through.
    pub(super) fn new(per_second: Option<f64>, now: Timestamp) -> Self {
        Self { per_second, allowance: per_second.map_or(0.0, |rate| rate.max(1.0)), at: now }
    }

    /// How many of `wanted` may go now.
    pub(super) fn allows(&mut self, wanted: usize, now: Timestamp) -> usize {
        let Some(rate) = self.per_second else { return wanted };
        let passed_ms = now.unix_millis().saturating_sub(self.at.unix_millis()).clamp(0, LONGEST_MS);
        self.at = now;
        let gained = rate * f64::from(u32::try_from(passed_ms).unwrap_or(0)) / 1_000.0;
        self.allowance = (self.allowance + gained).min(rate.max(1.0));
        (1..=wanted).take_while(|count| as_number(*count) <= self.allowance).count()
    }

    /// So many have gone.
    pub(super) fn spend(&mut self, count: usize) {
        if self.per_second.is_some() {
            self.allowance -= as_number(count);
        }
    }
}

fn as_number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Pace {
        fn take(&mut self, wanted: usize, now: Timestamp) -> usize {
            let taken = self.allows(wanted, now);
            self.spend(taken);
            taken
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn a_second_lets_through_its_rate_and_no_more() {
        let mut pace = Pace::new(Some(10.0), at(0));
        assert_eq!(pace.take(100, at(0)), 10);
        assert_eq!(pace.take(100, at(0)), 0);
        assert_eq!(pace.take(100, at(500)), 5);
        assert_eq!(pace.take(100, at(60_000)), 10, "what was not used does not pile up");
        assert_eq!(pace.take(1, at(60_100)), 1);
    }

    #[test]
    fn no_clock_stops_it() {
        let mut pace = Pace::new(Some(10.0), at(0));
        assert_eq!(pace.take(100, at(0)), 10);
        let set_back = -3_600_000;
        assert_eq!(pace.take(1, at(set_back)), 0, "a clock that is set back gives nothing");
        assert_eq!(pace.take(100, at(set_back + 500)), 5, "and goes on from there");
        let months_later = set_back + 100 * 24 * 3_600_000;
        assert_eq!(pace.take(100, at(months_later)), 10);
        let mut slow = Pace::new(Some(0.001), at(0));
        assert_eq!((slow.take(1, at(0)), slow.take(1, at(months_later))), (1, 1));
    }

    #[test]
    fn slow_rates_let_one_through_now_and_then() {
        let mut pace = Pace::new(Some(0.5), at(0));
        let times: Vec<i64> =
            (0..50).map(|tick| tick * 100).filter(|millis| pace.take(1, at(*millis)) == 1).collect();
        assert_eq!(times, [0, 2_000, 4_000]);
    }

    #[test]
    fn without_a_rate_everything_passes() {
        assert_eq!(Pace::new(None, at(0)).take(1_000_000, at(0)), 1_000_000);
    }
}
