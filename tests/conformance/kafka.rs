//! Topics of their own on a real Apache Kafka, for every test anew.

use std::time::{Duration, Instant};

use penstock::queue::kafka::{KafkaOpenError, KafkaQueue, KafkaQueueOptions};
use penstock::queue::{Consumer as _, Polled, Queue as _, QueueError, Topic};
use penstock::telemetry::Metrics;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::consuming::{
    DEADLINE, GROUP, done, join_group, limits, next_assigned, next_revoked, records, resume,
    seek_to_committed, take,
};
use super::rig::{PARTITIONS, QueueRig};
use super::servers::kafka::{TopicPrefix, brokers};

pub(crate) const TOPICS: [&str; 4] =
    ["accounts.submitted", "accounts.results", "accounts.dead-letter", "accounts.replies"];

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

fn names(prefix: &str) -> Vec<String> {
    TOPICS.iter().map(|topic| format!("{prefix}{topic}")).collect()
}

/// Creates the topics that are not there, with further settings.
pub(crate) async fn create_topics(brokers: &str, prefix: &str, settings: &[(&str, &str)]) {
    let names = names(prefix);
    let partitions = i32::try_from(PARTITIONS).unwrap();
    let topics: Vec<_> = names
        .iter()
        .map(|name| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
                .set("message.timestamp.type", "LogAppendTime")
                .set("min.insync.replicas", "1");
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE));
    for created in admin(brokers).create_topics(&topics, &options).await.unwrap() {
        match created {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => panic!("topic {topic} cannot be created: {code}"),
        }
    }
}

