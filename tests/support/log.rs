//! What is on the topics, read by a plain client that shares no code with the queue.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use penstock::account::{Offset, Partition, Timestamp};
use penstock::queue::{Headers, Received, Record};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset as KafkaOffset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(15);
/// Between two questions about what is not known yet.
const BREATH: Duration = Duration::from_millis(100);
/// Longest time that reading a whole topic may take.
const READ_DEADLINE: Duration = Duration::from_mins(3);

/// A client of the brokers of a test, for topics of one prefix.
#[derive(Clone)]
pub struct Log {
    brokers: String,
    prefix: String,
}

impl Log {
    pub fn new(brokers: String, prefix: String) -> Self {
        Self { brokers, prefix }
    }

    /// The full name of a topic.
    pub fn topic(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    fn client(&self, group: &str) -> anyhow::Result<BaseConsumer> {
        let group = format!("{}{group}", self.prefix);
        Ok(ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .create()?)
    }

    /// Every record of a topic, in the order of its offsets within each partition.
    pub async fn read(&self, topic: &str) -> anyhow::Result<Vec<Received>> {
        let (log, topic) = (self.clone(), self.topic(topic));
        tokio::task::spawn_blocking(move || read_all(&log.client("checker")?, &topic)).await?
    }

    /// The end of every partition of a topic.
    pub async fn ends(&self, topic: &str) -> anyhow::Result<BTreeMap<Partition, Offset>> {
        let (log, topic) = (self.clone(), self.topic(topic));
        let ends = move || {
            let client = log.client("checker")?;
            let ranges = ranges(&client, &topic)?;
            Ok(ranges.into_iter().map(|(p, (_, end))| (partition(p), offset(end))).collect())
        };
        tokio::task::spawn_blocking(ends).await?
    }

    /// The committed offsets of a group that reads a topic.
    pub async fn committed(
        &self,
        group: &str,
        topic: &str,
    ) -> anyhow::Result<BTreeMap<Partition, Offset>> {
        let (log, group, topic) = (self.clone(), group.to_owned(), self.topic(topic));
        let committed = move || {
            let client = log.client(&group)?;
            let mut asked = TopicPartitionList::new();
            for number in partitions(&client, &topic)? {
                asked.add_partition(&topic, number);
            }
            let answered = client.committed_offsets(asked, TIMEOUT)?;
            let known =
                |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element
                    .offset()
                {
                    KafkaOffset::Offset(at) => Some((partition(element.partition()), offset(at))),
                    _ => None,
                };
            Ok(answered.elements().into_iter().filter_map(known).collect())
        };
        tokio::task::spawn_blocking(committed).await?
    }

    /// Whether so many members are in a group, in peace, and every partition has one of its own or every
    /// member has a partition.
    pub async fn is_balanced(&self, group: &str, members: usize) -> anyhow::Result<bool> {
        let (log, group) = (self.clone(), group.to_owned());
        let topic = self.topic("accounts.submitted");
        let is_balanced = move || {
            let name = format!("{}{group}", log.prefix);
            let client = log.client("checker")?;
            let partitions = partitions(&client, &topic)?.len();
            let groups = client.fetch_group_list(Some(&name), TIMEOUT)?;
            let found = groups.groups().first().context("no such group")?;
            // An assignment names the topics that it has partitions of.
            let names_topic = |assignment: &[u8]| {
                assignment.windows(topic.len()).any(|window| window == topic.as_bytes())
            };
            let assigned =
                found.members().iter().filter(|m| m.assignment().is_some_and(names_topic)).count();
            let is_complete = found.members().len() == members && assigned == members.min(partitions);
            Ok(found.state() == "Stable" && is_complete)
        };
        tokio::task::spawn_blocking(is_balanced).await?
    }

    /// The node, counted from 1, that leads a partition of the submitted topic.
    pub async fn leader(&self, wanted: Partition) -> anyhow::Result<u16> {
        let (log, topic) = (self.clone(), self.topic("accounts.submitted"));
        let leader = move || {
            let client = log.client("checker")?;
            let metadata = client.fetch_metadata(Some(&topic), TIMEOUT)?;
            let partitions = metadata.topics().first().context("no such topic")?.partitions();
            let found = partitions.iter().find(|p| partition(p.id()) == wanted);
            Ok(u16::try_from(found.context("no such partition")?.leader())?)
        };
        tokio::task::spawn_blocking(leader).await?
    }

    /// Writes records to a topic, so many a second or as fast as it goes, the partition by their keys, and
    /// waits until all are acknowledged.
    pub async fn publish(
        &self,
        topic: &str,
        records: impl Iterator<Item = Record> + Send + 'static,
        per_second: Option<u32>,
    ) -> anyhow::Result<()> {
        let (log, topic) = (self.clone(), self.topic(topic));
        let publish = move || {
            let producer: BaseProducer<Counted> = ClientConfig::new()
                .set("bootstrap.servers", &log.brokers)
                .set("partitioner", "murmur2_random")
                .set("enable.idempotence", "true")
                .create_with_context(Counted::default())?;
            let begun = Instant::now();
            let mut published = 0;
            for record in records {
                publish_one(&producer, &topic, &record)?;
                published += 1;
                if let Some(per_second) = per_second {
                    let due = Duration::from_secs(published).div_f64(per_second.into());
                    // A poll ends with whatever it has heard.
                    while begun.elapsed() < due {
                        producer.poll(due.saturating_sub(begun.elapsed()));
                    }
                }
            }
            producer.flush(READ_DEADLINE)?;
            let acknowledged = producer.context().0.load(Ordering::Relaxed);
            ensure!(acknowledged == published, "{acknowledged} of {published} records were taken");
            Ok(())
        };
        tokio::task::spawn_blocking(publish).await?
    }

    /// Writes to the submitted topic as a foreign producer does: without headers, but with the
    /// partitioner that everybody uses.
    pub async fn write(&self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        self.send(None, key, value).await
    }

    /// Writes to one partition of the submitted topic, whatever the key.
    pub async fn write_to(&self, at: Partition, key: &str, value: &[u8]) -> anyhow::Result<()> {
        self.send(Some(i32::try_from(at.0)?), key, value).await
    }

    /// Whether a group has committed every record of a topic before these ends.
    pub async fn is_past(
        &self,
        group: &str,
        topic: &str,
        ends: &BTreeMap<Partition, Offset>,
    ) -> anyhow::Result<bool> {
        let committed = self.committed(group, topic).await?;
        let is_behind = |(partition, end): (&Partition, &Offset)| {
            end.0 > 0 && committed.get(partition).is_none_or(|at| at < end)
        };
        Ok(!ends.iter().any(is_behind))
    }

    async fn send(&self, at: Option<i32>, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let (log, key, value) = (self.clone(), key.to_owned(), value.to_vec());
        let send = move || {
            let producer: BaseProducer<Deliveries> = ClientConfig::new()
                .set("bootstrap.servers", &log.brokers)
                .set("partitioner", "murmur2_random")
                .set("message.max.bytes", "1200000")
                .create_with_context(Deliveries::default())?;
            let topic = log.topic("accounts.submitted");
            let record = BaseRecord::to(&topic).key(&key).payload(&value);
            let record = at.into_iter().fold(record, BaseRecord::partition);
            producer.send(record).map_err(|(error, _)| error)?;
            producer.flush(TIMEOUT)?;
            let delivered = producer.context().0.lock().unwrap().take();
            Ok(delivered.context("nobody tells whether the record was delivered")??)
        };
        tokio::task::spawn_blocking(send).await?
    }
}

fn publish_one(producer: &BaseProducer<Counted>, topic: &str, record: &Record) -> anyhow::Result<()> {
    let (key, value): (&[u8], &[u8]) = (&record.key, &record.value);
    loop {
        let mut headers = OwnedHeaders::new();
        for (name, value) in record.headers.iter() {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let sent = producer.send(BaseRecord::to(topic).key(key).payload(value).headers(headers));
        match sent {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(50));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// How many records were acknowledged.
#[derive(Default)]
struct Counted(AtomicU64);

impl ClientContext for Counted {}

impl ProducerContext for Counted {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    }
}

/// What became of the last record.
#[derive(Default)]
struct Deliveries(Mutex<Option<Result<(), KafkaError>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let delivered = result.as_ref().map(drop).map_err(|(error, _)| error.clone());
        *self.0.lock().unwrap() = Some(delivered);
    }
}

fn partition(number: i32) -> Partition {
    Partition(u32::try_from(number).unwrap_or(u32::MAX))
}

fn offset(number: i64) -> Offset {
    Offset(u64::try_from(number).unwrap_or(0))
}

fn partitions(client: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata.topics().first().context("no such topic")?;
    Ok(found.partitions().iter().map(|partition| partition.id()).collect())
}

fn ranges(client: &BaseConsumer, topic: &str) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
    let range = |number: i32| Ok((number, watermarks(client, topic, number)?));
    partitions(client, topic)?.into_iter().map(range).collect()
}

/// The first offset and the end of a partition. A leader that was just chosen does not know them yet.
fn watermarks(client: &BaseConsumer, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
    let until = Instant::now() + TIMEOUT;
    loop {
        let found = client.fetch_watermarks(topic, partition, TIMEOUT);
        let is_early = found.as_ref().is_err_and(|error| {
            use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, OffsetNotAvailable};
            let early = [LeaderNotAvailable, NotLeaderForPartition, OffsetNotAvailable];
            error.rdkafka_error_code().is_some_and(|code| early.contains(&code))
        });
        if !is_early || Instant::now() >= until {
            return found;
        }
        std::thread::sleep(BREATH);
    }
}

