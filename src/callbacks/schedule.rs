//! When a delivery is attempted again: a pure function of how often it failed and what the receiver
//! asked for.

use std::time::{Duration, SystemTime};

use crate::account::Timestamp;

/// The shortest wait that a receiver's wish is taken for, whatever it says.
const LEAST_ASKED: Duration = Duration::from_secs(1);

/// Waits between attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The wait after the first failure, the second, and so on. After one more failure than there are
    /// waits a delivery is given up.
    pub waits: Vec<Duration>,
    /// Share of a wait, 0 to 1, by which it is made longer or shorter, so that what failed together is
    /// not tried again together.
    pub jitter: f64,
    /// The longest wait a receiver may ask for; at least a second.
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
    /// asked for, which may only make a wait longer; `random` is anything from 0 to 1.
    pub fn after(
        &self,
        failures: u32,
        now: Timestamp,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Retry {
        let place = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(wait) = self.waits.get(place) else { return Retry::GiveUp };
        let factor = 1.0 + self.jitter() * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        let asked = retry_after.map(|asked| self.granted(asked, random));
        let wait = wait.mul_f64(factor).max(asked.unwrap_or_default());
        Retry::At(now.later(wait))
    }

    /// How long a receiver that asks for `asked` is left alone when it has asked for such waits `before`
    /// times in a row: the least it gets doubles with each, up to the longest it may ask for.
    pub fn quiet(&self, asked: Duration, before: u32, random: f64) -> Duration {
        let least = LEAST_ASKED.saturating_mul(1 << before.min(16));
        self.granted(asked.max(least), random)
    }

    /// What a receiver asked for, as far as it is granted: never nothing, and never less than it says
    /// unless that is too much.
    fn granted(&self, asked: Duration, random: f64) -> Duration {
        let granted = asked.min(self.max_retry_after).max(LEAST_ASKED);
        granted.mul_f64(1.0 + self.jitter() * random.clamp(0.0, 1.0))
    }

    fn jitter(&self) -> f64 {
        self.jitter.clamp(0.0, 1.0)
    }

    /// How long a delivery is tried at most when every wait is its longest.
    pub fn length(&self) -> Duration {
        self.waits.iter().sum::<Duration>().mul_f64(1.0 + self.jitter())
    }
}

/// A wait that this process keeps in memory. A clock that is set back ends it; it never makes it longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    from: Timestamp,
    until: Timestamp,
}

impl Wait {
    /// A wait that begins now.
    pub(super) fn new(now: Timestamp, length: Duration) -> Self {
        Self { from: now, until: now.later(length) }
    }

    /// When it is over; none when it is.
    pub(super) fn until(self, now: Timestamp) -> Option<Timestamp> {
        (self.from <= now && now < self.until).then_some(self.until)
    }
}

/// Reads a `Retry-After` header (RFC 9110): seconds, however many, or a date in any of the three forms of
/// HTTP, which counts from `now` and may have passed. Anything else asks for nothing.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let since_epoch = Duration::from_millis(u64::try_from(now.unix_millis()).unwrap_or(0));
    let now = SystemTime::UNIX_EPOCH.checked_add(since_epoch)?;
    Some(until.duration_since(now).unwrap_or_default())
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
        assert_eq!((after(0), after(1), after(60), after(u64::MAX)), (5, 5, 60, 86_400));
    }

    #[test]
    fn no_wish_is_for_less_than_a_second_and_many_in_a_row_are_for_more() {
        let schedule = Schedule { waits: vec![Duration::ZERO], ..standard(0.0) };
        assert_eq!(wait_ms(schedule.after(1, now(), Some(Duration::ZERO), 0.5)), 1_000);
        let quiet = |asked, before| schedule.quiet(Duration::from_secs(asked), before, 0.5).as_secs();
        assert_eq!([0, 1, 2, 3, 16, 99].map(|before| quiet(0, before)), [1, 2, 4, 8, 65_536, 65_536]);
        assert_eq!([0, 5, 6].map(|before| quiet(30, before)), [30, 32, 64]);
        assert_eq!((quiet(u64::MAX, 0), quiet(u64::MAX, 99)), (86_400, 86_400));
        let jittered = standard(0.5).quiet(Duration::from_secs(10), 0, 1.0);
        assert_eq!(jittered.as_secs(), 15, "never shorter than asked, so never before it");
    }

    #[test]
    fn a_wait_is_over_when_its_time_has_come_or_the_clock_was_set_back() {
        let wait = Wait::new(now(), Duration::from_secs(10));
        let until = |millis| wait.until(Timestamp::from_unix_millis(NOW + millis));
        assert_eq!((until(0), until(9_999)), (Some(wait.until), Some(wait.until)));
        assert_eq!((until(10_000), until(-1), until(-86_400_000)), (None, None, None));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parse = |text: &str| parse_retry_after(text, now()).map(|wait| wait.as_secs());
        assert_eq!((parse("120"), parse(" 7 "), parse("0")), (Some(120), Some(7), Some(0)));
        assert_eq!(parse(&"9".repeat(40)), Some(u64::MAX), "more than can be counted");
        for date in [
            "Tue, 14 Nov 2023 22:14:20 GMT",
            "Tuesday, 14-Nov-23 22:14:20 GMT",
            "Tue Nov 14 22:14:20 2023",
        ] {
            assert_eq!(parse(date), Some(60), "{date}");
        }
        assert_eq!(parse("Fri, 31 Dec 9999 23:59:59 GMT"), Some(251_702_300_799), "far away");
        for passed in ["Tue, 14 Nov 2000 22:14:20 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            assert_eq!(parse(passed), Some(0), "{passed}: a time that has passed");
        }
        for nothing in ["soon", "-1", "+1", "1.5", "1, 2", "", "Tue, 32 Nov 2023 22:14:20 GMT"] {
            assert_eq!(parse(nothing), None, "{nothing:?}");
        }
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
                    let granted = asked.map_or(0.0, |asked| f64::from(asked.clamp(1, 86_400)));
                    prop_assert!(wait + 0.002 >= (base * (1.0 - jitter)).max(granted));
                    prop_assert!(wait <= base.max(granted) * (1.0 + jitter) + 0.002);
                    prop_assert!(time >= now());
                }
            }
        }
    }
}
