//! Dead letters that are put back over in-memory ports: by several processes at once, each killed anywhere, none is
//! lost, none is put back that nobody asked for, and none twice while nobody is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/memory/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod memory;
#[path = "support/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use memory::queue::MemoryQueue;
use memory::store::{Guard, MemoryStore};
use penstock::account::{Coordinates, Generation, LogPartition, Offset, Partition, Timestamp};
use penstock::dead_letters::{Redriver, SurveyError};
use penstock::queue::{Headers, PollLimits, Received, Record, Topic, dead_letter};
use penstock::store::{Case, CaseState, Cases, Decided, Decision, OffsetRange};
use random::Random;

const PARTITIONS: u32 = 3;
const GENERATION: Generation = Generation(1);
const LIMITS: PollLimits = PollLimits { max_records: 7, max_bytes: 1 << 20, max_wait: Duration::ZERO };

fn at(received: &Received) -> Coordinates {
    LogPartition { generation: GENERATION, partition: received.partition }.at(received.offset)
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
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

fn account(number: u64) -> String {
    format!(
        r#"{{"communicationNumber": "n{number}", "requester": "CORE", "businessEntityExtId": "c",
            "accountExtId": "a{number}", "accountNumber": "1", "accountStatus": "ACTIVE",
            "currencyCode": "EUR", "openingDate": "2023-09-05T08:07:34Z", "action": "CREATE"}}"#
    )
}

/// A letter whose account has its number.
fn letter(random: &mut Random, number: u64) -> Record {
    let mut headers = Headers::default();
    headers.push("penstock-batch", format!("batch-{number}"));
    let received = Received {
        partition: Partition(0),
        offset: Offset(number),
        appended_at: time(0),
        record: Record {
            key: Bytes::from(format!("key-{}", random.below(9))),
            value: Bytes::from(account(number)),
            headers,
        },
    };
    let topic = random.pick(&[Topic::Submitted, Topic::Results]);
    let mut record = dead_letter(&received, topic, "not_storable", "no room");
    match random.below(12) {
        0 => record.headers.push("penstock-origin-value-bytes", "70000"),
        1 => record.headers = Headers::default(),
        _ => {}
    }
    record
}

/// Whether a letter that was made above can go back.
fn can_go_back(record: &Record) -> bool {
    let headers = &record.headers;
    headers.get("penstock-origin-topic").is_some()
        && headers.get("penstock-origin-value-bytes").is_none()
}

type Step = Pin<Box<dyn Future<Output = Result<usize, SurveyError>>>>;

struct World {
    random: Random,
    queue: MemoryQueue,
    store: MemoryStore,
    letters: Vec<Received>,
    requested: Vec<Coordinates>,
    seconds: i64,
    kills: u64,
}

impl World {
    fn new(seed: u64, store: MemoryStore) -> Self {
        let mut random = Random(seed);
        let queue = MemoryQueue::new(PARTITIONS);
        let count = 5 + random.below(40);
        for number in 0..count {
            let letter = letter(&mut random, number);
            queue.append(Topic::DeadLetter, letter);
        }
        let letters = queue.log(Topic::DeadLetter);
        Self { random, queue, store, letters, requested: Vec::new(), seconds: 1, kills: 0 }
    }

    /// Asks for some letters, for some of them again and again, and discards others.
    fn decide(&mut self) {
        for round in 0..3 {
            for received in &self.letters {
                let decision = match self.random.below(6) {
                    0 | 1 => Decision::Redrive,
                    2 => Decision::Discard,
                    _ => continue,
                };
                let decided = Decided {
                    decision,
                    operator: "somebody".to_owned(),
                    reason: "test".to_owned(),
                    now: time(round),
                };
                block_on(self.store.decide(&[at(received)], &decided)).unwrap();
            }
        }
        let cases = self.cases();
        let requested = cases.values().filter(|case| case.state == CaseState::Requested);
        self.requested = requested.map(|case| case.letter).collect();
    }

    fn cases(&self) -> BTreeMap<Coordinates, Case> {
        let ranges = (0..PARTITIONS).map(|partition| OffsetRange {
            log: LogPartition { generation: GENERATION, partition: Partition(partition) },
            from: Offset(0),
            to: Offset(1_000),
        });
        let cases = block_on(self.store.cases(&ranges.collect::<Vec<_>>())).unwrap();
        cases.into_iter().map(|case| (case.letter, case)).collect()
    }

    /// A process that takes one step; it has not been there before.
    fn process(&self) -> Step {
        let (queue, store, now) = (self.queue.clone(), self.store.clone(), time(self.seconds));
        Box::pin(async move { Redriver::new(queue, store, GENERATION, LIMITS).step(now).await })
    }

