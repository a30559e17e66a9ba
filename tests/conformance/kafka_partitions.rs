//! What becomes of partitions while members come, go, stand still and lose them, before brokers of the
//! client library's own: whatever happened, every partition is read again, by one member.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use penstock::account::{Offset, Partition};
use penstock::queue::kafka::{KafkaConsumer, KafkaQueue};
use penstock::queue::{
    Assignment, Consumer as _, PollLimits, Polled, Queue as _, QueueError, Start, Topic,
};
use penstock::telemetry::Metrics;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::consuming::{DEADLINE, GROUP, records};
use super::kafka::KafkaQueueRig;
use super::kafka_replacement::{Brokers, brokers, open_with};
use super::rig::{PARTITIONS, QueueRig as _};

/// Longer than any test here: a client that brings nothing is not replaced, it fails its test.
const STALL_TIMEOUT: Duration = Duration::from_mins(10);
/// More than a consumer holds for its owner.
const MORE_THAN_FITS: usize = 6_000;
/// How soon a partition flows that was given back.
const SOON: Duration = Duration::from_secs(2);

/// An owner that reads as a lane does, as far as it is let.
struct Member {
    consumer: KafkaConsumer,
    /// Told and not sought yet.
    unsought: Vec<Assignment>,
    next: BTreeMap<Partition, Offset>,
    to_release: Vec<Partition>,
    told: BTreeSet<Partition>,
    /// It takes no records.
    is_busy: bool,
    /// It lets go of nothing.
    holds: bool,
}

impl Member {
    async fn join(queue: &KafkaQueue) -> Self {
        Self {
            consumer: queue.subscribe(Topic::Submitted, GROUP).await.unwrap(),
            unsought: Vec::new(),
            next: BTreeMap::new(),
            to_release: Vec::new(),
            told: BTreeSet::new(),
            is_busy: false,
            holds: false,
        }
    }

    /// Does what a lane does between two polls, and polls.
    async fn turn(&mut self) {
        if self.holds && !self.to_release.is_empty() {
            return;
        }
        self.release().await;
        self.seek_unsought().await;
        let max_records = if self.is_busy { 0 } else { 500 };
        let max_wait = Duration::from_millis(5);
        let limits = PollLimits { max_records, max_bytes: 1 << 20, max_wait };
        match self.consumer.poll(limits).await.unwrap() {
            Polled::Assigned(assignments) => {
                for assignment in &assignments {
                    assert!(self.told.insert(assignment.partition), "told twice: {assignment:?}");
                }
                self.unsought.extend(assignments);
            }
            Polled::Revoked(partitions) => {
                for partition in &partitions {
                    assert!(self.told.remove(partition), "{partition:?} ends and has not begun");
                }
                self.unsought.retain(|assignment| !partitions.contains(&assignment.partition));
                self.to_release.extend(partitions);
            }
            Polled::Records(records) => {
                for received in records {
                    let next = self.next.get_mut(&received.partition).expect("it was sought");
                    assert_eq!(*next, received.offset, "in order and without a gap");
                    *next = received.offset.next();
                }
            }
            Polled::Idle => {}
        }
    }

    async fn seek_unsought(&mut self) {
        while let Some(assignment) = self.unsought.last().copied() {
            let start = Start::Offset(assignment.committed.unwrap_or(assignment.earliest));
            match self.consumer.seek(assignment.partition, start).await {
                Ok(found) => drop(self.next.insert(assignment.partition, found)),
                Err(QueueError::NotAssigned { .. }) => {}
                Err(QueueError::Unavailable { .. }) => return,
                Err(error) => panic!("{error}"),
            }
            self.unsought.pop();
        }
    }

    async fn release(&mut self) {
        let partitions = std::mem::take(&mut self.to_release);
        if partitions.is_empty() {
            return;
        }
        let done = self.next.iter().filter(|(partition, _)| partitions.contains(partition));
        let done: Vec<_> = done.map(|(partition, next)| (*partition, *next)).collect();
        // What is not committed is read again.
        let _ = self.consumer.commit(done).await;
        self.next.retain(|partition, _| !partitions.contains(partition));
        self.consumer.release(&partitions).await.unwrap();
    }

