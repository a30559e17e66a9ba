//! What decisions depend on beside their arguments: the time and chance. Tests bring their own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::account::Timestamp;

/// Clocks are corrected by less than that all the time.
const LEAST_SET_BACK: Duration = Duration::from_mins(1);

type Clock = dyn Fn() -> Timestamp + Send + Sync;
type Chance = dyn Fn() -> f64 + Send + Sync;

/// The time and chance; cheap to clone.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<Clock>,
    chance: Arc<Chance>,
}

impl Ambient {
    /// A clock, and a source of numbers from 0 to 1.
    pub fn new(
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        chance: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { clock: Arc::new(clock), chance: Arc::new(chance) }
    }

    /// The system's. A clock that is set back is told: what is parked is due by the time of before.
    pub fn system() -> Self {
        let chance = || f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        let latest = AtomicI64::new(i64::MIN);
        let clock = move || {
            let now = Timestamp::from(SystemTime::now());
            let before = latest.swap(now.unix_millis(), Ordering::Relaxed);
            if let Some(by) = set_back_by(before, now) {
                tracing::warn!(
                    set_back_s = by.as_secs(),
                    "the clock was set back: parked callbacks are due that much later; \
                     `penstock callbacks redeliver --state parked` has them go out now"
                );
            }
            now
        };
        Self::new(clock, chance)
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn random(&self) -> f64 {
        (self.chance)()
    }
}

/// By how much the clock was set back since it showed `before`, if that matters.
fn set_back_by(before: i64, now: Timestamp) -> Option<Duration> {
    let millis = u64::try_from(before.saturating_sub(now.unix_millis())).ok()?;
    Some(Duration::from_millis(millis)).filter(|by| *by >= LEAST_SET_BACK)
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ambient").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_told_when_it_matters() {
        let now = Timestamp::from_unix_millis(1_700_000_000_000);
        let by = |millis| set_back_by(now.unix_millis() + millis, now).map(|by| by.as_secs());
        assert_eq!((by(86_400_000), by(60_000)), (Some(86_400), Some(60)));
        assert_eq!((by(59_999), by(0), by(-5), set_back_by(i64::MIN, now)), (None, None, None, None));
    }
}
