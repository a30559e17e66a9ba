//! Topics as a benchmark looks at them: made, measured at their ends, and read into memory.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

/// Partitions of every topic.
pub(crate) const PARTITIONS: u32 = 12;
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often the end of a topic is asked for while it grows: seldom enough to cost nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// A record of a topic, as it is to be published again.
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// A topic on the broker.
pub(crate) struct Topic {
    name: String,
    consumer: BaseConsumer,
}

impl Topic {
    /// A topic that is there.
    pub(crate) fn new(brokers: &str, name: &str) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "benchmark")
            .set("enable.auto.commit", "false")
            .set("fetch.queue.backoff.ms", "10")
            .create()
            .unwrap();
        Self { name: name.to_owned(), consumer }
    }

    /// Makes it first, as `penstock topics apply` would.
    pub(crate) async fn create(brokers: &str, name: &str) -> Self {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let partitions = i32::try_from(PARTITIONS).unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime");
        let created = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
        assert!(created.iter().all(Result::is_ok), "{created:?}");
        Self::new(brokers, name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many records it holds that are acknowledged.
    pub(crate) fn records(&self) -> u64 {
        self.ends().iter().map(|end| u64::try_from(*end).unwrap()).sum()
    }

    fn ends(&self) -> Vec<i64> {
        let partitions = 0..i32::try_from(PARTITIONS).unwrap();
        let end = |partition| self.consumer.fetch_watermarks(&self.name, partition, TIMEOUT).unwrap().1;
        partitions.map(end).collect()
    }

    /// Waits until it holds more than `count` records; how many.
    pub(crate) fn grown_beyond(&self, count: u64, patience: Duration) -> u64 {
        let deadline = Instant::now() + patience;
        loop {
            let records = self.records();
            if records > count {
                return records;
            }
            assert!(Instant::now() < deadline, "{} stays at {records} records", self.name);
            std::thread::sleep(PAUSE);
        }
    }

    /// Reads everything it holds.
    pub(crate) fn read(&self) -> Vec<Record> {
        let mut from_start = TopicPartitionList::new();
        for partition in 0..i32::try_from(PARTITIONS).unwrap() {
            from_start.add_partition_offset(&self.name, partition, Offset::Beginning).unwrap();
        }
        self.consumer.assign(&from_start).unwrap();
        let count = usize::try_from(self.records()).unwrap();
        let mut records = Vec::with_capacity(count);
        while records.len() < count {
            let message = self.consumer.poll(TIMEOUT).unwrap().unwrap();
            let headers = message.headers().into_iter().flat_map(Headers::iter);
            records.push(Record {
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().unwrap_or_default().to_vec(),
                headers: headers
                    .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                    .collect(),
            });
        }
        self.consumer.unassign().unwrap();
        records
    }
}