    /// Reads one of its partitions from where it stands, as after a store that was set back.
    async fn seek_again(&mut self, which: usize) {
        let sought: Vec<_> = self.next.iter().map(|(partition, next)| (*partition, *next)).collect();
        let Some((partition, next)) = sought.get(which % sought.len().max(1)).copied() else { return };
        if self.to_release.contains(&partition) {
            return;
        }
        match self.consumer.seek(partition, Start::Offset(next)).await {
            Ok(found) => drop(self.next.insert(partition, found)),
            Err(QueueError::NotAssigned { .. } | QueueError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Members of one group, and what is done to them.
struct World {
    brokers: Brokers,
    queue: KafkaQueue,
    members: Vec<Member>,
    published: usize,
    /// A generator of its own: a run is repeated by its seed.
    state: u64,
}

impl World {
    async fn new(seed: u64) -> Self {
        let brokers = brokers();
        let queue = open_with(&brokers, Metrics::disabled(), STALL_TIMEOUT).await;
        let mut world = Self { brokers, queue, members: Vec::new(), published: 0, state: seed };
        world.publish(MORE_THAN_FITS).await;
        world.members.push(Member::join(&world.queue).await);
        world
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % bound
    }

    async fn publish(&mut self, count: usize) {
        let records = records(self.published..self.published + count);
        self.published += count;
        self.queue.publish(Topic::Submitted, records).await.unwrap();
    }

    async fn turns(&mut self, how_long: Duration) {
        let until = Instant::now() + how_long;
        while Instant::now() < until {
            for member in &mut self.members {
                member.turn().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn happen(&mut self) {
        let which = self.below(self.members.len());
        match self.below(12) {
            0..=2 if self.members.len() < 4 => self.members.push(Member::join(&self.queue).await),
            3 | 4 if self.members.len() > 1 => drop(self.members.swap_remove(which)),
            5 => self.members[which].is_busy = true,
            6 => self.members[which].is_busy = false,
            7 => self.members[which].holds ^= true,
            8 => self.fail(
                RDKafkaApiKey::ListOffsets,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            ),
            9 => {
                self.fail(RDKafkaApiKey::OffsetFetch, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR);
            }
            10 => {
                self.fail(RDKafkaApiKey::Heartbeat, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
            }
            11 => {
                let place = self.below(PARTITIONS as usize);
                self.members[which].seek_again(place).await;
            }
            _ => self.publish(200).await,
        }
    }

    fn fail(&mut self, request: RDKafkaApiKey, error: RDKafkaRespErr) {
        let times = 1 + self.below(4);
        self.brokers.request_errors(request, &vec![error; times]);
    }

    /// Nothing fails any more: every partition is read to its end, by one member.
    async fn come_to_rest(mut self, seed: u64) {
        for request in [RDKafkaApiKey::ListOffsets, RDKafkaApiKey::OffsetFetch, RDKafkaApiKey::Heartbeat]
        {
            self.brokers.clear_request_errors(request);
        }
        for member in &mut self.members {
            (member.is_busy, member.holds) = (false, false);
        }
        self.publish(400).await;
        let until = Instant::now() + DEADLINE;
        while !self.is_at_rest().await {
            let places: Vec<_> =
                self.members.iter().map(|member| (&member.told, &member.next)).collect();
            assert!(Instant::now() < until, "seed {seed}: something stands still: {places:?}");
            self.turns(Duration::from_millis(100)).await;
        }
    }

    async fn is_at_rest(&mut self) -> bool {
        let mut read = 0;
        let mut owned = BTreeSet::new();
        for member in &mut self.members {
            for (partition, next) in &member.next {
                let Ok(end) = member.consumer.end_offset(*partition).await else { return false };
                if *next != end || !owned.insert(*partition) {
                    return false;
                }
                read += next.0;
            }
        }
        owned.len() == PARTITIONS as usize && read == self.published as u64
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_members_every_partition_is_read_again() {
    let seed = std::env::var("PENSTOCK_TEST_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    let run = |seed: u64| async move {
        let mut world = World::new(seed).await;
        for _ in 0..24 {
            world.happen().await;
            let pause = Duration::from_millis(50 + u64::try_from(world.below(400)).unwrap());
            world.turns(pause).await;
        }
        world.come_to_rest(seed).await;
    };
    futures_util::future::join_all((seed..seed + 4).map(run)).await;
}

/// One partition is read and others are looked up when the group wants them back together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_while_it_is_looked_up_is_left_with_nobody() {
    let mut world = World::new(0).await;
    world.members.push(Member::join(&world.queue).await);
    let until = Instant::now() + DEADLINE;
    while world.members.iter().any(|member| member.next.len() != 2) {
        assert!(Instant::now() < until, "each has its half in time");
        world.turns(Duration::from_millis(50)).await;
    }
    // The second goes; what it had comes to the first, which cannot learn what the brokers know of it.
    let errors = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE; 10_000];
    world.brokers.request_errors(RDKafkaApiKey::ListOffsets, &errors);
    drop(world.members.pop());
    world.turns(Duration::from_secs(2)).await;
    assert_eq!(world.members[0].told.len(), 2, "the others are looked up");
    // Others come, and the group wants partitions of both kinds back.
    for _ in 0..3 {
        world.members.push(Member::join(&world.queue).await);
    }
    world.members[0].holds = true;
    let until = Instant::now() + DEADLINE;
    while world.members[0].to_release.is_empty() {
        assert!(Instant::now() < until, "nothing is wanted back");
        world.turns(Duration::from_millis(50)).await;
    }
    world.brokers.clear_request_errors(RDKafkaApiKey::ListOffsets);
    world.turns(Duration::from_secs(1)).await;
    world.members.truncate(1);
    world.come_to_rest(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_paused_flows_soon_after_it_came_back() {
    let rig = KafkaQueueRig::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..MORE_THAN_FITS)).await.unwrap();
    let mut member = Member::join(&queue).await;
    let until = Instant::now() + DEADLINE;
    while member.next.len() < PARTITIONS as usize {
        assert!(Instant::now() < until, "partitions are given in time");
        member.is_busy = true;
        member.turn().await;
    }
    // It takes nothing, until what was read has filled its memory and the rest is paused.
    let busy_until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < busy_until {
        member.turn().await;
    }
    let mut other = Member::join(&queue).await;
    while other.next.is_empty() {
        assert!(Instant::now() < until + DEADLINE, "the other gets its part in time");
        member.turn().await;
        other.turn().await;
    }
    drop(other);
    while member.next.len() < PARTITIONS as usize {
        assert!(Instant::now() < until + 2 * DEADLINE, "what it lost comes back in time");
        member.turn().await;
    }
    member.is_busy = false;
    let given_back_at = Instant::now();
    let read = |member: &Member| member.next.values().map(|next| next.0).sum::<u64>();
    while read(&member) < MORE_THAN_FITS as u64 {
        assert!(given_back_at.elapsed() < SOON, "{:?} after {SOON:?}", member.next);
        member.turn().await;
    }
}
