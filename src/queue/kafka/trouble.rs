//! What is said in the log of brokers that are away, and of what else the clients complain of: one line
//! when trouble begins, one when it is over, and one now and then meanwhile, however many clients there
//! are and however often each of them tries.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing may fail before the trouble is over. Clients try again every two seconds.
const QUIET: Duration = Duration::from_secs(10);
/// How often it is said that the trouble goes on, and that a client complains of the same.
const REMINDER: Duration = Duration::from_mins(1);
/// Kinds of complaints that are told apart.
const MAX_KINDS: usize = 64;

/// What all clients of a queue have met.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    away: Option<Away>,
    complaints: BTreeMap<String, Told>,
}

#[derive(Debug)]
struct Away {
    since: Instant,
    failed_at: Instant,
    told: Told,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    unsaid: u64,
}

/// What is to be said, with how much was left unsaid before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what is to be said is said once"]
pub(super) enum Say {
    /// Nothing.
    Nothing,
    /// Brokers cannot be reached from now on.
    Began,
    /// They still cannot.
    GoesOn { unsaid: u64, seconds: u64 },
    /// They can again.
    Over { unsaid: u64, seconds: u64 },
}

impl Troubles {
    /// A broker cannot be reached.
    pub(super) fn unreachable(&self, now: Instant) -> Say {
        let mut state = self.lock();
        let Some(away) = &mut state.away else {
            state.away = Some(Away { since: now, failed_at: now, told: Told { at: now, unsaid: 0 } });
            return Say::Began;
        };
        away.failed_at = now;
        match away.told.again(now) {
            Some(unsaid) => Say::GoesOn { unsaid, seconds: now.duration_since(away.since).as_secs() },
            None => Say::Nothing,
        }
    }

    /// A client is connected to a broker.
    pub(super) fn reached(&self, now: Instant) -> Say {
        let mut state = self.lock();
        let is_over = |away: &mut Away| now.duration_since(away.failed_at) >= QUIET;
        match state.away.take_if(is_over) {
            Some(away) => Say::Over {
                unsaid: away.told.unsaid,
                seconds: away.failed_at.duration_since(away.since).as_secs(),
            },
            None => Say::Nothing,
        }
    }

    /// A client complains of something else. Returns how often it was not said since it last was, if it
    /// is to be said now.
    pub(super) fn complaint(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        if let Some(told) = state.complaints.get_mut(kind) {
            return told.again(now);
        }
        if state.complaints.len() >= MAX_KINDS {
            state.complaints.clear();
        }
        state.complaints.insert(kind.to_owned(), Told { at: now, unsaid: 0 });
        Some(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn again(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.at) < REMINDER {
            self.unsaid += 1;
            return None;
        }
        self.at = now;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_go_and_come_back_are_two_lines_however_many_errors_there_are() {
        let (troubles, start) = (Troubles::default(), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!(troubles.unreachable(start), Say::Began);
        for error in 1..1_000 {
            assert_eq!(troubles.unreachable(at(error * 30)), Say::Nothing);
            assert_eq!(troubles.reached(at(error * 30)), Say::Nothing, "another broker is there");
        }
        let over = Say::Over { unsaid: 999, seconds: 29 };
        assert_eq!(troubles.reached(at(29_970) + QUIET), over);
        assert_eq!(troubles.reached(at(60_000)), Say::Nothing);
        assert_eq!(troubles.unreachable(at(61_000)), Say::Began, "it begins anew");
    }

    #[test]
    fn a_long_outage_is_told_of_now_and_then() {
        let (troubles, start) = (Troubles::default(), Instant::now());
        let told = |second: u64| troubles.unreachable(start + Duration::from_secs(second));
        let lines = (0..3_600).map(told).filter(|say| *say != Say::Nothing).count();
        assert_eq!(lines, 60);
    }

    #[test]
    fn complaints_are_told_once_a_minute_each() {
        let (troubles, start) = (Troubles::default(), Instant::now());
        assert_eq!(troubles.complaint("REQTMOUT", start), Some(0));
        assert_eq!(troubles.complaint("REQTMOUT", start + Duration::from_secs(1)), None);
        assert_eq!(troubles.complaint("OTHER", start), Some(0));
        assert_eq!(troubles.complaint("REQTMOUT", start + REMINDER), Some(1));
    }
}
