//! Batches whose outcomes are waited for. A reply finds its batch by id, and tells besides how fresh
//! replies are, by the time since its item was published: what else a batch waited for is its own affair
//! and changes nothing for others.

use std::collections::HashMap;
use std::ops::RangeInclusive;
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

    /// At `now` a reply came; its item was published so long ago. What may be late or not proves nothing.
    pub(super) fn replied(&mut self, ago: RangeInclusive<Duration>, now: Instant) {
        if *ago.end() <= self.limit {
            self.late_at = None;
        } else if *ago.start() > self.limit {
            self.late_at = Some(now);
        }
    }

    /// Until `now` an item's outcome was waited for since it was published, and did not come. A wait
    /// shorter than the limit proves nothing.
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
    /// The longest that an item is held back for earlier ones of its batch.
    max_wait: Duration,
    opened_at: Timestamp,
}

impl Waiting {
    /// Nobody waits yet. Replies are fresh up to an age of `fresh_within`; no batch waits longer than
    /// `max_wait`. Replies to batches from before `opened_at` are repetitions after a restart and tell
    /// nothing.
    pub(super) fn new(fresh_within: Duration, max_wait: Duration, opened_at: Timestamp) -> Self {
        let freshness = Mutex::new(Freshness::new(fresh_within));
        Self { batches: Mutex::default(), freshness, max_wait: max_wait.max(fresh_within), opened_at }
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
            let ago = match waiting {
                Some(outcomes) => outcomes.note(of_one_batch).map(|ago| ago..=ago),
                None => self.published_ago(batch, now),
            };
            if let Some(ago) = ago {
                lock(&self.freshness).replied(ago, Instant::now());
            }
        }
    }

    /// How long before `now` the items of a batch were published that nobody waits for any more: when it
    /// was received or, if they were held back, by the end of its wait.
    fn published_ago(&self, batch: BatchId, now: Timestamp) -> Option<RangeInclusive<Duration>> {
        let received_at = batch.received_at().filter(|at| *at >= self.opened_at)?;
        let ago = now.unix_millis().saturating_sub(received_at.unix_millis());
        let ago = Duration::from_millis(u64::try_from(ago).unwrap_or(0));
        Some(ago.saturating_sub(self.max_wait)..=ago)
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
    /// `items` are published at `at`.
    pub(super) fn published(&self, items: &[usize], at: Instant) {
        let mut state = lock(&self.outcomes.state);
        for item in items {
            if let Some(slot) = state.items.get_mut(*item) {
                slot.published_at = Some(at);
            }
        }
    }

    /// Waits until the outcomes of `items` are known; false when `deadline` came first.
    pub(super) async fn known(&self, items: &[usize], deadline: Instant) -> bool {
        self.outcomes.until(deadline, |state| items.iter().all(|item| state.is_known(*item))).await
    }

    /// Waits until every outcome is known, at most until `deadline`; an outcome that was waited for in
    /// vain tells how fresh replies are.
    pub(super) async fn all_known(&self, deadline: Instant) {
        if self.outcomes.until(deadline, |state| state.open == 0).await {
            return;
        }
        let first_open = lock(&self.outcomes.state).first_open();
        if let Some(published_at) = first_open {
            let waited = deadline.saturating_duration_since(published_at);
            lock(&self.waiting.freshness).timed_out(waited, Instant::now());
        }
    }

    /// What is known by now, item by item.
    pub(super) fn take(&self) -> Vec<Item> {
        std::mem::take(&mut lock(&self.outcomes.state).items)
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
    items: Vec<Item>,
    open: usize,
}

/// What is known of an item.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Item {
    /// None while it is held back.
    pub(super) published_at: Option<Instant>,
    /// The answer, and when it came.
    pub(super) answer: Option<(Answer, Instant)>,
}

impl State {
    fn is_known(&self, item: usize) -> bool {
        self.items.get(item).is_some_and(|item| item.answer.is_some())
    }

    /// When the first of the items was published that are not known.
    fn first_open(&self) -> Option<Instant> {
        let open = self.items.iter().filter(|item| item.answer.is_none());
        open.filter_map(|item| item.published_at).min()
    }
}

