//! What schedulers over in-memory ports have in common: processes that go on from point to point, stand
//! still or crash, and a seed for every order of events.

use std::cell::Cell;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use penstock::queue::Topic;

use crate::memory::point;
use crate::memory::queue::{MemberId, MemoryQueue};

/// Something that is done step by step, each coming to an `O`, as a process would do it: dropping it is a
/// crash.
pub struct Process<O> {
    queue: MemoryQueue,
    member: MemberId,
    clock: Rc<Cell<Instant>>,
    last: Rc<Cell<Option<O>>>,
    /// Ends only with why it gave up.
    running: Pin<Box<dyn Future<Output = String>>>,
    wakes: Arc<Wakes>,
    frozen_turns: u64,
}

/// Counts how often a process was woken. Whoever may wake it later holds on to this.
#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<O: Copy + 'static> Process<O> {
    /// A process that is this member of the queue's group, and has done nothing yet.
    pub fn new<E: Display>(
        queue: MemoryQueue,
        member: MemberId,
        now: Instant,
        mut step: impl AsyncFnMut(Instant) -> Result<O, E> + 'static,
    ) -> Self {
        let (clock, last) = (Rc::new(Cell::new(now)), Rc::new(Cell::new(None)));
        let (reads, tells) = (Rc::clone(&clock), Rc::clone(&last));
        let mut begins = now;
        let running = async move {
            loop {
                match step(begins).await {
                    Ok(outcome) => tells.set(Some(outcome)),
                    Err(error) => return format!("a process gave up: {error}"),
                }
                begins = reads.get();
                point().await;
            }
        };
        let (running, wakes) = (Box::pin(running), Arc::default());
        Self { queue, member, clock, last, running, wakes, frozen_turns: 0 }
    }

    /// Lets it go on up to its next point; an error when it gave up, or waits for what nobody will do: it
    /// was not woken and nobody holds on to its waker.
    pub fn poll(&mut self, now: Instant) -> Result<(), String> {
        if self.frozen_turns > 0 {
            self.frozen_turns -= 1;
            return Ok(());
        }
        self.clock.set(now);
        let wakes_before = self.wakes.count();
        let waker = Waker::from(Arc::clone(&self.wakes));
        let polled = self.running.as_mut().poll(&mut Context::from_waker(&waker));
        drop(waker);
        let can_be_woken = Arc::strong_count(&self.wakes) > 1 || self.wakes.count() > wakes_before;
        match polled {
            Poll::Ready(why) => Err(why),
            Poll::Pending if can_be_woken => Ok(()),
            Poll::Pending => Err("a process waits for what nobody will do".to_owned()),
        }
    }

    /// An assigned partition is gone without a word when the process says from where to read it.
    pub fn lose_a_partition(&self) {
        self.queue.lose_when_sought(self.member);
    }

    /// What its last step came to; none before the first one has ended.
    pub fn last(&self) -> Option<O> {
        self.last.get()
    }

    /// Takes what it had from the queue away; it must be dropped then.
    pub fn crash(&self) {
        self.queue.crash();
    }

    /// It stands still for so many turns, and for so long that its group goes on without it.
    pub fn freeze(&mut self, turns: u64) {
        self.frozen_turns = turns;
        self.expire();
    }

    /// Its group goes on without it.
    pub fn expire(&self) {
        self.queue.expire(self.member);
    }
}

/// The value of a future that has nothing to wait for.
pub fn poll_now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a future that must not wait waits"),
    }
}

/// Whether a group has committed a topic up to its end; if not, what it has not.
pub fn everything_is_committed(queue: &MemoryQueue, topic: Topic, group: &str) -> Result<(), String> {
    let committed = queue.committed(topic, group);
    for (partition, end) in queue.ends(topic) {
        if committed.get(&partition) != Some(&end) {
            let committed = committed.get(&partition);
            return Err(format!("{partition:?} is committed up to {committed:?} and ends at {end:?}"));
        }
    }
    Ok(())
}

/// Seeds per run of the suite; `PENSTOCK_TEST_SEEDS` asks for more than is usual.
pub fn seeds(usual: u64) -> u64 {
    std::env::var("PENSTOCK_TEST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// No seed may show a violation.
pub fn must_hold(seeds: u64, run: impl Fn(u64) -> Result<(), String>) {
    for seed in 0..seeds {
        if let Err(violation) = run(seed) {
            panic!("seed {seed}: {violation}");
        }
    }
}

/// A guard is switched off: some seed must show it as this violation, or the checker proves nothing.
pub fn must_be_noticed(seeds: u64, expected: &str, run: impl Fn(u64) -> Result<(), String>) {
    let mut others = Vec::new();
    for violation in (0..seeds).filter_map(|seed| run(seed).err()) {
        if violation.contains(expected) {
            return;
        }
        others.push(violation);
    }
    panic!("no seed noticed that a guard was off as {expected:?}, only as {others:#?}");
}
