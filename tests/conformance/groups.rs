//! Consumer groups: a partition has one owner at a time, and changes hands only in steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock::account::{Offset, Partition};
use penstock::queue::{Assignment, Consumer, PollLimits, Polled, Queue, QueueError, Start, Topic};

use super::consuming::{
    DEADLINE, GROUP, done, join, limits, next_assigned, next_event, next_revoked, records, resume,
    seek_to_committed, take, values, values_of,
};
use super::rig::{PARTITIONS, QueueRig};

async fn subscribe<Q: Queue>(queue: &Q) -> Q::Consumer {
    queue.subscribe(Topic::Submitted, GROUP).await.unwrap()
}

/// Joins a group whose partitions all have owners: there is nothing for it yet.
async fn join_late<Q: Queue>(queue: &Q) -> Q::Consumer {
    let mut consumer = subscribe(queue).await;
    assert_idle(&mut consumer).await;
    consumer
}

async fn assert_idle(consumer: &mut impl Consumer) {
    let polled = consumer.poll(limits()).await.unwrap();
    assert!(matches!(polled, Polled::Idle), "{polled:?}");
}

fn partitions(assignments: &[Assignment]) -> Vec<Partition> {
    assignments.iter().map(|assignment| assignment.partition).collect()
}

/// Waits for a revocation, releases it and tells what it was.
async fn give_back(consumer: &mut impl Consumer) -> Vec<Partition> {
    let revoked = next_revoked(consumer).await;
    consumer.release(&revoked).await.unwrap();
    revoked
}

pub(crate) async fn nothing_is_read_before_seek<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let (mut consumer, assignments) = join(&queue).await;
    assert_idle(&mut consumer).await;
    let (sought, rest) = assignments.split_at(1);
    seek_to_committed(&mut consumer, sought).await;
    let expected = usize::try_from(sought[0].end.0 - sought[0].earliest.0).unwrap();
    let received = take(&mut consumer, expected).await;
    assert!(received.iter().all(|received| received.partition == sought[0].partition));
    assert_idle(&mut consumer).await;
    seek_to_committed(&mut consumer, rest).await;
    take(&mut consumer, 100 - expected).await;
}

pub(crate) async fn a_second_member_gets_its_share_after_the_first_released_it<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut first = resume(&queue).await;
    let mut second = join_late(&queue).await;
    let revoked = next_revoked(&mut first).await;
    assert_eq!(revoked.len(), PARTITIONS as usize / 2);
    assert_idle(&mut second).await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let mut received = Vec::new();
    while let Polled::Records(records) = first.poll(limits()).await.unwrap() {
        received.extend(records);
    }
    let of_revoked = |partition: &Partition| revoked.contains(partition);
    assert!(!received.iter().any(|received| of_revoked(&received.partition)), "read after revocation");
    first.release(&revoked).await.unwrap();
    let assigned = next_assigned(&mut second).await;
    assert_eq!(partitions(&assigned), revoked);
    seek_to_committed(&mut second, &assigned).await;
    let expected: u64 = assigned.iter().map(|a| a.end.0 - a.earliest.0).sum();
    let taken = take(&mut second, usize::try_from(expected).unwrap()).await;
    assert!(taken.iter().all(|received| of_revoked(&received.partition)));
    received.extend(taken);
    if received.len() < 100 {
        received.extend(take(&mut first, 100 - received.len()).await);
    }
    assert_eq!(values(&received), values_of(0..100));
}

pub(crate) async fn the_next_owner_goes_on_where_the_last_one_committed<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let mut first = resume(&queue).await;
    let received = take(&mut first, 100).await;
    let mut second = join_late(&queue).await;
    let revoked = next_revoked(&mut first).await;
    first.commit(done(&received)).await.unwrap();
    first.release(&revoked).await.unwrap();
    for assignment in next_assigned(&mut second).await {
        assert_eq!(assignment.committed, Some(assignment.end));
    }
}

pub(crate) async fn what_a_member_had_is_the_others_once_it_is_gone<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut first = resume(&queue).await;
    let mut second = join_late(&queue).await;
    let revoked = give_back(&mut first).await;
    assert_eq!(partitions(&next_assigned(&mut second).await), revoked);
    drop(first);
    assert_eq!(next_assigned(&mut second).await.len(), PARTITIONS as usize - revoked.len());
}

