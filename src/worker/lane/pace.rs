//! What keeps a lane from going on at once: failures, a store that moves on all the time, dead letters.

use std::time::{Duration, Instant};

use crate::account::View;
use crate::store::{SET_BACK_CHECK, StalePart};
use crate::telemetry::{Metrics, with_causes};

use super::super::brake::Brake;
use super::super::options::{Backoff, LaneOptions};

/// How often in a row a store may refuse a plan although it shows the same again: whatever changed it must
/// show by then.
const MOST_UNCHANGED: u32 = 3;

/// When a lane goes on.
pub(super) struct Pace {
    lane: usize,
    backoff: Backoff,
    brake_pause: Duration,
    brake: Brake,
    metrics: Metrics,
    failures: u32,
    stale: Option<Stale>,
    frontiers_seen_at: Option<Instant>,
}

/// Plans that came too late, one after the other.
struct Stale {
    view: View,
    times: u32,
    unchanged: u32,
}

/// The store has moved on since a batch looked at it.
#[derive(Debug, thiserror::Error)]
#[error("the store has moved on since the batch looked at it ({part}), {times} times in a row")]
struct MovedOn {
    part: StalePart,
    times: u32,
}

/// What to do with a plan that came too late.
pub(super) enum Again {
    /// Look again at once.
    Now,
    /// Look again after a pause.
    After(Duration),
    /// Never: the store contradicts itself.
    Never,
}

impl Pace {
    pub(super) fn new(lane: usize, options: &LaneOptions, metrics: Metrics) -> Self {
        Self {
            lane,
            backoff: options.backoff,
            brake_pause: options.brake.pause,
            brake: Brake::new(options.brake),
            metrics,
            failures: 0,
            stale: None,
            frontiers_seen_at: None,
        }
    }

    /// Whether something failed and did not work since.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Everything works.
    pub(super) fn works(&mut self) {
        self.failures = 0;
    }

    /// Something failed: how long to wait before it is tried again.
    pub(super) fn failed(
        &mut self,
        reason: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = self.backoff.wait(self.failures);
        self.metrics.retried(reason);
        tracing::warn!(
            lane = self.lane,
            attempt = self.failures,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            error = %with_causes(error),
            "trying again; nothing is lost meanwhile"
        );
        wait
    }

    /// A plan that was made on `view` came too late: this part of it did not fit.
    pub(super) fn stale(&mut self, part: StalePart, view: View) -> Again {
        let before = self.stale.take();
        let (times, unchanged) = match &before {
            Some(before) if before.view == view => (before.times + 1, before.unchanged + 1),
            Some(before) => (before.times + 1, 0),
            None => (1, 0),
        };
        self.stale = Some(Stale { view, times, unchanged });
        if unchanged >= MOST_UNCHANGED {
            return Again::Never;
        }
        if times == 1 {
            self.metrics.retried("stale");
            return Again::Now;
        }
        Again::After(self.failed("stale", &MovedOn { part, times }))
    }

    /// A plan was in time, or there is none any more.
    pub(super) fn in_time(&mut self) {
        self.stale = None;
    }

    /// Counts a batch; a pause when too much of what came lately is no account.
    pub(super) fn brake(&mut self, records: usize, dead_letters: usize) -> Option<Duration> {
        if !self.brake.trips(records, dead_letters) {
            return None;
        }
        tracing::error!(
            lane = self.lane,
            pause_seconds = self.brake_pause.as_secs(),
            "too many records are dead letters; the lane pauses. Look at accounts.dead-letter and \
             stop the producer that writes what is no account"
        );
        Some(self.brake_pause)
    }

    /// Whether to see now if the store was set back, having found nothing to read.
    pub(super) fn is_frontier_check_due(&mut self, now: Instant) -> bool {
        let seen_at = *self.frontiers_seen_at.get_or_insert(now);
        let is_due = now.saturating_duration_since(seen_at) >= SET_BACK_CHECK;
        if is_due {
            self.frontiers_seen_at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Generation, LogPartition, Offset, Partition};
    use crate::queue::PollLimits;
    use crate::worker::BrakeOptions;

    fn pace() -> Pace {
        let second = Duration::from_secs(1);
        let options = LaneOptions {
            generation: Generation(1),
            event_type_prefix: String::new(),
            poll: PollLimits { max_records: 1, max_bytes: 1, max_wait: second },
            commit_interval: second,
            backoff: Backoff { initial: second, max: second * 8 },
            brake: BrakeOptions { max_share: 0.5, window_records: 10, pause: second * 30 },
        };
        Pace::new(0, &options, Metrics::disabled())
    }

    fn view(frontier: u64) -> View {
        let log = LogPartition { generation: Generation(1), partition: Partition(0) };
        let mut view = View::default();
        view.frontiers.insert(log, Offset(frontier));
        view
    }

    #[test]
    fn a_store_that_moves_on_all_the_time_is_asked_less_and_less() {
        let mut pace = pace();
        assert!(matches!(pace.stale(StalePart::Claim, view(0)), Again::Now));
        for times in 1..20 {
            let Again::After(wait) = pace.stale(StalePart::Claim, view(times)) else {
                panic!("at once, or never")
            };
            assert_eq!(wait, pace.backoff.wait(u32::try_from(times).unwrap()));
        }
        pace.in_time();
        assert!(matches!(pace.stale(StalePart::Claim, view(99)), Again::Now));
    }

    #[test]
    fn a_store_that_refuses_what_it_shows_contradicts_itself() {
        let mut pace = pace();
        assert!(matches!(pace.stale(StalePart::Claim, view(7)), Again::Now));
        assert!(matches!(pace.stale(StalePart::Claim, view(7)), Again::After(_)));
        assert!(matches!(pace.stale(StalePart::Claim, view(7)), Again::After(_)));
        assert!(matches!(pace.stale(StalePart::Claim, view(7)), Again::Never));
    }
}
