//! How the suites read a queue.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use penstock::account::{Offset, Partition};
use penstock::queue::{
    Assignment, Consumer, Headers, PollLimits, Polled, Queue, Received, Record, Start, Topic,
};

use super::rig::PARTITIONS;

/// Longer than anything a test waits for takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const GROUP: &str = "workers";

pub(crate) fn limits() -> PollLimits {
    PollLimits { max_records: 1_000, max_bytes: 1 << 20, max_wait: Duration::from_millis(20) }
}

pub(crate) fn record(key: &str, value: impl Into<Bytes>) -> Record {
    Record {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        headers: Headers::default(),
    }
}

/// Records with a key and a value of their own each.
pub(crate) fn records(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|n| record(&format!("key-{n}"), format!("value-{n}"))).collect()
}

/// The values of [`records`].
pub(crate) fn values_of(numbers: std::ops::Range<usize>) -> BTreeSet<Bytes> {
    records(numbers).into_iter().map(|record| record.value).collect()
}

/// The values received; each is to come once.
pub(crate) fn values(received: &[Received]) -> BTreeSet<Bytes> {
    let values: BTreeSet<_> = received.iter().map(|received| received.record.value.clone()).collect();
    assert_eq!(values.len(), received.len(), "a record came twice");
    values
}

/// Polls until there is something to tell.
pub(crate) async fn next_event(consumer: &mut impl Consumer) -> Polled {
    let waiting = async {
        loop {
            match consumer.poll(limits()).await.unwrap() {
                Polled::Idle => {}
                event => return event,
            }
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("the queue has something to tell in time")
}

pub(crate) async fn next_assigned(consumer: &mut impl Consumer) -> Vec<Assignment> {
    match next_event(consumer).await {
        Polled::Assigned(assignments) => assignments,
        other => panic!("expected partitions, got {other:?}"),
    }
}

pub(crate) async fn next_revoked(consumer: &mut impl Consumer) -> Vec<Partition> {
    match next_event(consumer).await {
        Polled::Revoked(partitions) => partitions,
        other => panic!("expected to give partitions back, got {other:?}"),
    }
}

/// Joins the group alone; every partition is its own.
pub(crate) async fn join<Q: Queue>(queue: &Q) -> (Q::Consumer, Vec<Assignment>) {
    join_group(queue, GROUP).await
}

/// The same with a group of this name.
pub(crate) async fn join_group<Q: Queue>(queue: &Q, group: &str) -> (Q::Consumer, Vec<Assignment>) {
    let mut consumer = queue.subscribe(Topic::Submitted, group).await.unwrap();
    let mut assignments = Vec::new();
    while assignments.len() < PARTITIONS as usize {
        assignments.extend(next_assigned(&mut consumer).await);
    }
    (consumer, assignments)
}

/// Joins the group alone and reads from what is committed.
pub(crate) async fn resume<Q: Queue>(queue: &Q) -> Q::Consumer {
    let (mut consumer, assignments) = join(queue).await;
    seek_to_committed(&mut consumer, &assignments).await;
    consumer
}

pub(crate) async fn seek_to_committed(consumer: &mut impl Consumer, assignments: &[Assignment]) {
    for assignment in assignments {
        let start = assignment.committed.unwrap_or(assignment.earliest);
        consumer.seek(assignment.partition, Start::Offset(start)).await.unwrap();
    }
}

/// Polls until there are `count` records, and not one more.
pub(crate) async fn take(consumer: &mut impl Consumer, count: usize) -> Vec<Received> {
    let mut taken = Vec::new();
    while taken.len() < count {
        match next_event(consumer).await {
            Polled::Records(records) => taken.extend(records),
            other => panic!("expected records, got {other:?}"),
        }
    }
    assert_eq!(taken.len(), count);
    taken
}

/// For each partition, the offset after its last record received.
pub(crate) fn done(received: &[Received]) -> Vec<(Partition, Offset)> {
    let mut done = std::collections::BTreeMap::new();
    for received in received {
        let next = done.entry(received.partition).or_insert(Offset(0));
        *next = (*next).max(received.offset.next());
    }
    done.into_iter().collect()
}
