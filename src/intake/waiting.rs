//! Batches whose outcomes are waited for. A reply finds its batch by id; replies nobody waits for
//! only tell how fresh replies are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::account::Timestamp;
use crate::queue::{Answer, BatchId, Reply};

/// Whether outcomes arrive soon enough to be waited for. While they do not, one request in a while
/// waits nevertheless: the last late reply may have been the end of what the workers were behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Freshness {
    limit: Duration,
    /// When outcomes last proved late, or were last waited for in spite of it.
    late_at: Option<Instant>,
}

impl Freshness {
    /// Replies are fresh up to an age of `limit`; at the start they are taken to be.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, late_at: None }
    }

    /// At `now` a reply came `age` after its batch was received.
    pub(super) fn replied(&mut self, age: Duration, now: Instant) {
        self.late_at = (age > self.limit).then_some(now);
    }

    /// Until `now` somebody waited for `waited`, and not every outcome came. A wait shorter than the
    /// limit proves nothing.
    pub(super) fn timed_out(&mut self, waited: Duration, now: Instant) {
        if waited >= self.limit {
            self.late_at = Some(now);
        }
    }

    /// Whether a request that comes at `now` is to wait.
    pub(super) fn is_worth_waiting(&mut self, now: Instant) -> bool {
        match self.late_at {
            Some(late_at) if now.saturating_duration_since(late_at) < self.limit => false,
            Some(_) => {
                self.late_at = Some(now);
                true
            }
            None => true,
        }
    }
}

/// The batches that are waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    batches: Mutex<HashMap<BatchId, Arc<Outcomes>>>,
    freshness: Mutex<Freshness>,
    opened_at: Timestamp,
}

impl Waiting {
    /// Nobody waits yet. Replies are fresh up to an age of `fresh_within`; replies to batches from
    /// before `opened_at` are repetitions after a restart and tell nothing.
    pub(super) fn new(fresh_within: Duration, opened_at: Timestamp) -> Self {
        let freshness = Mutex::new(Freshness::new(fresh_within));
        Self { batches: Mutex::default(), freshness, opened_at }
    }

    /// Waits for the outcomes of a batch of `items` until the result is dropped.
    pub(super) fn register(self: &Arc<Self>, batch: BatchId, items: usize) -> Registered {
        let outcomes = Arc::new(Outcomes::new(items));
        lock(&self.batches).insert(batch, Arc::clone(&outcomes));
        Registered { waiting: Arc::clone(self), batch, outcomes }
    }

    /// Hands replies that came at `now` to whom they concern.
    pub(super) fn deliver(&self, replies: &[Reply], now: Timestamp) {
        for of_one_batch in replies.chunk_by(|a, b| a.batch == b.batch) {
            let batch = of_one_batch[0].batch;
            let waiting = lock(&self.batches).get(&batch).cloned();
            if let Some(outcomes) = waiting {
                outcomes.note(of_one_batch);
            }
            if let Some(received_at) = batch.received_at().filter(|at| *at >= self.opened_at) {
                let age = now.unix_millis().saturating_sub(received_at.unix_millis());
                let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
                lock(&self.freshness).replied(age, Instant::now());
            }
        }
    }

    /// See [`Freshness::timed_out`].
    pub(super) fn timed_out(&self, waited: Duration) {
        lock(&self.freshness).timed_out(waited, Instant::now());
    }

    /// See [`Freshness::is_worth_waiting`].
    pub(super) fn is_worth_waiting(&self) -> bool {
        lock(&self.freshness).is_worth_waiting(Instant::now())
    }
}

/// A batch that is waited for. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct Registered {
    waiting: Arc<Waiting>,
    batch: BatchId,
    outcomes: Arc<Outcomes>,
}

impl Registered {
    /// Waits until the outcomes of `items` are known; false when `deadline` came first.
    pub(super) async fn known(&self, items: &[usize], deadline: Instant) -> bool {
        self.outcomes.until(deadline, |state| items.iter().all(|item| state.is_known(*item))).await
    }

    /// Waits until every outcome is known; false when `deadline` came first.
    pub(super) async fn all_known(&self, deadline: Instant) -> bool {
        self.outcomes.until(deadline, |state| state.open == 0).await
    }

    /// What is known by now, item by item, and since when.
    pub(super) fn take(&self) -> Vec<Option<(Answer, Instant)>> {
        std::mem::take(&mut lock(&self.outcomes.state).answers)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.waiting.batches).remove(&self.batch);
    }
}

#[derive(Debug)]
struct Outcomes {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    answers: Vec<Option<(Answer, Instant)>>,
    open: usize,
}

impl State {
    fn is_known(&self, item: usize) -> bool {
        self.answers.get(item).is_some_and(Option::is_some)
    }
}

