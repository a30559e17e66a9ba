//! When a delivery is attempted again: a pure function of how often it failed and what the receiver
//! asked for.

use std::time::Duration;

use chrono::DateTime;

use crate::account::Timestamp;

/// Waits between attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The wait after the first failure, the second, and so on. After one more failure than there are
    /// waits a delivery is given up.
    pub waits: Vec<Duration>,
    /// Share of a wait, 0 to 1, by which it is made longer or shorter, so that what failed together is
    /// not tried again together.
    pub jitter: f64,
    /// The longest wait a receiver may ask for.
    pub max_retry_after: Duration,
}

/// What becomes of a delivery that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Retry {
    /// It is due again then.
    At(Timestamp),
    /// It has failed as often as the schedule allows.
    GiveUp,
}

impl Schedule {
    /// What comes after `failures` failures, the last one just now. `retry_after` is what the receiver
    /// asked for; `random` is anything from 0 to 1.
    pub fn after(
        &self,
        failures: u32,
        now: Timestamp,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Retry {
        let place = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(wait) = self.waits.get(place) else { return Retry::GiveUp };
        let factor = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        let wait = wait.mul_f64(factor).max(self.asked(retry_after).unwrap_or_default());
        Retry::At(later(now, wait))
    }

    /// What a receiver asked for, as far as it is granted.
    pub fn asked(&self, retry_after: Option<Duration>) -> Option<Duration> {
        retry_after.map(|asked| asked.min(self.max_retry_after))
    }

    /// How long a delivery is tried at most when every wait is its longest.
    pub fn length(&self) -> Duration {
        self.waits.iter().sum::<Duration>().mul_f64(1.0 + self.jitter.clamp(0.0, 1.0))
    }
}

/// `wait` after `time`, to the millisecond.
pub fn later(time: Timestamp, wait: Duration) -> Timestamp {
    let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(time.unix_millis().saturating_add(millis))
}

/// `wait` before `time`, to the millisecond.
pub fn earlier(time: Timestamp, wait: Duration) -> Timestamp {
    let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(time.unix_millis().saturating_sub(millis))
}

/// Reads a `Retry-After` header (RFC 9110): seconds, or a date, which counts from `now`.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(value).ok()?.timestamp_millis();
    Some(Duration::from_millis(u64::try_from(until - now.unix_millis()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn now() -> Timestamp {
        Timestamp::from_unix_millis(NOW)
    }

    fn standard(jitter: f64) -> Schedule {
        let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        let waits = seconds.map(Duration::from_secs).to_vec();
        Schedule { waits, jitter, max_retry_after: Duration::from_hours(24) }
    }

    fn wait_ms(retry: Retry) -> i64 {
        match retry {
            Retry::At(time) => time.unix_millis() - NOW,
            Retry::GiveUp => panic!("given up"),
        }
    }

    #[test]
    fn waits_follow_the_list_and_end_with_it() {
        let schedule = standard(0.0);
        let minutes: Vec<i64> = (2..=9)
            .map(|failures| wait_ms(schedule.after(failures, now(), None, 0.5)) / 60_000)
            .collect();
        assert_eq!(minutes, [5, 30, 120, 300, 600, 840, 1_200, 1_440]);
        assert_eq!(wait_ms(schedule.after(1, now(), None, 0.5)), 5_000);
        assert_eq!(schedule.after(10, now(), None, 0.5), Retry::GiveUp);
        assert_eq!(schedule.after(u32::MAX, now(), None, 0.5), Retry::GiveUp);
    }

    #[test]
    fn a_receivers_wish_is_granted_up_to_a_limit() {
        let after = |asked: u64| {
            wait_ms(standard(0.0).after(1, now(), Some(Duration::from_secs(asked)), 0.5)) / 1_000
        };
        assert_eq!((after(1), after(60), after(u64::MAX)), (5, 60, 86_400));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parse = |text| parse_retry_after(text, now()).map(|wait| wait.as_secs());
        assert_eq!(parse("120"), Some(120));
        assert_eq!(parse("Tue, 14 Nov 2023 22:14:20 GMT"), Some(60));
        assert_eq!(parse("Tue, 14 Nov 2000 22:14:20 GMT"), Some(0), "a time that has passed");
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-1"), None);
    }

    proptest! {
        #[test]
        fn a_retry_is_within_the_jitter_and_never_before_what_was_asked(
            waits in prop::collection::vec(0_u32..200_000, 0..12),
            jitter in 0.0_f64..=1.0,
            failures in 0_u32..20,
            asked in prop::option::of(0_u32..200_000),
            random in 0.0_f64..=1.0,
        ) {
            let schedule = Schedule {
                waits: waits.iter().map(|wait| Duration::from_secs((*wait).into())).collect(),
                jitter,
                max_retry_after: Duration::from_hours(24),
            };
            let place = failures.saturating_sub(1) as usize;
            match schedule.after(failures, now(), asked.map(|asked| Duration::from_secs(asked.into())), random) {
                Retry::GiveUp => prop_assert!(place >= waits.len()),
                Retry::At(time) => {
                    let wait = f64::from(u32::try_from(time.unix_millis() - NOW).unwrap()) / 1_000.0;
                    let base = f64::from(waits[place]);
                    let granted = f64::from(asked.unwrap_or(0).min(86_400));
                    prop_assert!(wait + 0.002 >= (base * (1.0 - jitter)).max(granted));
                    prop_assert!(wait <= (base * (1.0 + jitter)).max(granted) + 0.002);
                    prop_assert!(time >= now());
                }
            }
        }
    }
}
