//! A limit of so many a second or a minute, which all processes share. It is the time that has passed between two
//! calls that counts: a clock that is set back or forth costs or gives a second's share at most.

use crate::account::Timestamp;

/// How many may go, of all processes together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    /// As many as there are.
    Any,
    /// So many a second.
    PerSecond(f64),
    /// So many a minute, wherever it begins.
    PerMinute(u32),
}

/// The least that a process lets through, unless all together may less: nothing stands still for having much company.
const LEAST_PER_SECOND: f64 = 1.0 / 60.0;

/// What is allowed in a minute is spread so that no minute, wherever it begins, has more: one second's share may go
/// at once.
const SECONDS_AND_BURST: f64 = 61.0;

impl Rate {
    /// The part of one of so many processes, a second.
    fn share(self, processes: u32) -> Option<f64> {
        let processes = processes.max(1);
        match self {
            Self::Any => None,
            Self::PerSecond(rate) => Some((rate / f64::from(processes)).max(rate.min(LEAST_PER_SECOND))),
            Self::PerMinute(count) => Some(f64::from((count / processes).max(1)) / SECONDS_AND_BURST),
        }
    }
}

/// Lets through a process's share, and what one second has left over at once.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    rate: Rate,
    /// None before the first call.
    allowance: Option<f64>,
    at: Timestamp,
}

/// The longest time between two calls that counts; any rate is full again after it.
const LONGEST_MS: i64 = 24 * 60 * 60 * 1_000;

impl Pace {
    pub(super) fn new(rate: Rate, now: Timestamp) -> Self {
        Self { rate, allowance: None, at: now }
    }

    /// How many of `wanted` may go now from one of so many processes.
    pub(super) fn allows(&mut self, wanted: usize, processes: u32, now: Timestamp) -> usize {
        let Some(share) = self.rate.share(processes) else { return wanted };
        let passed_ms = now.unix_millis().saturating_sub(self.at.unix_millis()).clamp(0, LONGEST_MS);
        self.at = now;
        let gained = share * f64::from(u32::try_from(passed_ms).unwrap_or(0)) / 1_000.0;
        let most = share.max(1.0);
        let allowance = self.allowance.map_or(most, |allowance| (allowance + gained).min(most));
        self.allowance = Some(allowance);
        (1..=wanted).take_while(|count| as_number(*count) <= allowance).count()
    }

    /// So many have gone.
    pub(super) fn spend(&mut self, count: usize) {
        if let Some(allowance) = &mut self.allowance {
            *allowance -= as_number(count);
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
            self.take_of(wanted, 1, now)
        }

        fn take_of(&mut self, wanted: usize, processes: u32, now: Timestamp) -> usize {
            let taken = self.allows(wanted, processes, now);
            self.spend(taken);
            taken
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn a_second_lets_through_its_rate_and_no_more() {
        let mut pace = Pace::new(Rate::PerSecond(10.0), at(0));
        assert_eq!(pace.take(100, at(0)), 10);
        assert_eq!(pace.take(100, at(0)), 0);
        assert_eq!(pace.take(100, at(500)), 5);
        assert_eq!(pace.take(100, at(60_000)), 10, "what was not used does not pile up");
        assert_eq!(pace.take(1, at(60_100)), 1);
    }

    #[test]
    fn no_clock_stops_it() {
        let mut pace = Pace::new(Rate::PerSecond(10.0), at(0));
        assert_eq!(pace.take(100, at(0)), 10);
        let set_back = -3_600_000;
        assert_eq!(pace.take(1, at(set_back)), 0, "a clock that is set back gives nothing");
        assert_eq!(pace.take(100, at(set_back + 500)), 5, "and goes on from there");
        let months_later = set_back + 100 * 24 * 3_600_000;
        assert_eq!(pace.take(100, at(months_later)), 10);
        let mut slow = Pace::new(Rate::PerSecond(0.001), at(0));
        assert_eq!((slow.take(1, at(0)), slow.take(1, at(months_later))), (1, 1));
    }

    #[test]
    fn slow_rates_let_one_through_now_and_then() {
        let mut pace = Pace::new(Rate::PerSecond(0.5), at(0));
        let times: Vec<i64> =
            (0..50).map(|tick| tick * 100).filter(|millis| pace.take(1, at(*millis)) == 1).collect();
        assert_eq!(times, [0, 2_000, 4_000]);
    }

    #[test]
    fn without_a_rate_everything_passes() {
        assert_eq!(Pace::new(Rate::Any, at(0)).take(1_000_000, at(0)), 1_000_000);
    }

    /// How many go within a time from so many processes, however much there is.
    fn sent(rate: Rate, processes: u32, seconds: i64) -> usize {
        let mut paces = vec![Pace::new(rate, at(0)); processes as usize];
        let ticks = (0..seconds * 1_000).step_by(20);
        ticks
            .map(|now| paces.iter_mut().map(|pace| pace.take_of(9, processes, at(now))).sum::<usize>())
            .sum()
    }

    #[test]
    fn processes_share_a_rate() {
        for processes in [1, 2, 4, 10] {
            let count = sent(Rate::PerSecond(40.0), processes, 60);
            assert!((2_390..=2_440).contains(&count), "{count} from {processes}");
            for allowed in [10, 61, 600] {
                let count = sent(Rate::PerMinute(allowed), processes, 60);
                assert!(count <= allowed as usize, "{count} of {allowed} from {processes}");
                assert!(count * 2 > allowed as usize, "{count} of {allowed} from {processes}");
            }
        }
    }

    #[test]
    fn a_share_follows_as_processes_come_and_go() {
        let mut pace = Pace::new(Rate::PerSecond(10.0), at(0));
        assert_eq!(pace.take_of(100, 1, at(0)), 10);
        assert_eq!(pace.take_of(100, 2, at(1_000)), 5);
        assert_eq!(pace.take_of(100, 5, at(2_000)), 2);
        assert_eq!(pace.take_of(100, 1, at(3_000)), 10, "the others are gone");
    }

    #[test]
    fn nobody_stands_still_for_having_much_company() {
        let each_minute = |rate| sent(rate, 1_000, 120) / 1_000;
        assert_eq!(each_minute(Rate::PerSecond(1.0)), 2);
        assert_eq!(each_minute(Rate::PerMinute(1)), 2);
        let slow = Rate::PerSecond(0.001);
        assert_eq!(slow.share(1_000), slow.share(1), "a rate below that is kept by each");
    }
}
