//! How a group stands, seen and set from outside of it. Every call blocks, for a bounded time.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientConfig, TopicPartitionList};

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, QueueError};

use super::client::{self, Asking, Observing};
use super::consumer::lookup;
use super::error::{broken, once_settled, queue_error};
use super::record::{raw, raw_offset};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A client with a group's name that is no member of it.
pub(super) struct Outsider(BaseConsumer<Asking>);

impl Outsider {
    pub(super) fn new(config: &ClientConfig, observing: &Observing) -> KafkaResult<Self> {
        let consumer = config.create_with_context(observing.context("asking", ()))?;
        client::serve(&consumer);
        Ok(Self(consumer))
    }

    /// Every partition of a topic, in their order.
    pub(super) fn standing(&self, topic: &str) -> Result<Vec<Assignment>, QueueError> {
        let action = "asking how a group stands";
        let failed = |cause| queue_error(action, cause);
        let metadata = self.0.fetch_metadata(Some(topic), TIMEOUT).map_err(failed)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let mut partitions: Vec<i32> = found
            .into_iter()
            .flat_map(|found| found.partitions())
            .map(rdkafka::metadata::MetadataPartition::id)
            .collect();
        partitions.sort_unstable();
        // A group that nobody has asked for yet has no coordinator for a moment.
        once_settled(|| lookup::assignments(&self.0, topic, &partitions)).map_err(failed)
    }

    /// Commits for the group, which takes that it has no members.
    pub(super) fn commit(
        &self,
        topic: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<(), QueueError> {
        let action = "setting a committed offset";
        let failed = |cause: KafkaError| {
            if is_in_use(&cause) {
                broken(
                    action,
                    "the group is in use: stop its consumers, and wait for its session timeout",
                )
            } else {
                queue_error(action, cause)
            }
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, raw(partition), raw_offset(offset)).map_err(failed)?;
        self.0.commit(&list, CommitMode::Sync).map_err(failed)
    }
}

/// Whether a commit was refused because the group has members.
fn is_in_use(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress)
    )
}