pub(crate) async fn a_third_member_gets_its_share<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut first = resume(&queue).await;
    let mut second = join_late(&queue).await;
    give_back(&mut first).await;
    next_assigned(&mut second).await;
    let third = join_late(&queue).await;
    let mut members = [first, second, third];
    let mut owned = [PARTITIONS as usize / 2, PARTITIONS as usize / 2, 0];
    let start = Instant::now();
    while owned.contains(&0) || owned.iter().sum::<usize>() < PARTITIONS as usize {
        assert!(start.elapsed() < DEADLINE, "every member has a share in time: {owned:?}");
        for (member, owned) in members.iter_mut().zip(&mut owned) {
            match member.poll(limits()).await.unwrap() {
                Polled::Assigned(assignments) => *owned += assignments.len(),
                Polled::Revoked(partitions) => {
                    member.release(&partitions).await.unwrap();
                    *owned -= partitions.len();
                }
                Polled::Records(_) | Polled::Idle => {}
            }
        }
    }
}

pub(crate) async fn a_commit_for_a_lost_partition_changes_nothing<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let mut first = resume(&queue).await;
    let received = take(&mut first, 100).await;
    let mut second = join_late(&queue).await;
    let lost = give_back(&mut first).await;
    first.commit(done(&received)).await.unwrap();
    drop(first);
    let mut assigned = next_assigned(&mut second).await;
    while assigned.len() < PARTITIONS as usize {
        assigned.extend(next_assigned(&mut second).await);
    }
    for assignment in assigned {
        let expected = (!lost.contains(&assignment.partition)).then_some(assignment.end);
        assert_eq!(assignment.committed, expected, "{:?}", assignment.partition);
    }
}

pub(crate) async fn what_was_given_back_can_no_longer_be_sought<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut first = resume(&queue).await;
    let _second = join_late(&queue).await;
    for partition in give_back(&mut first).await {
        assert_eq!(first.position(partition), None);
        let sought = first.seek(partition, Start::Offset(Offset(0))).await;
        assert!(
            matches!(sought, Err(QueueError::NotAssigned { partition: told }) if told == partition),
            "{sought:?}"
        );
    }
}

pub(crate) async fn a_commit_does_not_hold_its_consumer<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let mut first = resume(&queue).await;
    let received = take(&mut first, 100).await;
    let committing = first.commit(done(&received));
    queue.publish(Topic::Submitted, records(100..200)).await.unwrap();
    let (committed, more) = tokio::join!(committing, take(&mut first, 100));
    committed.unwrap();
    assert_eq!(values(&more), values_of(100..200));
    drop(first);
    let (_second, assignments) = join(&queue).await;
    for assignment in assignments {
        let first_half = received.iter().filter(|one| one.partition == assignment.partition);
        assert_eq!(assignment.committed, first_half.map(|one| one.offset.next()).max());
    }
}

pub(crate) async fn a_group_is_seen_and_set_from_outside<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let mut member = resume(&queue).await;
    let received = take(&mut member, 100).await;
    let (partition, next) = done(&received)[0];
    member.commit(vec![(partition, next)]).await.unwrap();
    let standing = queue.standing(Topic::Submitted, GROUP).await.unwrap();
    assert_eq!(partitions(&standing), (0..PARTITIONS).map(Partition).collect::<Vec<_>>());
    assert_eq!(standing.iter().map(|one| one.end.0 - one.earliest.0).sum::<u64>(), 100);
    for Assignment { partition: other, committed, .. } in &standing {
        assert_eq!(*committed, (*other == partition).then_some(next));
    }
    let set = queue.set_committed(Topic::Submitted, GROUP, partition, Offset(1)).await;
    assert!(matches!(set, Err(QueueError::Broken { .. })), "the group has a member: {set:?}");
    drop(member);
    let start = Instant::now();
    while queue.set_committed(Topic::Submitted, GROUP, partition, Offset(1)).await.is_err() {
        assert!(start.elapsed() < DEADLINE, "the member has left in time");
    }
    let standing = queue.standing(Topic::Submitted, GROUP).await.unwrap();
    let set = standing.iter().find(|one| one.partition == partition).unwrap();
    assert_eq!(set.committed, Some(Offset(1)));
}

/// What members that come and go know of each other.
#[derive(Default)]
struct Witness {
    owners: Mutex<BTreeMap<Partition, usize>>,
    seen: Mutex<BTreeMap<Bytes, usize>>,
    finished: AtomicBool,
}

impl Witness {
    fn gained(&self, member: usize, partition: Partition) {
        let before = self.owners.lock().unwrap().insert(partition, member);
        assert_eq!(before, None, "{partition:?} has an owner already");
    }

    fn lost(&self, member: usize, partition: Partition) {
        let before = self.owners.lock().unwrap().remove(&partition);
        assert_eq!(before, Some(member), "{partition:?}");
    }

