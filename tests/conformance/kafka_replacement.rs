//! Clients that can no longer do their work, before brokers of the client library's own that answer
//! with the errors they are told to.

use std::time::Duration;

use penstock::queue::kafka::{KafkaQueue, KafkaQueueOptions};
use penstock::queue::{Consumer as _, Polled, Queue as _, QueueError, Topic};
use penstock::telemetry::{Exporter, Metrics};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::consuming::{
    DEADLINE, join, limits, next_assigned, next_revoked, records, seek_to_committed, take, values,
    values_of,
};
use super::kafka::TOPICS;
use super::rig::PARTITIONS;

/// More errors than a test lasts.
const FOR_EVER: usize = 100_000;
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) type Brokers = MockCluster<'static, DefaultProducerContext>;

pub(crate) fn brokers() -> Brokers {
    let brokers = MockCluster::new(1).unwrap();
    for topic in TOPICS {
        brokers.create_topic(topic, i32::try_from(PARTITIONS).unwrap(), 1).unwrap();
    }
    brokers
}

async fn open(brokers: &Brokers, metrics: Metrics) -> KafkaQueue {
    open_with(brokers, metrics, STALL_TIMEOUT).await
}

pub(crate) async fn open_with(
    brokers: &Brokers,
    metrics: Metrics,
    stall_timeout: Duration,
) -> KafkaQueue {
    let options = KafkaQueueOptions {
        brokers: brokers.bootstrap_servers(),
        partitions: PARTITIONS,
        heartbeat_interval: Duration::from_millis(100),
        session_timeout: Duration::from_secs(6),
        stall_timeout,
        ..KafkaQueueOptions::default()
    };
    KafkaQueue::open(options, metrics).await.unwrap()
}

fn answer_fetches_with_errors(brokers: &Brokers) {
    let errors = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN; FOR_EVER];
    brokers.request_errors(RDKafkaApiKey::Fetch, &errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_brings_nothing_is_replaced_and_the_new_one_brings_all() {
    let brokers = brokers();
    let exporter = Exporter::start("0", "0").unwrap();
    let queue = open(&brokers, exporter.metrics()).await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    answer_fetches_with_errors(&brokers);
    let (mut consumer, assignments) = join(&queue).await;
    seek_to_committed(&mut consumer, &assignments).await;
    assert_eq!(next_revoked(&mut consumer).await.len(), PARTITIONS as usize);
    brokers.clear_request_errors(RDKafkaApiKey::Fetch);
    let assignments = next_assigned(&mut consumer).await;
    assert_eq!(assignments.len(), PARTITIONS as usize);
    seek_to_committed(&mut consumer, &assignments).await;
    assert_eq!(values(&take(&mut consumer, 100).await), values_of(0..100));
    let metrics = exporter.render().unwrap();
    let told = "penstock_kafka_client_rebuilds_total{client=\"workers-0\",reason=\"stalled\"} 1";
    assert!(metrics.contains(told), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_brings_nothing_either_is_the_end() {
    let brokers = brokers();
    let queue = open(&brokers, Metrics::disabled()).await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    answer_fetches_with_errors(&brokers);
    let (mut consumer, assignments) = join(&queue).await;
    seek_to_committed(&mut consumer, &assignments).await;
    next_revoked(&mut consumer).await;
    let assignments = next_assigned(&mut consumer).await;
    seek_to_committed(&mut consumer, &assignments).await;
    let ended = async {
        loop {
            match consumer.poll(limits()).await {
                Ok(Polled::Idle) => {}
                other => return other,
            }
        }
    };
    let ended = tokio::time::timeout(DEADLINE, ended).await.expect("it ends in time");
    assert!(matches!(&ended, Err(QueueError::Broken { .. })), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_partitions_are_no_stall() {
    let brokers = brokers();
    // Longer than a busy machine keeps the client from reading what is there.
    let stall_timeout = STALL_TIMEOUT * 4;
    let queue = open_with(&brokers, Metrics::disabled(), stall_timeout).await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    let (mut consumer, assignments) = join(&queue).await;
    seek_to_committed(&mut consumer, &assignments).await;
    take(&mut consumer, 100).await;
    let quiet = async {
        loop {
            assert!(matches!(consumer.poll(limits()).await, Ok(Polled::Idle)));
        }
    };
    let quiet = tokio::time::timeout(stall_timeout * 2, quiet).await;
    assert!(quiet.is_err(), "nothing is told for as long as nothing comes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_may_never_send_again_is_replaced_and_no_publish_hangs() {
    let brokers = brokers();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    brokers.request_errors(RDKafkaApiKey::InitProducerId, &[refused]);
    let queue = open(&brokers, Metrics::disabled()).await;
    let publish = |from: usize| queue.publish(Topic::Submitted, records(from..from + 100));
    let (first, second, third) = tokio::join!(publish(0), publish(100), publish(200));
    assert!(first.is_err() && second.is_err() && third.is_err(), "{first:?} {second:?} {third:?}");
    publish(300).await.unwrap();
}
