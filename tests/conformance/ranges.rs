//! Reading bounded parts of the log: exactly what lies in them, outside of every group.

use std::time::Duration;

use penstock::account::{Offset, Partition, Timestamp};
use penstock::queue::{Assignment, PollLimits, Queue, ReadRange, Reader, Received, Start, Topic};

use super::consuming::{DEADLINE, GROUP, done, join, limits, records, resume, take};
use super::rig::{PARTITIONS, QueueRig};

/// Reads until everything is read.
async fn read_all(reader: &mut impl Reader, limits: PollLimits) -> Vec<Received> {
    let reading = async {
        let mut read = Vec::new();
        while !reader.is_done() {
            read.extend(reader.read(limits).await.unwrap());
        }
        read
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("everything is read in time")
}

fn whole(standing: &[Assignment]) -> Vec<ReadRange> {
    let range =
        |one: &Assignment| ReadRange { partition: one.partition, from: one.earliest, to: one.end };
    standing.iter().map(range).collect()
}

/// In the order of the log.
fn sorted(mut received: Vec<Received>) -> Vec<Received> {
    received.sort_by_key(|one| (one.partition, one.offset));
    received
}

pub(crate) async fn ranges_are_read_whole_and_nothing_else_is<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..200)).await.unwrap();
    queue.publish(Topic::Results, records(200..300)).await.unwrap();
    let all = sorted(take(&mut resume(&queue).await, 200).await);
    let standing = queue.standing(Topic::Submitted, GROUP).await.unwrap();
    let mut reader = queue.open_reader(Topic::Submitted, whole(&standing)).await.unwrap();
    let read = read_all(&mut reader, limits()).await;
    for partition in (0..PARTITIONS).map(Partition) {
        let of_partition = read.iter().filter(|one| one.partition == partition);
        assert!(of_partition.is_sorted_by_key(|one| one.offset));
        let end = standing.iter().find(|one| one.partition == partition).map(|one| one.end);
        assert_eq!(reader.position(partition), end);
    }
    assert_eq!(sorted(read), all);
    assert_eq!(reader.position(Partition(PARTITIONS)), None);
    assert!(reader.read(limits()).await.unwrap().is_empty());

    // The middle of one partition, nothing of a second one, and of no other anything.
    let [first, second] = [standing[0], standing[1]];
    let (from, to) = (Offset(first.earliest.0 + 3), Offset(first.end.0 - 4));
    let ranges = vec![
        ReadRange { partition: first.partition, from, to },
        ReadRange { partition: second.partition, from: second.end, to: Offset(second.end.0 + 9) },
    ];
    let mut reader = queue.open_reader(Topic::Submitted, ranges).await.unwrap();
    let read = read_all(&mut reader, limits()).await;
    let is_within =
        |one: &&Received| one.partition == first.partition && (from..to).contains(&one.offset);
    assert_eq!(read, all.iter().filter(is_within).cloned().collect::<Vec<_>>());
    assert_eq!(reader.position(first.partition), Some(to));
    assert_eq!(reader.position(second.partition), Some(second.end));
}

pub(crate) async fn a_reader_keeps_its_limits<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let standing = queue.standing(Topic::Submitted, GROUP).await.unwrap();
    let mut reader = queue.open_reader(Topic::Submitted, whole(&standing)).await.unwrap();
    let mut read = 0;
    while !reader.is_done() {
        let part = reader.read(PollLimits { max_records: 7, ..limits() }).await.unwrap();
        assert!(part.len() <= 7);
        read += part.len();
    }
    assert_eq!(read, 100);
    let mut reader = queue.open_reader(Topic::Submitted, whole(&standing)).await.unwrap();
    let one_byte = PollLimits { max_bytes: 1, ..limits() };
    let mut read = 0;
    while !reader.is_done() {
        let part = reader.read(one_byte).await.unwrap();
        assert!(part.len() <= 1, "a record that is larger comes alone");
        read += part.len();
    }
    assert_eq!(read, 100);
}

pub(crate) async fn reading_disturbs_no_group<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..50)).await.unwrap();
    let mut member = resume(&queue).await;
    let received = take(&mut member, 50).await;
    penstock::queue::Consumer::commit(&member, done(&received)).await.unwrap();
    let before = queue.standing(Topic::Submitted, GROUP).await.unwrap();
    let mut reader = queue.open_reader(Topic::Submitted, whole(&before)).await.unwrap();
    assert_eq!(sorted(read_all(&mut reader, limits()).await), sorted(received));
    drop(reader);
    queue.publish(Topic::Submitted, records(50..60)).await.unwrap();
    take(&mut member, 10).await;
    let after = queue.standing(Topic::Submitted, GROUP).await.unwrap();
    let committed = |standing: &[Assignment]| {
        standing.iter().map(|one| (one.partition, one.committed)).collect::<Vec<_>>()
    };
    assert_eq!(committed(&after), committed(&before));
}

pub(crate) async fn an_end_is_no_wait<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let ranges = |to| {
        let range =
            |partition| ReadRange { partition: Partition(partition), from: Offset(0), to: Offset(to) };
        (0..PARTITIONS).map(range).collect::<Vec<_>>()
    };
    let mut empty = queue.open_reader(Topic::Submitted, ranges(1_000)).await.unwrap();
    assert!(read_all(&mut empty, limits()).await.is_empty());
    assert!(queue.open_reader(Topic::Submitted, Vec::new()).await.unwrap().is_done());
    queue.publish(Topic::Submitted, records(0..20)).await.unwrap();
    let mut beyond = queue.open_reader(Topic::Submitted, ranges(1_000_000)).await.unwrap();
    queue.publish(Topic::Submitted, records(20..40)).await.unwrap();
    let read = read_all(&mut beyond, limits()).await;
    assert!(read.len() >= 20, "what was there when it was opened is read: {}", read.len());
}

pub(crate) async fn a_window_begins_where_its_time_is<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let (mut consumer, assignments) = join(&queue).await;
    super::consuming::seek_to_committed(&mut consumer, &assignments).await;
    queue.publish(Topic::Submitted, records(0..40)).await.unwrap();
    let early = take(&mut consumer, 40).await;
    let last = early.iter().map(|one| one.appended_at).max().unwrap();
    // Times are to the millisecond.
    while Timestamp::from(std::time::SystemTime::now()) <= last {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    queue.publish(Topic::Submitted, records(40..80)).await.unwrap();
    let late = take(&mut consumer, 40).await;
    for partition in (0..PARTITIONS).map(Partition) {
        let of_partition = |received: &[Received]| {
            received
                .iter()
                .filter(|one| one.partition == partition)
                .map(|one| (one.offset, one.appended_at))
                .min()
        };
        let (Some(first), Some(second)) = (of_partition(&early), of_partition(&late)) else { continue };
        let find = async |start| queue.find(Topic::Submitted, partition, start).await.unwrap();
        assert_eq!(find(Start::Time(Timestamp::from_unix_millis(0))).await, first.0);
        assert_eq!(find(Start::Time(second.1)).await, second.0);
        let end = queue.standing(Topic::Submitted, GROUP).await.unwrap();
        let end = end.iter().find(|one| one.partition == partition).map(|one| one.end).unwrap();
        let never = Timestamp::from_unix_millis(second.1.unix_millis() + 3_600_000);
        assert_eq!(find(Start::Time(never)).await, end);
        assert_eq!(find(Start::Offset(Offset(1_000_000))).await, end);
        assert_eq!(find(Start::Offset(second.0)).await, second.0);
    }
}
