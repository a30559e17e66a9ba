//! The door's floor: the client alone, sending the records that the intake has left again, with the
//! intake's own client settings, as fast as they are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};

use penstock::queue::kafka::KafkaQueueOptions;

use crate::figures::Produced;
use crate::servers::Servers;
use crate::support::process::Usage;
use crate::topic::{Record, Topic};

/// While the client's buffer is full.
const PAUSE: Duration = Duration::from_millis(1);

/// Publishes `records` to `topic`; returns once every one is acknowledged.
#[allow(clippy::cast_precision_loss, reason = "rates")]
pub(crate) fn run(servers: &Servers, topic: &Topic, records: &[Record]) -> Produced {
    let brokers = servers.brokers().to_owned();
    let options = KafkaQueueOptions { brokers, ..KafkaQueueOptions::default() };
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let producer: ThreadedProducer<Counting> = options
        .durable_producer()
        .unwrap()
        .create_with_context(Counting(Arc::clone(&acknowledged)))
        .unwrap();
    // So that neither connecting nor the producer's registration is measured.
    send(&producer, topic.name(), &records[0]);
    wait_for(&acknowledged, 1);
    let cpu = || [Usage::of(std::process::id()).cpu, servers.kafka_cpu()];
    let (start, at_start) = (Instant::now(), cpu());
    for record in records {
        send(&producer, topic.name(), record);
    }
    wait_for(&acknowledged, 1 + records.len());
    let (elapsed, at_end) = (start.elapsed(), cpu());
    let count = records.len() as f64;
    let us = |part: usize| at_end[part].saturating_sub(at_start[part]).as_secs_f64() * 1e6 / count;
    Produced { items_per_second: count / elapsed.as_secs_f64(), cpu_us: us(0), kafka_cpu_us: us(1) }
}

fn wait_for(acknowledged: &AtomicUsize, count: usize) {
    while acknowledged.load(Ordering::Acquire) < count {
        std::thread::sleep(PAUSE);
    }
}

fn send(producer: &ThreadedProducer<Counting>, topic: &str, record: &Record) {
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    let headers = record
        .headers
        .iter()
        .fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(&value[..]) }));
    let mut next = BaseRecord::to(topic).key(&record.key).payload(&record.value).headers(headers);
    loop {
        match producer.send(next) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                next = refused;
                std::thread::sleep(PAUSE);
            }
            Err((error, _)) => panic!("a record was refused: {error}"),
        }
    }
}

/// Counts what is acknowledged.
struct Counting(Arc<AtomicUsize>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "a record was not acknowledged");
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