impl Outcomes {
    fn new(items: usize) -> Self {
        let state = State { answers: vec![None; items], open: items };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Notes the first answer to each item; whatever comes again says the same.
    fn note(&self, replies: &[Reply]) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        for reply in replies {
            let slot = usize::try_from(reply.item).ok().and_then(|item| state.answers.get_mut(item));
            if let Some(slot @ None) = slot {
                *slot = Some((reply.answer, now));
                state.open -= 1;
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    async fn until(&self, deadline: Instant, done: impl Fn(&State) -> bool) -> bool {
        loop {
            let changed = self.changed.notified();
            if done(&lock(&self.state)) {
                return true;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return done(&lock(&self.state));
            }
        }
    }
}

/// The data behind the locks is whole at every moment, also when a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use std::sync::LazyLock;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    fn reply(batch: BatchId, item: u32) -> Reply {
        Reply { batch, item, answer: Answer::DeadLettered }
    }

    /// Times counted from a common start.
    fn at(seconds: u64) -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_wait_in_vain_ends_waiting_until_a_reply_is_fresh_again() {
        let mut freshness = Freshness::new(LIMIT);
        assert!(freshness.is_worth_waiting(at(0)));
        freshness.timed_out(LIMIT, at(3));
        assert!(!freshness.is_worth_waiting(at(4)));
        freshness.replied(Duration::from_millis(3_001), at(4));
        assert!(!freshness.is_worth_waiting(at(5)));
        freshness.replied(LIMIT, at(5));
        assert!(freshness.is_worth_waiting(at(5)));
    }

    #[test]
    fn old_replies_alone_end_waiting() {
        let mut freshness = Freshness::new(LIMIT);
        freshness.replied(Duration::from_mins(1), at(0));
        assert!(!freshness.is_worth_waiting(at(1)));
    }

    #[test]
    fn while_outcomes_are_late_one_request_in_a_while_waits() {
        let mut freshness = Freshness::new(LIMIT);
        freshness.timed_out(LIMIT, at(3));
        assert!(!freshness.is_worth_waiting(at(5)));
        assert!(freshness.is_worth_waiting(at(6)));
        assert!(!freshness.is_worth_waiting(at(6)));
        assert!(!freshness.is_worth_waiting(at(8)));
        assert!(freshness.is_worth_waiting(at(9)));
    }

    #[test]
    fn a_client_that_waited_less_than_the_limit_proves_nothing() {
        let mut freshness = Freshness::new(LIMIT);
        freshness.timed_out(Duration::from_secs(1), at(1));
        assert!(freshness.is_worth_waiting(at(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_to_each_item_counts() {
        let waiting = Arc::new(Waiting::new(LIMIT, Timestamp::from(SystemTime::now())));
        let batch = BatchId::now();
        let registered = waiting.register(batch, 2);
        let soon = Instant::now() + LIMIT;
        assert!(!registered.known(&[1], Instant::now()).await);
        let other = BatchId::now();
        let replies = [reply(other, 0), reply(batch, 1), reply(batch, 1), reply(batch, 7)];
        waiting.deliver(&replies, Timestamp::from(SystemTime::now()));
        assert!(registered.known(&[1], soon).await);
        assert!(!registered.all_known(soon).await);
        waiting.deliver(&[reply(batch, 0)], Timestamp::from(SystemTime::now()));
        assert!(registered.all_known(soon).await);
        assert!(registered.take().iter().all(Option::is_some));
        drop(registered);
        assert!(lock(&waiting.batches).is_empty());
    }

    #[tokio::test]
    async fn a_reply_wakes_the_one_who_waits() {
        let waiting = Arc::new(Waiting::new(LIMIT, Timestamp::from(SystemTime::now())));
        let batch = BatchId::now();
        let registered = waiting.register(batch, 1);
        let far = Instant::now() + Duration::from_mins(1);
        let (known, ()) = tokio::join!(registered.all_known(far), async {
            waiting.deliver(&[reply(batch, 0)], Timestamp::from(SystemTime::now()));
        });
        assert!(known);
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_of_a_reply_is_told_by_its_batch() {
        let batch = BatchId::now();
        let received_at = batch.received_at().unwrap();
        let waiting = Waiting::new(LIMIT, received_at);
        let deliver = |age_ms: i64| {
            let now = Timestamp::from_unix_millis(received_at.unix_millis() + age_ms);
            waiting.deliver(&[reply(batch, 0)], now);
        };
        deliver(3_001);
        assert!(!waiting.is_worth_waiting());
        deliver(3_000);
        assert!(waiting.is_worth_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn replies_from_before_the_start_tell_nothing() {
        let batch = BatchId::now();
        let received_at = batch.received_at().unwrap().unix_millis();
        let waiting = Waiting::new(LIMIT, Timestamp::from_unix_millis(received_at + 1));
        waiting.deliver(&[reply(batch, 0)], Timestamp::from_unix_millis(received_at + 60_000));
        assert!(waiting.is_worth_waiting());
    }
}
