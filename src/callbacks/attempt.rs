//! What an attempt came to, and how the delivery and its endpoint go on: decisions without effects.

use std::time::Duration;

use crate::account::Timestamp;
use crate::store::Ending;

use super::schedule::{Retry, Schedule, later};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx: the receiver has it.
    Delivered,
    /// The receiver works and asks to be left alone for a while: 429 or 503 with `Retry-After`.
    Throttled(Duration),
    /// 410: the receiver wants nothing more.
    Gone,
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
            _ => Self::Failed,
        }
    }
}

/// How often a delivery failed and since when it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Failures that count towards the schedule's end.
    pub failures: u32,
    /// When it was first tried or parked.
    pub since: Timestamp,
}

/// How a delivery goes on after an attempt that ended `now`, and its failures from then on.
///
/// Being throttled is no failure of the event, so it does not bring the schedule's end nearer, as long
/// as the delivery is not older than the whole schedule. What meets 410 is kept for the time when an
/// operator enables the endpoint again.
pub fn go_on(
    progress: Progress,
    verdict: Verdict,
    now: Timestamp,
    schedule: &Schedule,
    random: f64,
) -> (Ending, u32) {
    let Progress { failures, since } = progress;
    let is_young = now < later(since, schedule.length());
    let asked = match verdict {
        Verdict::Delivered => return (Ending::Delivered, failures),
        Verdict::Gone => return (Ending::Parked { due_at: now }, failures),
        Verdict::Throttled(wait) if is_young => {
            let wait = schedule.asked(Some(wait)).unwrap_or_default();
            return (Ending::Parked { due_at: later(now, wait) }, failures);
        }
        Verdict::Throttled(wait) => Some(wait),
        Verdict::Failed => None,
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
        for status in [100, 301, 302, 307, 308, 400, 401, 404, 408, 413, 415, 429, 500, 502, 503, 504] {
            assert_eq!(verdict(status, None), Verdict::Failed, "{status}");
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
        let mut progress = Progress { failures: 0, since: at(0) };
        let mut endings = Vec::new();
        for _ in 0..4 {
            let (ending, failures) = go_on(progress, Verdict::Failed, at(0), &schedule(), 0.5);
            progress.failures = failures;
            endings.push(ending);
        }
        let parked = |seconds| Ending::Parked { due_at: at(seconds) };
        assert_eq!(endings, [parked(5), parked(300), parked(1_800), Ending::Exhausted]);
    }

    #[test]
    fn being_throttled_wears_nothing_out_until_the_delivery_is_old() {
        let progress = Progress { failures: 2, since: at(0) };
        let throttled = Verdict::Throttled(Duration::from_mins(1));
        let go_on = |now| go_on(progress, throttled, at(now), &schedule(), 0.5);
        assert_eq!(go_on(10), (Ending::Parked { due_at: at(70) }, 2));
        assert_eq!(go_on(2_105), (Ending::Parked { due_at: at(2_105 + 1_800) }, 3));
    }

    #[test]
    fn what_meets_410_is_kept() {
        let progress = Progress { failures: 2, since: at(0) };
        let gone = go_on(progress, Verdict::Gone, at(9), &schedule(), 0.5);
        assert_eq!(gone, (Ending::Parked { due_at: at(9) }, 2));
    }

    proptest! {
        /// Whatever is answered, a delivery ends after a bounded number of failures, and only an
        /// acknowledged one counts as delivered.
        #[test]
        fn every_delivery_ends(answers in prop::collection::vec((100_u16..600, prop::option::of(0_u64..9_000)), 40)) {
            let mut progress = Progress { failures: 0, since: at(0) };
            let mut now = at(0);
            for (status, retry_after) in answers {
                let verdict = verdict(status, retry_after);
                let (ending, failures) = go_on(progress, verdict, now, &schedule(), 0.5);
                prop_assert_eq!(ending == Ending::Delivered, (200..300).contains(&status));
                prop_assert!(failures >= progress.failures && failures <= 4);
                prop_assert_eq!(ending == Ending::Exhausted, failures == 4);
                let Ending::Parked { due_at } = ending else { break };
                prop_assert!(due_at >= now);
                progress.failures = failures;
                now = due_at;
            }
        }
    }
}