    /// Runs processes beside each other until nothing is asked for any more.
    fn run(&mut self, kills: u64) {
        let mut processes: Vec<Step> = (0..3).map(|_| self.process()).collect();
        for turn in 0.. {
            assert!(turn < 200_000, "it comes to an end");
            let place = usize::try_from(self.random.below(3)).unwrap();
            let is_killed = self.kills < kills && self.random.below(20) == 0;
            if is_killed {
                self.kills += 1;
                // Its lease has to end before anybody else takes over.
                self.seconds += 61;
            }
            match poll(processes[place].as_mut()) {
                Poll::Pending if !is_killed => continue,
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending | Poll::Ready(Ok(_)) => processes[place] = self.process(),
            }
            let cases = self.cases();
            if cases.values().all(|case| case.state != CaseState::Requested) {
                return;
            }
        }
    }

    /// What is wrong with what came of it.
    fn check(&self) -> Result<(), String> {
        let mut back: BTreeMap<String, u64> = BTreeMap::new();
        for topic in [Topic::Submitted, Topic::Results] {
            for received in self.queue.log(topic) {
                let headers = &received.record.headers;
                let from = headers.text("penstock-redriven-from").unwrap().to_owned();
                if headers.text("penstock-redrives") != Some("1") {
                    return Err(format!("{from} was put back once"));
                }
                *back.entry(from).or_default() += 1;
            }
        }
        let cases = self.cases();
        for received in &self.letters {
            let letter = at(received);
            let place = format!("{}/{}", received.partition.0, received.offset.0);
            let times = back.get(&place).copied().unwrap_or(0);
            let is_requested = self.requested.contains(&letter);
            let state = cases.get(&letter).map(|case| case.state);
            let expected = match (is_requested, can_go_back(&received.record)) {
                (true, true) => 1..=1 + self.kills,
                (true, false) | (false, _) => 0..=0,
            };
            if !expected.contains(&times) {
                return Err(format!("{place} was put back {times} times, not {expected:?}"));
            }
            let fits = match (is_requested, can_go_back(&received.record)) {
                (true, true) => state == Some(CaseState::Redriven),
                (true, false) => state == Some(CaseState::Failed),
                (false, _) => matches!(state, None | Some(CaseState::Discarded)),
            };
            if !fits {
                return Err(format!("{place} stands as {state:?}"));
            }
        }
        Ok(())
    }
}

fn seeds() -> u64 {
    std::env::var("PENSTOCK_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300)
}

#[test]
fn each_letter_that_is_asked_for_is_put_back_once_by_processes_that_live() {
    let mut all = 0;
    for seed in 0..seeds() {
        let mut world = World::new(seed, MemoryStore::default());
        world.decide();
        all += world.requested.len();
        world.run(0);
        assert_eq!(world.check(), Ok(()), "seed {seed}");
    }
    assert!(all > 300, "letters are asked for: {all}");
}

#[test]
fn however_often_they_are_killed_no_letter_is_lost() {
    for seed in 0..seeds() {
        let mut world = World::new(seed, MemoryStore::default());
        world.decide();
        world.run(6);
        assert_eq!(world.check(), Ok(()), "seed {seed}");
    }
}

#[test]
fn without_leases_letters_are_put_back_twice() {
    let is_objected_to = |seed| {
        let mut world = World::new(seed, MemoryStore::without(Guard::CaseLease));
        world.decide();
        world.run(0);
        world.check().is_err()
    };
    assert!((0..seeds()).any(is_objected_to), "the check sees nothing");
}

#[test]
fn a_letter_goes_back_as_it_was() {
    let mut world = World::new(7, MemoryStore::default());
    world.requested = world.letters.iter().map(at).collect();
    let decided = Decided {
        decision: Decision::Redrive,
        operator: "somebody".to_owned(),
        reason: "test".to_owned(),
        now: time(0),
    };
    block_on(world.store.decide(&world.requested, &decided)).unwrap();
    world.run(0);
    assert_eq!(world.check(), Ok(()));
    let mut offsets = Vec::new();
    for received in world.queue.log(Topic::Submitted) {
        let batch = received.record.headers.text("penstock-batch").unwrap();
        let number: u64 = batch.strip_prefix("batch-").unwrap().parse().unwrap();
        assert_eq!(received.record.value, account(number));
        let origin = received.record.headers.text("penstock-redriven-origin").unwrap();
        assert_eq!(origin, format!("1/0/{number}"));
        let names: Vec<_> = received.record.headers.iter().map(|(name, _)| name).collect();
        let own = ["penstock-redrives", "penstock-redriven-from", "penstock-redriven-origin"];
        assert_eq!(names, [&["penstock-batch"][..], &own].concat());
        offsets.push((received.partition, received.offset, number));
    }
    offsets.sort_unstable();
    let is_in_order =
        |pair: &[(Partition, Offset, u64)]| pair[0].0 != pair[1].0 || pair[0].2 < pair[1].2;
    assert!(offsets.len() > 1 && offsets.windows(2).all(is_in_order), "in the order of their origin");
}
