//! The queue's promises: what was acknowledged survives the process, records of one key stay in order,
//! a group reads each record at least once, and a partition has one consumer at a time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use penstock::queue::{
    Assignment, Consumer, Headers, PollLimits, Polled, Queue, Received, Record, Start, Topic,
};

use super::rig::{PARTITIONS, QueueRig};

/// Names every test of the suite for one rig.
#[macro_export]
macro_rules! queue_conformance {
    ($rig:ty) => {
        $crate::queue_conformance!(@each $rig:
            records_of_one_key_stay_in_order
            what_is_acknowledged_survives_the_process
        );
    };
    (@each $rig:ty: $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::queue::$name::<$rig>().await;
            }
        )+
    };
}

/// Longer than anything a test waits for takes.
const DEADLINE: Duration = Duration::from_secs(30);
const GROUP: &str = "workers";

fn limits() -> PollLimits {
    PollLimits { max_records: 1_000, max_bytes: 1 << 20, max_wait: Duration::from_millis(50) }
}

fn record(key: &str, value: impl Into<bytes::Bytes>) -> Record {
    Record {
        key: bytes::Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        headers: Headers::default(),
    }
}

/// Records of one key each, as many as asked for.
fn records(count: usize) -> Vec<Record> {
    (0..count).map(|n| record(&format!("key-{n}"), format!("value-{n}"))).collect()
}

async fn next_event(consumer: &mut impl Consumer) -> Polled {
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

/// Joins the group and waits for its partitions.
async fn join<Q: Queue>(queue: &Q) -> (Q::Consumer, Vec<Assignment>) {
    let mut consumer = queue.subscribe(Topic::Submitted, GROUP).await.unwrap();
    match next_event(&mut consumer).await {
        Polled::Assigned(assignments) => (consumer, assignments),
        other => panic!("expected partitions, got {other:?}"),
    }
}

/// Joins the group alone and reads from what is committed.
async fn resume<Q: Queue>(queue: &Q) -> Q::Consumer {
    let (mut consumer, assignments) = join(queue).await;
    assert_eq!(assignments.len(), PARTITIONS as usize);
    seek_to_committed(&mut consumer, &assignments).await;
    consumer
}

async fn seek_to_committed(consumer: &mut impl Consumer, assignments: &[Assignment]) {
    for assignment in assignments {
        let start = assignment.committed.unwrap_or(assignment.earliest);
        consumer.seek(assignment.partition, Start::Offset(start)).await.unwrap();
    }
}

/// Polls until there are `count` records.
async fn take(consumer: &mut impl Consumer, count: usize) -> Vec<Received> {
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

fn values(received: &[Received]) -> BTreeSet<&[u8]> {
    received.iter().map(|received| &received.record.value[..]).collect()
}

pub(crate) async fn records_of_one_key_stay_in_order<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut consumer = resume(&queue).await;
    for round in 0..10 {
        let batch = (0..20).map(|key| record(&format!("key-{key}"), format!("{round:02}"))).collect();
        queue.publish(Topic::Submitted, batch).await.unwrap();
    }
    let mut by_key: HashMap<_, Vec<Received>> = HashMap::new();
    for received in take(&mut consumer, 200).await {
        by_key.entry(received.record.key.clone()).or_default().push(received);
    }
    assert_eq!(by_key.len(), 20);
    for received in by_key.values() {
        assert!(received.iter().all(|record| record.partition == received[0].partition));
        assert!(received.is_sorted_by(|a, b| a.offset < b.offset && a.record.value < b.record.value));
        assert!(received.is_sorted_by_key(|record| record.appended_at));
    }
}

pub(crate) async fn what_is_acknowledged_survives_the_process<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(100)).await.unwrap();
    rig.close(queue).await;
    let queue = rig.open().await;
    let received = take(&mut resume(&queue).await, 100).await;
    let expected = records(100);
    assert_eq!(values(&received), expected.iter().map(|record| &record.value[..]).collect());
}
