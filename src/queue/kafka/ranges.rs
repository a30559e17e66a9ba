//! Reads bounded parts of a topic, all partitions side by side, outside of every group.
//!
//! The client tells where a partition ends for now. Whatever lies before that and was not brought is no record:
//! so a range, which ends there or earlier, is read whole then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::blocking;
use super::client::{Asking, Observing, serve};
use super::consumer::lookup;
use super::error::{once_settled, topic_error};
use super::record::{raw, raw_offset, received};
use crate::account::{Offset, Partition};
use crate::queue::{PollLimits, QueueError, ReadRange, Reader, Received};

pub(super) const ACTION: &str = "reading a part of the log";

/// A reader of the production queue.
pub struct KafkaReader {
    consumer: Arc<BaseConsumer<Asking>>,
    topic: String,
    left: BTreeMap<i32, Left>,
    done: BTreeMap<i32, Offset>,
}

/// What is still to be read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    next: Offset,
    to: Offset,
}

/// What the client brought.
#[derive(Default)]
struct Brought {
    records: Vec<Received>,
    /// Partitions that have nothing more for now.
    ended: Vec<i32>,
}

impl KafkaReader {
    /// Begins to read. Blocks until the ends of the partitions are known.
    pub(super) fn open(
        config: &ClientConfig,
        observing: &Observing,
        topic: String,
        ranges: &[ReadRange],
    ) -> Result<Self, QueueError> {
        let context = observing.context("replay", ());
        let opened = config.create_with_context(context).and_then(|consumer: BaseConsumer<Asking>| {
            // Brings a token, where one is needed, before anything is asked.
            serve(&consumer);
            let (left, done) = place(&consumer, &topic, ranges)?;
            Ok((consumer, left, done))
        });
        let (consumer, left, done) = opened.map_err(|cause| topic_error(ACTION, &topic, cause))?;
        Ok(Self { consumer: Arc::new(consumer), topic, left, done })
    }

    /// Moves on behind what was brought.
    fn take(&mut self, Brought { mut records, ended }: Brought) -> KafkaResult<Vec<Received>> {
        records.retain(|received| {
            let left = self.left.get_mut(&raw(received.partition));
            let wanted = left.filter(|left| received.offset < left.to);
            wanted.map(|left| left.next = received.offset.next()).is_some()
                || self.finish(raw(received.partition))
        });
        for partition in ended {
            self.finish(partition);
        }
        let whole = self.left.iter().filter(|(_, left)| left.next >= left.to);
        let whole: Vec<i32> = whole.map(|(partition, _)| *partition).collect();
        for partition in whole {
            self.finish(partition);
        }
        let mut finished = TopicPartitionList::new();
        for partition in self.done.keys() {
            finished.add_partition(&self.topic, *partition);
        }
        if finished.count() > 0 {
            self.consumer.pause(&finished)?;
        }
        Ok(records)
    }

    /// A partition is read whole. False, for a record that is not wanted.
    fn finish(&mut self, partition: i32) -> bool {
        if let Some(left) = self.left.remove(&partition) {
            self.done.insert(partition, left.to);
        }
        false
    }
}

type Placed = (BTreeMap<i32, Left>, BTreeMap<i32, Offset>);

/// Has the client read the ranges, as far as there is anything in them.
fn place(consumer: &BaseConsumer<Asking>, topic: &str, ranges: &[ReadRange]) -> KafkaResult<Placed> {
    let partitions: Vec<i32> = ranges.iter().map(|range| raw(range.partition)).collect();
    let ends = once_settled(|| lookup::ends(consumer, topic, &partitions))?;
    let (mut left, mut done) = (BTreeMap::new(), BTreeMap::new());
    let mut places = TopicPartitionList::new();
    for ReadRange { partition, from, to } in ranges {
        let partition = raw(*partition);
        let to = ends.get(&partition).map_or(*to, |end| (*to).min(*end));
        if *from < to {
            places.add_partition_offset(topic, partition, raw_offset(*from))?;
            left.insert(partition, Left { next: *from, to });
        } else {
            done.insert(partition, *from);
        }
    }
    consumer.assign(&places)?;
    Ok((left, done))
}

/// What there is within the limits; waits for the first of it. Blocks.
fn poll(consumer: &BaseConsumer<Asking>, limits: PollLimits) -> KafkaResult<Brought> {
    let until = Instant::now() + limits.max_wait;
    let (mut brought, mut bytes) = (Brought::default(), 0);
    while brought.records.len() < limits.max_records && bytes < limits.max_bytes {
        let is_waiting = brought.records.is_empty() && brought.ended.is_empty();
        let wait =
            if is_waiting { until.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
        match consumer.poll(wait) {
            None => break,
            Some(Ok(message)) => {
                if let Some(received) = received(&message) {
                    bytes += received.record.value.len();
                    brought.records.push(received);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => brought.ended.push(partition),
            // What was brought before it comes first; the client goes on telling what is wrong.
            Some(Err(_)) if !brought.records.is_empty() => break,
            Some(Err(error)) => return Err(error),
        }
    }
    Ok(brought)
}

impl Reader for KafkaReader {
    async fn read(&mut self, limits: PollLimits) -> Result<Vec<Received>, QueueError> {
        if self.left.is_empty() {
            return Ok(Vec::new());
        }
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        let brought = blocking(ACTION, move || {
            poll(&consumer, limits).map_err(|cause| topic_error(ACTION, &topic, cause))
        })
        .await?;
        self.take(brought).map_err(|cause| topic_error(ACTION, &self.topic, cause))
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        let partition = raw(partition);
        let left = self.left.get(&partition).map(|left| left.next);
        left.or_else(|| self.done.get(&partition).copied())
    }

    fn is_done(&self) -> bool {
        self.left.is_empty()
    }
}
