//! Topics of their own on a real Apache Kafka, for every test anew.

use std::time::{Duration, Instant};

use penstock::queue::kafka::{KafkaOpenError, KafkaQueue, KafkaQueueOptions};
use penstock::queue::{Consumer as _, Queue as _, Topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::consuming::{
    DEADLINE, GROUP, done, next_assigned, next_revoked, records, resume, seek_to_committed, take,
};
use super::rig::{PARTITIONS, QueueRig};

const TOPICS: [&str; 4] =
    ["accounts.submitted", "accounts.results", "accounts.dead-letter", "accounts.replies"];

/// The brokers to test against. Without them the tests fail: they were asked for.
fn brokers() -> String {
    std::env::var("PENSTOCK_TEST_KAFKA").expect(
        "PENSTOCK_TEST_KAFKA names no Kafka brokers: start some with deploy/local/kafka.sh start and set \
         it to the address that prints, or run tests/run.sh, which does so",
    )
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap()
}

/// Topics with a prefix of their own; they are deleted with the rig.
pub(crate) struct KafkaQueueRig {
    prefix: String,
}

impl Default for KafkaQueueRig {
    fn default() -> Self {
        Self { prefix: format!("penstock-test-{}.", uuid::Uuid::new_v4().simple()) }
    }
}

impl KafkaQueueRig {
    fn topics(&self) -> Vec<String> {
        TOPICS.iter().map(|topic| format!("{}{topic}", self.prefix)).collect()
    }

    async fn create_topics(&self, settings: &[(&str, &str)]) {
        let names = self.topics();
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
        let options =
            AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE));
        for created in admin().create_topics(&topics, &options).await.unwrap() {
            match created {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => panic!("topic {topic} cannot be created: {code}"),
            }
        }
    }

    fn options(&self) -> KafkaQueueOptions {
        KafkaQueueOptions {
            brokers: brokers(),
            topic_prefix: self.prefix.clone(),
            partitions: PARTITIONS,
            // As fast as a broker allows, so that tests with many rebalances end in time.
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_millis(100),
            ..KafkaQueueOptions::default()
        }
    }

    /// Opens the queue. A broker may hear of a new topic a little after the controller.
    async fn try_open(&self, options: KafkaQueueOptions) -> Result<KafkaQueue, KafkaOpenError> {
        let start = Instant::now();
        loop {
            match KafkaQueue::open(options.clone()).await {
                Err(KafkaOpenError::TopicMissing { .. }) if start.elapsed() < DEADLINE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => return result,
            }
        }
    }
}

impl QueueRig for KafkaQueueRig {
    type Queue = KafkaQueue;

    async fn open(&self) -> KafkaQueue {
        self.create_topics(&[]).await;
        self.try_open(self.options()).await.unwrap()
    }

    async fn close(&self, queue: KafkaQueue) {
        queue.close().await;
    }
}

impl Drop for KafkaQueueRig {
    fn drop(&mut self) {
        let names = self.topics();
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // What is left behind on a failing broker disturbs nobody.
            let _ = runtime.block_on(admin().delete_topics(&names, &AdminOptions::new()));
        });
        let _ = deleting.join();
    }
}

#[tokio::test]
async fn a_missing_topic_is_refused() {
    let rig = KafkaQueueRig::default();
    let error = KafkaQueue::open(rig.options()).await.unwrap_err();
    assert!(matches!(&error, KafkaOpenError::TopicMissing { partitions: PARTITIONS, .. }), "{error}");
}

#[tokio::test]
async fn another_partition_count_than_pinned_is_refused() {
    let rig = KafkaQueueRig::default();
    rig.create_topics(&[]).await;
    let options = KafkaQueueOptions { partitions: 12, ..rig.options() };
    let error = rig.try_open(options).await.unwrap_err();
    assert!(matches!(&error, KafkaOpenError::PartitionCount { found: 4, expected: 12, .. }), "{error}");
}

#[tokio::test]
async fn a_compacted_submitted_topic_is_refused() {
    let rig = KafkaQueueRig::default();
    rig.create_topics(&[("cleanup.policy", "compact")]).await;
    let error = rig.try_open(rig.options()).await.unwrap_err();
    assert!(matches!(&error, KafkaOpenError::Compacted { .. }), "{error}");
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    drop(taken);
    let options = KafkaQueueOptions { brokers: address.clone(), ..KafkaQueueOptions::default() };
    let error = KafkaQueue::open(options).await.unwrap_err();
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
    stuck.commit(&done(&received)).await.unwrap();
    stuck.release(&revoked).await.unwrap();
    drop(stuck);
    for assignment in next_assigned(&mut second).await {
        assert_eq!(assignment.committed, Some(assignment.end), "what it had left was committed");
    }
    seek_to_committed(&mut second, &assigned).await;
    let again: u64 = assigned.iter().map(|a| a.end.0 - a.earliest.0).sum();
    take(&mut second, usize::try_from(again).unwrap()).await;
}
