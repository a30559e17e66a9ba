//! Replays over in-memory ports: a job that is killed between any two effects, beside live traffic, comes to
//! the same as one that nobody disturbed, and tells each change under one id.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/memory/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod memory;
#[path = "support/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use memory::queue::MemoryQueue;
use memory::store::{Guard, MemoryStore, Tables};
use penstock::account::{
    Account, Generation, LogPartition, Offset, Partition, Policy, Submission, Timestamp, Verdict, View,
    decide,
};
use penstock::queue::{Headers, PollLimits, Queue, Received, Record, Topic};
use penstock::replay::{
    Bound, Mode, ReplayError, Request, Resolved, Run, RunStep, Selection, Uptake, Way, Window, new_job,
};
use penstock::store::{
    Applied, JobName, JobState, OffsetRange, Replays, RunnerId, Store, StoreError, Wanted,
};
use random::Random;
use uuid::Uuid;

const PARTITIONS: u32 = 2;
const GROUP: &str = "workers";
const GENERATION: Generation = Generation(1);

fn policy(types: &[&str]) -> Arc<Policy> {
    let mut policy = Policy::default();
    policy.reference.account_types = types.iter().map(|it| ((*it).to_owned(), String::new())).collect();
    Arc::new(policy)
}

/// A record of an account that collides with others now and then.
fn record(random: &mut Random, number: u64) -> Record {
    let account = random.below(6);
    let account_type = random.pick(&["t0", "t1"]);
    let action = random.pick(&["CREATE", "UPDATE"]);
    let number = if random.below(6) == 0 { number.saturating_sub(random.below(5)) } else { number };
    let json = format!(
        r#"{{"communicationNumber": "n{number}", "requester": "CORE", "businessEntityExtId": "c",
            "accountExtId": "a{account}", "accountNumber": "1", "accountStatus": "ACTIVE", "action": "{action}",
            "currencyCode": "EUR", "accountType": "{account_type}", "openingDate": "2023-09-05T08:07:34Z"}}"#
    );
    Record {
        key: Bytes::from(format!("/a{account}")),
        value: Bytes::from(json),
        headers: Headers::default(),
    }
}

fn submission(received: &Received) -> Submission {
    let account = Account::parse(std::str::from_utf8(&received.record.value).unwrap()).unwrap();
    let log = LogPartition { generation: GENERATION, partition: received.partition };
    Submission::new(account, None, log.at(received.offset))
}