    fn lost_all(&self, member: usize) {
        self.owners.lock().unwrap().retain(|_, owner| *owner != member);
    }
}

/// A member that reads, commits, and leaves after some records.
async fn member_for(consumer: &mut impl Consumer, member: usize, records: usize, witness: &Witness) {
    let limits = PollLimits { max_records: 20, max_wait: Duration::from_millis(5), ..limits() };
    let mut read = 0;
    // Partitions that were not sought yet, and from where they are to be read.
    let mut unsought = BTreeMap::new();
    // Those that the group wanted back before they were sought.
    let mut refused = BTreeSet::new();
    while read < records && !witness.finished.load(Ordering::Acquire) {
        for (partition, start) in std::mem::take(&mut unsought) {
            match consumer.seek(partition, Start::Offset(start)).await {
                Ok(_) => {}
                Err(QueueError::NotAssigned { .. }) => {
                    refused.insert(partition);
                }
                // Others are given back first, which its next polls tell.
                Err(QueueError::Unavailable { .. }) => {
                    unsought.insert(partition, start);
                }
                Err(error) => panic!("{error}"),
            }
        }
        match consumer.poll(limits).await.unwrap() {
            Polled::Assigned(assignments) => {
                for assignment in &assignments {
                    witness.gained(member, assignment.partition);
                    let start = assignment.committed.unwrap_or(assignment.earliest);
                    unsought.insert(assignment.partition, start);
                }
            }
            Polled::Revoked(revoked) => {
                for partition in &revoked {
                    witness.lost(member, *partition);
                    unsought.remove(partition);
                    refused.remove(partition);
                }
                consumer.release(&revoked).await.unwrap();
            }
            Polled::Records(received) => {
                assert_eq!(
                    refused,
                    BTreeSet::new(),
                    "that they are gone is told before anything else is read"
                );
                read += received.len();
                {
                    let owners = witness.owners.lock().unwrap();
                    let mut seen = witness.seen.lock().unwrap();
                    for received in &received {
                        assert_eq!(
                            owners.get(&received.partition),
                            Some(&member),
                            "read without owning"
                        );
                        *seen.entry(received.record.value.clone()).or_default() += 1;
                    }
                }
                let offsets: Vec<(Partition, Offset)> = done(&received);
                consumer.commit(offsets).await.unwrap();
            }
            Polled::Idle => {}
        }
    }
    // Before the consumer is dropped: from then on the partitions may be anybody's.
    witness.lost_all(member);
}

pub(crate) async fn a_partition_has_one_owner_at_a_time_while_members_come_and_go<R: QueueRig>() {
    const RECORDS: usize = 3_000;
    let rig = R::default();
    let queue = rig.open().await;
    let witness = Arc::new(Witness::default());
    let members: Vec<_> = (0..5)
        .map(|member| {
            let (queue, witness) = (queue.clone(), Arc::clone(&witness));
            tokio::spawn(async move {
                while !witness.finished.load(Ordering::Acquire) {
                    let mut consumer = subscribe(&queue).await;
                    member_for(&mut consumer, member, 50 + 40 * member, &witness).await;
                }
            })
        })
        .collect();
    for first in (0..RECORDS).step_by(10) {
        queue.publish(Topic::Submitted, records(first..first + 10)).await.unwrap();
    }
    let start = Instant::now();
    while witness.seen.lock().unwrap().len() < RECORDS && start.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    witness.finished.store(true, Ordering::Release);
    for member in members {
        member.await.unwrap();
    }
    let seen = witness.seen.lock().unwrap();
    assert_eq!(seen.len(), RECORDS);
    assert!(seen.values().all(|count| *count == 1), "a committed record came again");
}

/// What is appended while a member learns of its partitions lies on one side of where it starts.
pub(crate) async fn what_is_published_during_an_assignment_is_read<R: QueueRig>() {
    const RECORDS: usize = 60;
    for _ in 0..15 {
        let rig = R::default();
        let queue = rig.open().await;
        let publisher = queue.clone();
        let publishing = tokio::spawn(async move {
            for number in 0..RECORDS {
                publisher.publish(Topic::Submitted, records(number..number + 1)).await.unwrap();
            }
        });
        let mut consumer = subscribe(&queue).await;
        let mut read = 0;
        while read < RECORDS {
            match next_event(&mut consumer).await {
                Polled::Assigned(assignments) => seek_to_committed(&mut consumer, &assignments).await,
                Polled::Records(received) => read += received.len(),
                other => panic!("expected {} more records: {other:?}", RECORDS - read),
            }
        }
        publishing.await.unwrap();
        rig.close(queue).await;
    }
}
