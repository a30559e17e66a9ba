//! What an intake depends on and cannot use now, told in the log when that begins, changes or ends, and counted
//! between: however many requests are refused meanwhile, it is one trouble.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long nothing must have been refused before it is told that all is well: what is full takes one thing and
/// refuses the next.
const CALM: Duration = Duration::from_secs(10);

/// Trouble with one thing that an intake depends on.
#[derive(Debug)]
pub(super) struct Trouble {
    what: &'static str,
    is_there: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What it is now, and when it was met last.
    now: Option<(&'static str, Instant)>,
    /// Requests refused for it so far.
    refused: u64,
}

impl State {
    /// A request is refused for this; whether that is news.
    fn refused(&mut self, kind: &'static str, now: Instant) -> bool {
        let is_news = self.now.is_none_or(|(known, _)| known != kind);
        self.now = Some((kind, now));
        self.refused += 1;
        is_news
    }

    /// Something was taken; how many requests were refused before, if the trouble is over by that.
    fn taken(&mut self, now: Instant) -> Option<u64> {
        let (_, last) = self.now?;
        (now.saturating_duration_since(last) >= CALM).then(|| std::mem::take(self).refused)
    }
}

impl Trouble {
    /// None so far, with what is called so.
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, is_there: AtomicBool::new(false), state: Mutex::default() }
    }

    /// A request is refused for trouble of this kind; whether to tell of it.
    pub(super) fn refused(&self, kind: &'static str) -> bool {
        self.is_there.store(true, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refused(kind, Instant::now())
    }

    /// It did what it was asked for.
    pub(super) fn worked(&self) {
        if !self.is_there.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refused) = state.taken(Instant::now()) {
            self.is_there.store(false, Ordering::Relaxed);
            tracing::info!(refused, "{} works again", self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_when_it_begins_and_changes_and_counted_until_it_ends() {
        let (mut state, start) = (State::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(state.taken(at(0)), None, "there was none");
        assert!(state.refused("overloaded", at(0)));
        assert!(!state.refused("overloaded", at(1)));
        assert_eq!(state.taken(at(2)), None, "what is full takes something now and then");
        assert!(!state.refused("overloaded", at(9)));
        assert!(state.refused("broken", at(15)), "that is another one");
        assert_eq!(state.taken(at(24)), None);
        assert_eq!(state.taken(at(25)), Some(4));
        assert_eq!(state.taken(at(26)), None, "told once");
        assert!(state.refused("broken", at(27)));
    }
}