/// Opens a queue. A broker may hear of a new topic a little after the controller.
pub(crate) async fn try_open(
    options: KafkaQueueOptions,
    metrics: Metrics,
) -> Result<KafkaQueue, KafkaOpenError> {
    let start = Instant::now();
    loop {
        match KafkaQueue::open(options.clone(), metrics.clone()).await {
            Err(KafkaOpenError::TopicMissing { .. }) if start.elapsed() < DEADLINE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

/// Topics of its own.
pub(crate) struct KafkaQueueRig {
    topics: TopicPrefix,
}

impl Default for KafkaQueueRig {
    fn default() -> Self {
        Self { topics: TopicPrefix::new() }
    }
}

impl KafkaQueueRig {
    fn options(&self) -> KafkaQueueOptions {
        KafkaQueueOptions {
            brokers: brokers(),
            topic_prefix: self.topics.as_str().to_owned(),
            partitions: PARTITIONS,
            // As fast as a broker allows, so that tests with many rebalances end in time.
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_millis(100),
            ..KafkaQueueOptions::default()
        }
    }

    /// Opens the queue for a process with an instance id.
    async fn open_as(&self, instance_id: &str) -> KafkaQueue {
        create_topics(&brokers(), self.topics.as_str(), &[]).await;
        let options = KafkaQueueOptions { instance_id: Some(instance_id.to_owned()), ..self.options() };
        try_open(options, Metrics::disabled()).await.unwrap()
    }
}

impl QueueRig for KafkaQueueRig {
    type Queue = KafkaQueue;

    async fn open(&self) -> KafkaQueue {
        create_topics(&brokers(), self.topics.as_str(), &[]).await;
        try_open(self.options(), Metrics::disabled()).await.unwrap()
    }

    async fn close(&self, queue: KafkaQueue) {
        queue.close().await;
    }
}

#[tokio::test]
async fn a_missing_topic_is_refused() {
    let rig = KafkaQueueRig::default();
    let error = KafkaQueue::open(rig.options(), Metrics::disabled()).await.unwrap_err();
    assert!(matches!(&error, KafkaOpenError::TopicMissing { partitions: PARTITIONS, .. }), "{error}");
}

#[tokio::test]
async fn another_partition_count_than_pinned_is_refused() {
    let rig = KafkaQueueRig::default();
    create_topics(&brokers(), rig.topics.as_str(), &[]).await;
    let options = KafkaQueueOptions { partitions: 12, ..rig.options() };
    let error = try_open(options, Metrics::disabled()).await.unwrap_err();
    assert!(matches!(&error, KafkaOpenError::PartitionCount { found: 4, expected: 12, .. }), "{error}");
}

#[tokio::test]
async fn a_compacted_submitted_topic_is_refused() {
    let rig = KafkaQueueRig::default();
    create_topics(&brokers(), rig.topics.as_str(), &[("cleanup.policy", "compact")]).await;
    let error = try_open(rig.options(), Metrics::disabled()).await.unwrap_err();
    assert!(matches!(&error, KafkaOpenError::Compacted { .. }), "{error}");
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    drop(taken);
    let options = KafkaQueueOptions { brokers: address.clone(), ..KafkaQueueOptions::default() };
    let error = KafkaQueue::open(options, Metrics::disabled()).await.unwrap_err();
    assert!(matches!(&error, KafkaOpenError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_given_back_in_time_moves_on() {
    let rig = KafkaQueueRig::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let mut stuck = resume(&queue).await;
    let received = take(&mut stuck, 100).await;
    let mut second = queue.subscribe(Topic::Submitted, GROUP).await.unwrap();
    let assigned = next_assigned(&mut second).await;
    let revoked = next_revoked(&mut stuck).await;
    assert_eq!(revoked, assigned.iter().map(|a| a.partition).collect::<Vec<_>>());
    stuck.commit(done(&received)).await.unwrap();
    stuck.release(&revoked).await.unwrap();
    drop(stuck);
    for assignment in next_assigned(&mut second).await {
        assert_eq!(assignment.committed, Some(assignment.end), "what it had left was committed");
    }
    seek_to_committed(&mut second, &assigned).await;
    let again: u64 = assigned.iter().map(|a| a.end.0 - a.earliest.0).sum();
    take(&mut second, usize::try_from(again).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_that_comes_back_finds_its_partitions_and_moves_none() {
    let rig = KafkaQueueRig::default();
    let stays = rig.open_as("stays").await;
    let leaves = rig.open_as("leaves").await;
    let mut neighbour = resume(&stays).await;
    let mut member = leaves.subscribe(Topic::Submitted, GROUP).await.unwrap();
    let revoked = next_revoked(&mut neighbour).await;
    neighbour.release(&revoked).await.unwrap();
    let partitions = |assigned: Vec<penstock::queue::Assignment>| {
        let mut partitions: Vec<_> = assigned.iter().map(|a| a.partition).collect();
        partitions.sort_unstable();
        partitions
    };
    assert_eq!(partitions(next_assigned(&mut member).await), revoked);
    drop(member);
    drop(leaves);
    let back = rig.open_as("leaves").await;
    let mut member = back.subscribe(Topic::Submitted, GROUP).await.unwrap();
    assert_eq!(partitions(next_assigned(&mut member).await), revoked);
    assert!(matches!(neighbour.poll(limits()).await, Ok(Polled::Idle)), "nothing has moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_instance_id_the_older_ends_with_the_reason() {
    let rig = KafkaQueueRig::default();
    let (first, second) = (rig.open_as("same").await, rig.open_as("same").await);
    let mut fenced = resume(&first).await;
    let _newer = second.subscribe(Topic::Submitted, GROUP).await.unwrap();
    let ended = async {
        loop {
            if let Err(error) = fenced.poll(limits()).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(DEADLINE, ended).await.expect("it ends in time");
    let QueueError::Broken { cause, .. } = error else { panic!("{error}") };
    assert!(cause.to_string().contains("instance id"), "{cause}");
}

/// The log's first records, up to `before` on each partition, as their retention would delete them.
async fn delete_records(prefix: &str, before: i64) {
    let topic = format!("{prefix}{}", Topic::Submitted.name());
    let mut offsets = rdkafka::TopicPartitionList::new();
    for partition in 0..i32::try_from(PARTITIONS).unwrap() {
        let before = rdkafka::Offset::Offset(before);
        offsets.add_partition_offset(&topic, partition, before).unwrap();
    }
    let deleted = admin(&brokers()).delete_records(&offsets, &AdminOptions::new()).await.unwrap();
    assert!(deleted.elements().iter().all(|element| element.error().is_ok()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_lost_its_beginning_is_read_from_where_it_begins() {
    let rig = KafkaQueueRig::default();
    let queue = rig.open().await;
    queue.publish(Topic::Submitted, records(0..400)).await.unwrap();
    delete_records(rig.topics.as_str(), 20).await;
    for round in 0..3 {
        let (mut consumer, assigned) = join_group(&queue, &format!("readers-{round}")).await;
        assert!(assigned.iter().all(|assignment| assignment.earliest.0 == 20), "{assigned:?}");
        let left: u64 = assigned.iter().map(|assignment| assignment.end.0 - assignment.earliest.0).sum();
        seek_to_committed(&mut consumer, &assigned).await;
        let received = take(&mut consumer, usize::try_from(left).unwrap()).await;
        assert!(received.iter().all(|received| received.offset.0 >= 20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_ready_once_its_members_have_joined_also_those_that_get_nothing() {
    let rig = KafkaQueueRig::default();
    let queue = rig.open().await;
    queue.check().await.unwrap();
    let mut members = Vec::new();
    for _ in 0..=PARTITIONS {
        members.push(queue.subscribe(Topic::Submitted, GROUP).await.unwrap());
    }
    let error = queue.check().await.unwrap_err();
    assert!(format!("{error:?}").contains("has not joined the group"), "{error:?}");
    let joined = async {
        while queue.check().await.is_err() {
            for member in &mut members {
                if let Polled::Revoked(partitions) = member.poll(limits()).await.unwrap() {
                    member.release(&partitions).await.unwrap();
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, joined).await.expect("every member joins");
}
