//! What the brokers know of partitions. Every call blocks, for a bounded time.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Start};

const TIMEOUT: Duration = Duration::from_secs(3);

/// Where these partitions are at `place`, the beginning or the end of their logs: one request to each
/// broker, however many partitions it leads.
fn places<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    place: KafkaOffset,
) -> KafkaResult<BTreeMap<i32, Offset>> {
    if partitions.is_empty() {
        // Which the client takes for a mistake.
        return Ok(BTreeMap::new());
    }
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        // Where Kafka expects a time it takes these two for what they are.
        asked.add_partition_offset(topic, *partition, place)?;
    }
    let answer = consumer.offsets_for_times(asked, TIMEOUT)?;
    let told = |partition: &i32| {
        let element = answer.find_partition(topic, *partition).ok_or(KafkaError::NoMessageReceived)?;
        element.error()?;
        match element.offset() {
            KafkaOffset::Offset(found) => Ok((*partition, offset(found))),
            _ => Err(KafkaError::NoMessageReceived),
        }
    };
    partitions.iter().map(told).collect()
}

/// The ends of partitions.
pub(in super::super) fn ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<BTreeMap<i32, Offset>> {
    places(consumer, topic, partitions, KafkaOffset::End)
}

/// First offset and end of a partition.
fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> KafkaResult<(Offset, Offset)> {
    let earliest = place(&places(consumer, topic, &[partition], KafkaOffset::Beginning)?, partition)?;
    let end = end(consumer, topic, partition)?;
    Ok((earliest, end))
}

/// The end of a partition.
pub(super) fn end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> KafkaResult<Offset> {
    place(&ends(consumer, topic, &[partition])?, partition)
}

fn place(places: &BTreeMap<i32, Offset>, partition: i32) -> KafkaResult<Offset> {
    places.get(&partition).copied().ok_or(KafkaError::NoMessageReceived)
}

/// Where `start` is, and the end of the partition.
pub(in super::super) fn find<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    start: Start,
) -> KafkaResult<(Offset, Offset)> {
    let found = match start {
        Start::Offset(wanted) => Some(wanted),
        Start::Time(time) => {
            let mut asked = TopicPartitionList::new();
            // Below zero Kafka takes a time for something else.
            let millis = time.unix_millis().max(0);
            asked.add_partition_offset(topic, partition, KafkaOffset::Offset(millis))?;
            let answer = consumer.offsets_for_times(asked, TIMEOUT)?;
            let found = answer.find_partition(topic, partition);
            let raw = found.map(|element| element.error().map(|()| element.offset())).transpose()?;
            match raw {
                Some(KafkaOffset::Offset(found)) => Some(offset(found)),
                _ => None,
            }
        }
    };
    // Asked for after the time, so that the end is not before what was found.
    let (earliest, end) = watermarks(consumer, topic, partition)?;
    Ok((found.unwrap_or(end).max(earliest).min(end), end))
}

/// What the group has committed of partitions, where it has.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<BTreeMap<i32, Offset>> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition(topic, *partition);
    }
    let answer = consumer.committed_offsets(asked, TIMEOUT)?;
    let mut committed = BTreeMap::new();
    for partition in partitions {
        let element = answer.find_partition(topic, *partition).ok_or(KafkaError::NoMessageReceived)?;
        element.error()?;
        if let KafkaOffset::Offset(found) = element.offset() {
            committed.insert(*partition, offset(found));
        }
    }
    Ok(committed)
}

/// What is known of partitions that were just given to this member.
pub(in super::super) fn assignments<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<Vec<Assignment>> {
    let committed = committed(consumer, topic, partitions)?;
    let earliest = places(consumer, topic, partitions, KafkaOffset::Beginning)?;
    let ends = ends(consumer, topic, partitions)?;
    partitions
        .iter()
        .map(|partition| {
            let earliest = place(&earliest, *partition)?;
            let end = place(&ends, *partition)?;
            let committed = committed.get(partition).copied();
            Ok(Assignment { partition: number(*partition), committed, earliest, end })
        })
        .collect()
}

/// The port's number of a partition; the client has no negative ones.
pub(super) fn number(partition: i32) -> Partition {
    Partition(u32::try_from(partition).unwrap_or(0))
}

fn offset(raw: i64) -> Offset {
    Offset(u64::try_from(raw).unwrap_or(0))
}