fn read_all(client: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<Received>> {
    let mut missing: BTreeMap<i32, i64> = BTreeMap::new();
    let mut assigned = TopicPartitionList::new();
    for (number, (start, end)) in ranges(client, topic)? {
        if start < end {
            missing.insert(number, end);
            assigned.add_partition_offset(topic, number, KafkaOffset::Offset(start))?;
        }
    }
    client.assign(&assigned)?;
    let deadline = Instant::now() + READ_DEADLINE;
    let mut records = Vec::new();
    while !missing.is_empty() {
        ensure!(Instant::now() < deadline, "reading {topic} took too long");
        let Some(message) = client.poll(Duration::from_millis(500)) else { continue };
        let Ok(message) = message else { continue };
        let number = message.partition();
        let Some(end) = missing.get(&number) else { continue };
        let (at, end) = (message.offset(), *end);
        if at < end {
            records.push(received(&message));
        }
        if at + 1 >= end {
            missing.remove(&number);
        }
    }
    records.sort_by_key(|received| (received.partition, received.offset));
    Ok(records)
}

fn received(message: &rdkafka::message::BorrowedMessage<'_>) -> Received {
    let bytes = |part: Option<&[u8]>| part.map_or_else(Bytes::new, Bytes::copy_from_slice);
    let mut headers = Headers::default();
    for header in message.headers().iter().flat_map(|headers| headers.iter()) {
        headers.push(header.key.to_owned(), bytes(header.value));
    }
    Received {
        partition: partition(message.partition()),
        offset: offset(message.offset()),
        appended_at: Timestamp::from_unix_millis(message.timestamp().to_millis().unwrap_or(0)),
        record: Record { key: bytes(message.key()), value: bytes(message.payload()), headers },
    }
}