/// A lane as simple as can be: the next submission of a partition, decided and applied. False when there was
/// none.
async fn live_step(
    queue: &MemoryQueue,
    store: &MemoryStore,
    policy: &Policy,
    partition: Partition,
) -> bool {
    let log = LogPartition { generation: GENERATION, partition };
    let frontier = store.tables().frontiers.get(&log).copied().unwrap_or(Offset(0));
    let next = queue.log(Topic::Submitted).into_iter();
    let next =
        next.filter(|it| it.partition == partition && it.offset >= frontier).min_by_key(|it| it.offset);
    let Some(received) = next else { return false };
    let submission = submission(&received);
    let range = OffsetRange { log, from: received.offset, to: received.offset.next() };
    let wanted = Wanted {
        numbers: vec![submission.account.communication_number.clone()],
        accounts: vec![submission.account.key()],
        ranges: vec![range],
    };
    loop {
        let view: View = store.load(&wanted).await.unwrap();
        let through = [(log, received.offset.next())];
        let one = std::slice::from_ref(&submission);
        let decision = decide(one, &through, &view, policy).unwrap();
        if store.apply(&decision.plan).await.unwrap() == Applied::Done {
            return true;
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(done) = poll(future.as_mut()) {
            return done;
        }
    }
}

fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

struct World {
    random: Random,
    queue: MemoryQueue,
    store: MemoryStore,
    name: JobName,
    runner: u128,
    today: Arc<Policy>,
}

/// What there is of a job in the end.
struct Outcome {
    tables: Tables,
    /// The events that name the job, by their ids: how often each was told.
    told: BTreeMap<String, usize>,
}

impl World {
    /// A history by the short list, all of it applied.
    fn new(seed: u64, store: MemoryStore) -> Self {
        let mut random = Random(seed);
        let queue = MemoryQueue::new(PARTITIONS);
        let count = 20 + random.below(30);
        for number in 0..count {
            queue.append(Topic::Submitted, record(&mut random, number));
        }
        let then = policy(&["t0"]);
        for partition in (0..PARTITIONS).map(Partition) {
            while block_on(live_step(&queue, &store, &then, partition)) {}
            let end = queue.end(Topic::Submitted, partition);
            block_on(queue.set_committed(Topic::Submitted, GROUP, partition, end)).unwrap();
        }
        let (name, today) = (JobName::parse("job").unwrap(), policy(&["t0", "t1"]));
        Self { random, queue, store, name, runner: 0, today }
    }

    fn request() -> Request {
        Request {
            mode: Mode::Redecide,
            selection: Selection::default(),
            max_records_per_second: None,
            max_errors: None,
        }
    }

    fn begin(&self) {
        let window = Window { from: Bound::Open, to: Bound::Open, partitions: BTreeSet::new() };
        let resolved: Resolved =
            block_on(window.resolve(&self.queue, &self.store, GROUP, GENERATION)).unwrap();
        let digest = self.today.digest();
        let (operator, reason) = ("test".to_owned(), "test".to_owned());
        let job = new_job(self.name.clone(), &Self::request(), &resolved, digest, operator, reason);
        assert!(block_on(self.store.create_job(&job.unwrap(), Timestamp::from_unix_millis(0))).unwrap());
    }

    /// Another process that runs the job to its end; the one before it is long gone.
    fn process(&mut self) -> Pin<Box<dyn Future<Output = Result<(), ReplayError>>>> {
        self.runner += 1;
        let now = Timestamp::from_unix_millis(
            4_000_000_000_000 + i64::try_from(self.runner).unwrap() * 3_600_000,
        );
        let runner = RunnerId(Uuid::from_u128(self.runner));
        let (queue, store, name) = (self.queue.clone(), self.store.clone(), self.name.clone());
        let max_records = 1 + usize::try_from(self.random.below(7)).unwrap();
        let way = Way {
            store: store.clone(),
            policy: Arc::clone(&self.today),
            generation: GENERATION,
            limits: PollLimits { max_records, max_bytes: 1 << 20, max_wait: Duration::ZERO },
            group: GROUP.to_owned(),
            scratch: std::env::temp_dir(),
            selection: Selection::default(),
        };
        Box::pin(async move {
            let later = Timestamp::from_unix_millis(now.unix_millis() + 1);
            assert!(store.lease_job(&name, runner, now, later).await?, "nobody else has it any more");
            let job = store.job(&name).await?.unwrap();
            let mut run = Run::go_on(&queue, way, &job, runner, "penstock".to_owned()).await?;
            while let RunStep::Progress(_) = run.step(Instant::now()).await? {}
            Ok(())
        })
    }

    /// Runs the job, killed so often, with live traffic or without.
    fn run(mut self, kills: u64, has_traffic: bool) -> Outcome {
        self.begin();
        let mut process = self.process();
        let (mut kills, mut number) = (kills, 1_000);
        let mut live = None::<Pin<Box<dyn Future<Output = bool>>>>;
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < 100_000, "it comes to an end");
            if kills > 0 && self.random.below(12) == 0 {
                kills -= 1;
                drop(process);
                process = self.process();
            }
            if kills > 0 && !has_traffic && self.random.below(16) == 0 {
                self.store.fail_next(1);
            }
            if has_traffic && self.random.below(9) == 0 && number < 1_020 {
                number += 1;
                self.queue.append(Topic::Submitted, record(&mut self.random, number));
            }
            if has_traffic && self.random.below(2) == 0 {
                let partition = Partition(u32::try_from(self.random.below(PARTITIONS.into())).unwrap());
                let (queue, store, today) =
                    (self.queue.clone(), self.store.clone(), Arc::clone(&self.today));
                let step = live.get_or_insert_with(|| {
                    Box::pin(async move { live_step(&queue, &store, &today, partition).await })
                });
                if poll(step.as_mut()).is_ready() {
                    live = None;
                }
            }
            match poll(process.as_mut()) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => break,
                // What it asked for may have been done all the same.
                Poll::Ready(Err(ReplayError::Store(StoreError::Unavailable { .. }))) => {
                    process = self.process();
                }
                Poll::Ready(Err(error)) => panic!("{error}"),
            }
        }
        if let Some(step) = live {
            block_on(step);
        }
        for partition in (0..PARTITIONS).map(Partition) {
            while block_on(live_step(&self.queue, &self.store, &self.today, partition)) {}
        }
        let job = block_on(self.store.job(&self.name)).unwrap().unwrap();
        assert_eq!(job.state, JobState::Completed);
        let mut told = BTreeMap::new();
        for received in self.queue.log(Topic::Results) {
            let headers = &received.record.headers;
            assert_eq!(headers.text("penstock-replay"), Some("job"));
            assert_eq!(headers.text("ce_replay"), Some("job"));
            *told.entry(headers.text("ce_id").unwrap().to_owned()).or_default() += 1;
        }
        Outcome { tables: self.store.tables(), told }
    }
}

/// What an account may never do: go back to an older submission than one that was accepted of it.
fn account_states_are_the_fold(tables: &Tables, queue: &MemoryQueue) -> Result<(), String> {
    let mut last = BTreeMap::new();
    for received in queue.log(Topic::Submitted) {
        let submission = submission(&received);
        let number = &submission.account.communication_number;
        let claim = tables.ledger.iter().find(|claim| claim.communication.number == *number);
        if claim.is_some_and(|claim| claim.coordinates == submission.coordinates) {
            let newest = last.entry(submission.account.key()).or_insert(submission.coordinates);
            *newest = (*newest).max(submission.coordinates);
        }
    }
    for (key, version) in last {
        let state = tables.accounts.get(&key).map(|(version, _)| *version);
        if state != Some(version) {
            return Err(format!("an account stands at {state:?} instead of {version}"));
        }
    }
    Ok(())
}

