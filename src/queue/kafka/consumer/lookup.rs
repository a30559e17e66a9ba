//! What the brokers know of partitions. Every call blocks, for a bounded time.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Start};

use super::membership::GroupClient;

const TIMEOUT: Duration = Duration::from_secs(3);

/// First offset and end of a partition.
fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> KafkaResult<(Offset, Offset)> {
    let (earliest, end) = consumer.fetch_watermarks(topic, partition, TIMEOUT)?;
    Ok((offset(earliest), offset(end)))
}

/// The end of a partition.
pub(super) fn end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> KafkaResult<Offset> {
    watermarks(consumer, topic, partition).map(|(_, end)| end)
}

/// Where `start` is, and the end of the partition.
pub(super) fn find(
    consumer: &GroupClient,
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

/// What is known of partitions that were just given to this member.
pub(super) fn assignments(
    consumer: &GroupClient,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<Vec<Assignment>> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition(topic, *partition);
    }
    let committed = consumer.committed_offsets(asked, TIMEOUT)?;
    partitions
        .iter()
        .map(|partition| {
            let element =
                committed.find_partition(topic, *partition).ok_or(KafkaError::NoMessageReceived)?;
            element.error()?;
            let (earliest, end) = watermarks(consumer, topic, *partition)?;
            let committed = match element.offset() {
                KafkaOffset::Offset(committed) => Some(offset(committed)),
                _ => None,
            };
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
