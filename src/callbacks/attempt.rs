//! What an attempt came to, and how the delivery and its endpoint go on: decisions without effects.

use std::time::Duration;

use crate::account::Timestamp;
use crate::store::Ending;

use super::schedule::{Retry, Schedule};

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The first bytes of the body as text.
    pub body: String,
}

/// Why there is no answer, in words without personal data or secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// What an attempt means.
///
/// A delivery that is throttled is one that failed: its wait is only never shorter than what was asked for.
/// So whatever a receiver answers, a delivery ends after as many attempts as the schedule has waits, and one
/// more. For the endpoint it makes a difference: one that asks to be left alone works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx: the receiver has it.
    Delivered,
    /// The receiver works and asks to be left alone for a while: 429 or 503 with `Retry-After`.
    Throttled(Duration),
    /// 410: the receiver wants nothing more.
    Gone,
    /// 4xx that says something of what was sent, and not of the moment: sent alone, others may pass.
    Refused,
    /// Anything else. A redirect is one: it is never followed.
    Failed,
}

impl Verdict {
    /// What an answer, or none, means.
    pub fn of(answered: &Result<Answer, NoAnswer>) -> Self {
        let Ok(answer) = answered else { return Self::Failed };
        match (answer.status, answer.retry_after) {
            (200..=299, _) => Self::Delivered,
            (410, _) => Self::Gone,
            (429 | 503, Some(wait)) => Self::Throttled(wait),
            // Too late, too early, too many: that is the moment.
            (408 | 425 | 429, _) => Self::Failed,
            (400..=499, _) => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// How a delivery that has failed `failures` times goes on after an attempt that ended `now`, and its
/// failures from then on. What meets 410 is kept for the time when an operator enables the endpoint again.
pub fn go_on(
    failures: u32,
    verdict: Verdict,
    now: Timestamp,
    schedule: &Schedule,
    random: f64,
) -> (Ending, u32) {
    let asked = match verdict {
        Verdict::Delivered => return (Ending::Delivered, failures),
        Verdict::Gone => return (Ending::Parked { due_at: now }, failures),
        Verdict::Throttled(wait) => Some(wait),
        Verdict::Refused | Verdict::Failed => None,
    };
    let failures = failures.saturating_add(1);
    match schedule.after(failures, now, asked, random) {
        Retry::At(due_at) => (Ending::Parked { due_at }, failures),
        Retry::GiveUp => (Ending::Exhausted, failures),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule() -> Schedule {
        let waits = [5, 300, 1_800].map(Duration::from_secs).to_vec();
        Schedule { waits, jitter: 0.0, max_retry_after: Duration::from_hours(1) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
    }

    fn verdict(status: u16, retry_after: Option<u64>) -> Verdict {
        let retry_after = retry_after.map(Duration::from_secs);
        Verdict::of(&Ok(Answer { status, retry_after, body: String::new() }))
    }

    #[test]
    fn statuses_mean_what_the_webhook_specifications_say() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(verdict(status, None), Verdict::Delivered);
        }
        for status in [100, 301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(verdict(status, None), Verdict::Failed, "{status}");
        }
        for status in [400, 401, 404, 409, 413, 415, 422, 499] {
            assert_eq!(verdict(status, Some(7)), Verdict::Refused, "{status}");
        }
        for status in [429, 503] {
            assert_eq!(verdict(status, Some(7)), Verdict::Throttled(Duration::from_secs(7)));
        }
        assert_eq!(verdict(301, Some(7)), Verdict::Failed);
        assert_eq!(verdict(410, Some(7)), Verdict::Gone);
        assert_eq!(Verdict::of(&Err(NoAnswer("reset".to_owned()))), Verdict::Failed);
    }

    #[test]
    fn failures_follow_the_schedule_to_its_end() {
        let (mut failures, mut endings) = (0, Vec::new());
        for _ in 0..4 {
            let (ending, more) = go_on(failures, Verdict::Failed, at(0), &schedule(), 0.5);
            failures = more;
            endings.push(ending);
        }
        let parked = |seconds| Ending::Parked { due_at: at(seconds) };
        assert_eq!(endings, [parked(5), parked(300), parked(1_800), Ending::Exhausted]);
    }

    #[test]
    fn being_throttled_counts_and_waits_at_least_as_long_as_a_failure() {
        let go_on = |failures, seconds| {
            let throttled = Verdict::Throttled(Duration::from_secs(seconds));
            go_on(failures, throttled, at(0), &schedule(), 0.5)
        };
        assert_eq!(go_on(0, 0), (Ending::Parked { due_at: at(5) }, 1));
        assert_eq!(go_on(1, 0), (Ending::Parked { due_at: at(300) }, 2));
        assert_eq!(go_on(1, 600), (Ending::Parked { due_at: at(600) }, 2));
        assert_eq!(go_on(1, u64::MAX), (Ending::Parked { due_at: at(3_600) }, 2));
        assert_eq!(go_on(3, 0), (Ending::Exhausted, 4));
    }

    #[test]
    fn what_meets_410_is_kept() {
        let gone = go_on(2, Verdict::Gone, at(9), &schedule(), 0.5);
        assert_eq!(gone, (Ending::Parked { due_at: at(9) }, 2));
    }

    /// An answer, and how long after it was due a delivery was sent: at once, or much later.
    fn answers() -> impl Strategy<Value = Vec<(u16, Option<u64>, i64)>> {
        let retry_after =
            prop_oneof![Just(None), Just(Some(0)), (0_u64..9_000).prop_map(Some), Just(Some(u64::MAX))];
        let status = prop_oneof![Just(429_u16), Just(503), 100_u16..600];
        prop::collection::vec((status, retry_after, 0_i64..10_000), 40)
    }

    proptest! {
        /// Whatever is answered, and whenever a delivery is sent, it ends after as many attempts as there
        /// are waits and one more, none of them sooner after another than the schedule has it, and only
        /// an acknowledged one counts as delivered.
        #[test]
        fn every_delivery_ends(answers in answers()) {
            let (mut failures, mut now, mut attempts) = (0, at(0), 0);
            for (status, retry_after, late) in answers {
                let verdict = verdict(status, retry_after);
                if verdict == Verdict::Gone { continue }
                attempts += 1;
                let (ending, more) = go_on(failures, verdict, now, &schedule(), 0.5);
                prop_assert_eq!(ending == Ending::Delivered, (200..300).contains(&status));
                prop_assert_eq!(ending == Ending::Exhausted, attempts == 4 && ending != Ending::Delivered);
                let Ending::Parked { due_at } = ending else { break };
                let wait = [5, 300, 1_800][failures as usize];
                prop_assert!(due_at >= now.later(Duration::from_secs(wait)));
                failures = more;
                now = due_at.later(Duration::from_secs(u64::try_from(late).unwrap()));
            }
            prop_assert!(attempts <= 4);
        }
    }
}
