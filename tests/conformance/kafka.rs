//! Topics of their own on a real Apache Kafka, for every test anew.

use std::time::{Duration, Instant};

use penstock::account::{Offset, Partition, Timestamp};
use penstock::queue::kafka::{KafkaOpenError, KafkaQueue, KafkaQueueOptions};
use penstock::queue::{Consumer as _, Polled, Queue as _, QueueError, Received, Topic, dead_letter};
use penstock::telemetry::Metrics;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::consuming::{
    DEADLINE, GROUP, done, join, join_group, limits, next_assigned, next_revoked, record, records,
    resume, seek_to_committed, take,
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
    // Its events are in order by account, too.
    add_partitions(rig.topics.as_str(), &[Topic::Results], 5).await;
    let refused = async {
        loop {
            if let Err(error) = try_open(rig.options(), Metrics::disabled()).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(DEADLINE, refused).await.expect("a broker hears of it in time");
    assert!(matches!(&error, KafkaOpenError::PartitionCount { found: 5, expected: 4, .. }), "{error}");
    assert!(error.to_string().contains(Topic::Results.name()), "{error}");
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

/// Gives topics more partitions, as `kafka-topics --alter --partitions` does.
async fn add_partitions(prefix: &str, topics: &[Topic], partitions: usize) {
    let names: Vec<String> = topics.iter().map(|topic| format!("{prefix}{}", topic.name())).collect();
    let new: Vec<_> = names.iter().map(|name| NewPartitions::new(name, partitions)).collect();
    let created = admin(&brokers()).create_partitions(&new, &AdminOptions::new()).await.unwrap();
    created.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
}

/// Until it says that the queue is broken; the reason.
async fn broken_soon<T>(mut tried: impl AsyncFnMut() -> Result<T, QueueError>) -> String {
    let trying = async {
        loop {
            if let Err(QueueError::Broken { cause, .. }) = tried().await {
                return cause.to_string();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, trying).await.expect("it is refused in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_count_that_changes_is_refused_by_everybody_within_seconds_and_nothing_is_misplaced()
{
    let rig = KafkaQueueRig::default();
    let queue = rig.open().await;
    let topics = [Topic::Submitted, Topic::Results];
    let mut readers = Vec::new();
    for topic in topics {
        readers.push(queue.subscribe(topic, &format!("readers-{}", topic.name())).await.unwrap());
    }
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    add_partitions(rig.topics.as_str(), &topics, PARTITIONS as usize * 2).await;
    for topic in topics {
        let mut published = 100;
        let reason = broken_soon(async || {
            published += 20;
            queue.publish(topic, records(published - 20..published)).await
        });
        let reason = reason.await;
        assert!(reason.contains("has 8 partitions, but 4 are expected"), "{reason}");
        assert!(reason.contains("queue.kafka.partitions") && reason.contains(topic.name()), "{reason}");
    }
    for reader in &mut readers {
        let reason = broken_soon(async || reader.poll(limits()).await).await;
        assert!(reason.contains("has 8 partitions"), "{reason}");
    }
    assert!(queue.check().await.is_err());
    // Whatever was published meanwhile is where its key was before.
    for topic in topics {
        let name = format!("{}{}", rig.topics.as_str(), topic.name());
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
        for partition in PARTITIONS..PARTITIONS * 2 {
            let partition = i32::try_from(partition).unwrap();
            let (_, end) = consumer.fetch_watermarks(&name, partition, DEADLINE).unwrap();
            assert_eq!(end, 0, "{name} has records on partition {partition}");
        }
    }
}

/// A member that read on would pass over what was appended to the new log up to where it stood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_created_anew_and_filled_under_a_member_is_not_committed_over() {
    let rig = KafkaQueueRig::default();
    let queue = rig.open().await;
    let (mut member, assignments) = join(&queue).await;
    seek_to_committed(&mut member, &assignments).await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let read = done(&take(&mut member, 100).await);
    member.commit(read.clone()).await.unwrap();
    // It goes on over what it has committed itself.
    member.commit(read.clone()).await.unwrap();
    let anew = async {
        delete_submitted(&rig).await;
        create_topics(&brokers(), rig.topics.as_str(), &[]).await;
        let refill = async { while queue.publish(Topic::Submitted, records(0..200)).await.is_err() {} };
        tokio::time::timeout(DEADLINE, refill).await.expect("the new topic takes records in time");
    };
    // It commits all the while: whenever the brokers forget, some commit is under way.
    let further: Vec<_> = read.iter().map(|(partition, offset)| (*partition, offset.next())).collect();
    let committing = broken_soon(async || member.commit(further.clone()).await);
    let ((), reason) = tokio::join!(anew, committing);
    assert!(reason.contains("no longer knows what it had committed"), "{reason}");
    let assignments = join_group(&rig.open().await, "others").await.1;
    assert!(assignments.iter().all(|found| found.earliest == Offset(0)), "it is another log");
    let standing = queue.standing(Topic::Submitted, GROUP).await.unwrap();
    assert!(
        standing.iter().any(|found| found.committed.is_none()),
        "whoever starts sees that something is gone: {standing:?}"
    );
}

async fn delete_submitted(rig: &KafkaQueueRig) {
    let name = format!("{}{}", rig.topics.as_str(), Topic::Submitted.name());
    admin(&brokers()).delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_gone_is_not_ready() {
    let rig = KafkaQueueRig::default();
    let queue = rig.open().await;
    queue.check().await.unwrap();
    delete_submitted(&rig).await;
    let gone = async { while queue.check().await.is_ok() {} };
    tokio::time::timeout(DEADLINE, gone).await.expect("it is seen in time");
    create_topics(&brokers(), rig.topics.as_str(), &[]).await;
    let back = async { while queue.check().await.is_err() {} };
    tokio::time::timeout(DEADLINE, back).await.expect("it is ready again in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_fit_whatever_the_dead_letter_topic_takes() {
    let rig = KafkaQueueRig::default();
    rig.topics.create(Topic::DeadLetter.name(), 4, &[("max.message.bytes", "200000")]).await;
    let queue = rig.open().await;
    // Nothing that becomes smaller by compression.
    let noise = |bytes: usize| -> Vec<u8> {
        let random = std::iter::repeat_with(|| uuid::Uuid::new_v4().into_bytes());
        random.flatten().take(bytes).collect()
    };
    let sizes = [10, 150_000, 2_000_000];
    let letters = sizes.map(|bytes| {
        let received = Received {
            partition: Partition(3),
            offset: Offset(bytes as u64),
            appended_at: Timestamp::from_unix_millis(0),
            record: record("key", noise(bytes)),
        };
        dead_letter(&received, Topic::Submitted, "not_an_account", "it is noise")
    });
    queue.publish(Topic::DeadLetter, letters.to_vec()).await.unwrap();
    let mut reader = queue.subscribe(Topic::DeadLetter, "letters").await.unwrap();
    let assigned = next_assigned(&mut reader).await;
    seek_to_committed(&mut reader, &assigned).await;
    let mut found = std::collections::BTreeMap::new();
    let reading = async {
        while found.len() < sizes.len() {
            if let Polled::Records(records) = reader.poll(limits()).await.unwrap() {
                for letter in records {
                    let text = |name| letter.record.headers.text(name).map(str::to_owned);
                    let origin = format!("{}{}", rig.topics.as_str(), Topic::Submitted.name());
                    assert_eq!(text("penstock-origin-topic"), Some(origin));
                    let size = text("penstock-origin-offset").unwrap().parse::<usize>().unwrap();
                    let told = text("penstock-origin-value-bytes");
                    found.insert(size, (letter.record.value.len(), told));
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("every letter arrives");
    assert_eq!((&found[&10], &found[&150_000]), (&(10, None), &(150_000, None)), "these fit");
    let (kept, told) = &found[&2_000_000];
    assert!(*kept > 50_000 && *kept < 200_000, "{kept}");
    assert_eq!(told.as_deref(), Some("2000000"));
}

/// What transactions leave behind their records: marks, and records that were aborted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_no_record_is_passed() {
    let rig = KafkaQueueRig::default();
    let queue = rig.open().await;
    let topic = format!("{}{}", rig.topics.as_str(), Topic::Submitted.name());
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", &topic)
        .create()
        .unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    let send = |value: &str| {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::to(&topic).partition(0).key("key").payload(value)).unwrap();
        producer.flush(DEADLINE).unwrap();
    };
    send("committed");
    producer.commit_transaction(DEADLINE).unwrap();
    send("aborted");
    producer.abort_transaction(DEADLINE).unwrap();

    let mut consumer = resume(&queue).await;
    let taken = take(&mut consumer, 1).await;
    assert_eq!(taken[0].record.value, "committed");
    let partition = Partition(0);
    let end = consumer.end_offset(partition).await.unwrap();
    assert_eq!(end, Offset(4), "two records and two marks");
    let passing = async {
        while consumer.position(partition) != Some(end) {
            assert!(matches!(consumer.poll(limits()).await, Ok(Polled::Idle)));
        }
    };
    tokio::time::timeout(DEADLINE, passing).await.expect("what holds no record is passed");
    assert_eq!(consumer.backlog_records(), 0);
    send("after");
    producer.commit_transaction(DEADLINE).unwrap();
    let taken = take(&mut consumer, 1).await;
    assert_eq!((taken[0].offset, &taken[0].record.value[..]), (end, &b"after"[..]));
}
