//! Whether what is to go on for ever does go on. A loop that hangs tells nothing by itself, so it is missed.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// All loops of a process that are to be missed; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulses(Arc<Mutex<Vec<Weak<Pulse>>>>);

/// The life of one loop; it is missed for as long as this is held.
#[derive(Debug)]
pub struct Pulse {
    of: String,
    beaten_at: Mutex<Instant>,
}

impl Pulses {
    /// A loop begins; `of` names it to operators.
    pub(super) fn begin(&self, of: String) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse { of, beaten_at: Mutex::new(Instant::now()) });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&pulse));
        pulse
    }

    /// The loop that has stood still for longest, and for how long, when that is longer than `limit`.
    pub(super) fn missed(&self, limit: Duration) -> Option<(String, Duration)> {
        let mut pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|pulse| pulse.strong_count() > 0);
        // At one moment for all: whoever is looked at later has not stood still for longer.
        let now = Instant::now();
        let living = pulses.iter().filter_map(Weak::upgrade);
        let still = living.map(|pulse| (pulse.of.clone(), pulse.still_for(now)));
        still.max_by_key(|(_, still_for)| *still_for).filter(|(_, still_for)| *still_for > limit)
    }
}

impl Pulse {
    /// It has got on, or has nothing to do.
    pub fn beat(&self) {
        *self.beaten_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn still_for(&self, now: Instant) -> Duration {
        let beaten_at = self.beaten_at.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(*beaten_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_missed_until_it_goes_on_or_ends() {
        let pulses = Pulses::default();
        let (first, second) = (pulses.begin("first".to_owned()), pulses.begin("second".to_owned()));
        assert_eq!(pulses.missed(Duration::from_mins(1)), None);
        let missed = || pulses.missed(Duration::ZERO).map(|(of, _)| of);
        second.beat();
        assert_eq!(missed().as_deref(), Some("first"));
        first.beat();
        assert_eq!(missed().as_deref(), Some("second"));
        drop(second);
        assert_eq!(missed().as_deref(), Some("first"));
        drop(first);
        assert_eq!(missed(), None);
    }
}