impl Outcomes {
    fn new(items: usize) -> Self {
        let state = State { items: vec![Item::default(); items], open: items };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Notes the first answer to each item; whatever comes again says the same. Returns how long ago the
    /// last of them was published.
    fn note(&self, replies: &[Reply]) -> Option<Duration> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let mut last_published = None;
        for reply in replies {
            let item = usize::try_from(reply.item).ok().and_then(|item| state.items.get_mut(item));
            let Some(item) = item else { continue };
            last_published = last_published.max(item.published_at);
            if item.answer.is_none() {
                item.answer = Some((reply.answer, now));
                state.open -= 1;
            }
        }
        drop(state);
        self.changed.notify_waiters();
        last_published.map(|at| now.saturating_duration_since(at))
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
    const MAX_WAIT: Duration = Duration::from_secs(30);

    fn reply(batch: BatchId, item: u32) -> Reply {
        Reply { batch, item, answer: Answer::DeadLettered }
    }

    fn ago(least_ms: u64, most_ms: u64) -> RangeInclusive<Duration> {
        Duration::from_millis(least_ms)..=Duration::from_millis(most_ms)
    }

    fn waiting() -> Arc<Waiting> {
        Arc::new(Waiting::new(LIMIT, MAX_WAIT, Timestamp::from(SystemTime::now())))
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
        freshness.replied(ago(3_001, 3_001), at(4));
        assert!(!freshness.is_worth_waiting(at(5)));
        freshness.replied(ago(1_000, 3_001), at(5));
        assert!(!freshness.is_worth_waiting(at(5)), "it may have been late");
        freshness.replied(ago(3_000, 3_000), at(5));
        assert!(freshness.is_worth_waiting(at(5)));
        freshness.replied(ago(1_000, 3_001), at(5));
        assert!(freshness.is_worth_waiting(at(5)), "it may have been fresh");
    }

    #[test]
    fn old_replies_alone_end_waiting() {
        let mut freshness = Freshness::new(LIMIT);
        freshness.replied(ago(60_000, 60_000), at(0));
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
        let waiting = waiting();
        let batch = BatchId::now();
        let registered = waiting.register(batch, 2);
        let soon = Instant::now() + LIMIT;
        assert!(!registered.known(&[1], Instant::now()).await);
        let other = BatchId::now();
        let replies = [reply(other, 0), reply(batch, 1), reply(batch, 1), reply(batch, 7)];
        waiting.deliver(&replies, Timestamp::from(SystemTime::now()));
        assert!(registered.known(&[1], soon).await);
        assert!(!registered.known(&[0], soon).await);
        waiting.deliver(&[reply(batch, 0)], Timestamp::from(SystemTime::now()));
        assert!(registered.known(&[0, 1], soon).await);
        assert!(registered.take().iter().all(|item| item.answer.is_some()));
        drop(registered);
        assert!(lock(&waiting.batches).is_empty());
    }

    #[tokio::test]
    async fn a_reply_wakes_the_one_who_waits() {
        let waiting = waiting();
        let batch = BatchId::now();
        let registered = waiting.register(batch, 1);
        let far = Instant::now() + Duration::from_mins(1);
        let (known, ()) = tokio::join!(registered.known(&[0], far), async {
            waiting.deliver(&[reply(batch, 0)], Timestamp::from(SystemTime::now()));
        });
        assert!(known);
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_of_a_reply_that_is_waited_for_counts_from_its_items_publishing() {
        let waiting = waiting();
        let batch = BatchId::now();
        let registered = waiting.register(batch, 2);
        registered.published(&[0], Instant::now());
        tokio::time::advance(Duration::from_secs(20)).await;
        // Held back for the first item until now, by the client's own choice.
        registered.published(&[1], Instant::now());
        tokio::time::advance(LIMIT).await;
        waiting.deliver(&[reply(batch, 1)], Timestamp::from(SystemTime::now()));
        assert!(waiting.is_worth_waiting());
        waiting.deliver(&[reply(batch, 0)], Timestamp::from(SystemTime::now()));
        assert!(!waiting.is_worth_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_in_vain_counts_from_the_first_open_items_publishing() {
        let waiting = waiting();
        let batch = BatchId::now();
        let registered = waiting.register(batch, 2);
        let start = Instant::now();
        registered.published(&[0], start);
        waiting.deliver(&[reply(batch, 0)], Timestamp::from(SystemTime::now()));
        registered.published(&[1], start + Duration::from_secs(8));
        registered.all_known(start + Duration::from_secs(10)).await;
        assert!(waiting.is_worth_waiting(), "the open item was waited for less than the limit");
        registered.all_known(start + Duration::from_secs(11)).await;
        assert!(!waiting.is_worth_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_of_a_reply_that_nobody_waits_for_is_known_to_its_batchs_wait() {
        let batch = BatchId::now();
        let received_at = batch.received_at().unwrap();
        let waiting = Waiting::new(LIMIT, MAX_WAIT, received_at);
        let deliver = |age_ms: i64| {
            let now = Timestamp::from_unix_millis(received_at.unix_millis() + age_ms);
            waiting.deliver(&[reply(batch, 0)], now);
        };
        deliver(33_000);
        assert!(waiting.is_worth_waiting(), "it may have been published three seconds ago");
        deliver(33_001);
        assert!(!waiting.is_worth_waiting());
        deliver(3_001);
        assert!(!waiting.is_worth_waiting());
        deliver(3_000);
        assert!(waiting.is_worth_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn replies_from_before_the_start_tell_nothing() {
        let batch = BatchId::now();
        let received_at = batch.received_at().unwrap().unix_millis();
        let waiting = Waiting::new(LIMIT, MAX_WAIT, Timestamp::from_unix_millis(received_at + 1));
        waiting.deliver(&[reply(batch, 0)], Timestamp::from_unix_millis(received_at + 60_000));
        assert!(waiting.is_worth_waiting());
    }
}