/// Every change was told, under the id of its outcome, and nothing else was.
fn changes_are_told(outcome: &Outcome) {
    let changes = &outcome.tables.replays.changes;
    let ids: BTreeSet<String> =
        changes.values().map(|change| change.after.event_id.to_string()).collect();
    assert_eq!(outcome.told.keys().cloned().collect::<BTreeSet<_>>(), ids);
    for change in changes.values() {
        let before = change.before.map(|before| before.verdict);
        assert!(matches!(before, Some(Verdict::Rejected(_))), "what was accepted stays: {before:?}");
        assert_ne!(before, Some(change.after.verdict));
    }
}

fn seeds() -> u64 {
    std::env::var("PENSTOCK_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300)
}

fn rows(tables: &Tables) -> (BTreeSet<String>, String, String) {
    let ledger = tables.ledger.iter().map(|claim| format!("{claim:?}")).collect();
    (
        ledger,
        format!("{:?}", tables.rejections),
        format!(
            "{:?}",
            tables.accounts.iter().map(|(key, (version, _))| (key, version)).collect::<Vec<_>>()
        ),
    )
}

#[test]
fn a_job_that_is_killed_anywhere_comes_to_the_same_as_one_that_is_not() {
    let mut all = 0;
    for seed in 0..seeds() {
        let undisturbed = World::new(seed, MemoryStore::default()).run(0, false);
        changes_are_told(&undisturbed);
        let changes = &undisturbed.tables.replays.changes;
        assert_eq!(undisturbed.told.values().sum::<usize>(), changes.len(), "seed {seed}: once each");
        all += changes.len();
        let killed = World::new(seed, MemoryStore::default()).run(6, false);
        changes_are_told(&killed);
        assert_eq!(rows(&killed.tables), rows(&undisturbed.tables), "seed {seed}");
    }
    assert!(all > 100, "a longer list changes histories: {all} changes");
}

#[test]
fn live_traffic_beside_a_job_keeps_its_order() {
    for seed in 0..seeds() {
        let world = World::new(seed, MemoryStore::default());
        let queue = world.queue.clone();
        let outcome = world.run(3, true);
        let fits = account_states_are_the_fold(&outcome.tables, &queue);
        assert_eq!(fits, Ok(()), "seed {seed}");
        changes_are_told(&outcome);
    }
}

#[test]
fn without_the_compare_and_set_of_accounts_it_would_not() {
    let goes_wrong = (0..2_000).any(|seed| {
        let world = World::new(seed, MemoryStore::without(Guard::AccountCompareAndSet));
        let queue = world.queue.clone();
        let outcome = world.run(0, true);
        account_states_are_the_fold(&outcome.tables, &queue).is_err()
    });
    assert!(goes_wrong, "an older submission replaced a newer state");
}

#[test]
fn jobs_are_taken_up_that_nobody_runs_and_that_go_by_the_same_rules() {
    let world = World::new(1, MemoryStore::default());
    let (store, today) = (&world.store, &world.today);
    let at = |seconds: i64| Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000);
    let enter = |text: &str, policy: &Policy| {
        let window = Window { from: Bound::Open, to: Bound::Open, partitions: BTreeSet::new() };
        let resolved = block_on(window.resolve(&world.queue, store, GROUP, GENERATION)).unwrap();
        let name = JobName::parse(text).unwrap();
        let said = || "test".to_owned();
        let job = new_job(name.clone(), &World::request(), &resolved, policy.digest(), said(), said())
            .unwrap();
        assert!(block_on(store.create_job(&job, at(0))).unwrap());
        name
    };
    let way = Way {
        store: store.clone(),
        policy: Arc::clone(today),
        generation: GENERATION,
        limits: PollLimits { max_records: 9, max_bytes: 1 << 20, max_wait: Duration::ZERO },
        group: GROUP.to_owned(),
        scratch: std::env::temp_dir(),
        selection: Selection::default(),
    };
    let mut uptake = Uptake::new(world.queue.clone(), way, "penstock".to_owned());
    let mut next = |now| block_on(uptake.next(at(now))).unwrap();
    assert_eq!(next(0), None);
    enter("by-others", &policy(&["t0"]));
    let held = enter("held", today);
    assert!(block_on(store.lease_job(&held, RunnerId(Uuid::from_u128(1)), at(0), at(30))).unwrap());
    let paused = enter("paused", today);
    let moved = store.move_job(&paused, &[JobState::Running], JobState::Paused, None, at(0));
    assert!(block_on(moved).unwrap());
    assert_eq!(next(0), None);
    let free = enter("free", today);
    assert_eq!(next(29), Some(free.clone()));
    assert_eq!(next(30), Some(held), "the oldest, whose runner is silent");
}
