//! Whether records can be published and read now.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use super::client::{Asking, serve};
use super::error::{queue_error, topic_error, unavailable};
use super::probe::may_write;
use super::{KafkaQueue, blocking};
use crate::queue::{QueueError, Topic};

const ACTION: &str = "checking the queue";
/// How long a probe waits for a broker.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The topics that brokers refused to append to, for a reason that only an operator can mend, until
/// something is published there or brokers are seen to let it be.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<BTreeSet<Topic>>);

impl Refused {
    /// Notes what came of publishing.
    pub(super) fn note(&self, topic: Topic, is_refused: bool) {
        let mut topics = self.topics();
        if is_refused {
            topics.insert(topic);
        } else {
            topics.remove(&topic);
        }
    }

    fn topics(&self) -> MutexGuard<'_, BTreeSet<Topic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KafkaQueue {
    /// Looks whether members have joined, the topics are as they were, and nothing is refused.
    pub(super) async fn look(&self) -> Result<(), QueueError> {
        if let Some(group) = self.inner.seats.awaited().first() {
            return Err(unavailable(ACTION, format!("a consumer has not joined the group {group} yet")));
        }
        for (_, pinned) in &self.inner.pinned {
            pinned.check_if_used(ACTION)?;
        }
        let submitted = self.topic(Topic::Submitted);
        let asking = Arc::clone(&self.inner.asking);
        blocking(ACTION, move || {
            serve(&asking);
            is_led(&asking, &submitted)
        })
        .await?;
        self.look_at_refused().await
    }

    /// What was refused may be let be by now, which nobody would notice who is sent nothing to publish.
    async fn look_at_refused(&self) -> Result<(), QueueError> {
        let refused: Vec<Topic> = self.inner.refused.topics().iter().copied().collect();
        for topic in refused {
            let (options, name) = (self.inner.options.clone(), self.topic(topic));
            blocking(ACTION, move || {
                may_write(&options, &name, TIMEOUT).map_err(|cause| topic_error(ACTION, &name, cause))
            })
            .await?;
            self.inner.refused.note(topic, false);
        }
        Ok(())
    }
}

fn is_led(asking: &BaseConsumer<Asking>, topic: &str) -> Result<(), QueueError> {
    let metadata = asking.fetch_metadata(Some(topic), TIMEOUT);
    judge(&metadata.map_err(|cause| queue_error(ACTION, cause))?, topic)
}

fn judge(metadata: &Metadata, topic: &str) -> Result<(), QueueError> {
    let missing = || unavailable(ACTION, format!("the topic {topic} is missing"));
    let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or_else(missing)?;
    if let Some(error) = found.error() {
        return Err(topic_error(ACTION, topic, KafkaError::MetadataFetch(error.into())));
    }
    if found.partitions().is_empty() {
        return Err(missing());
    }
    if found.partitions().iter().any(|partition| partition.leader() < 0) {
        return Err(unavailable(ACTION, format!("a partition of the topic {topic} has no leader")));
    }
    Ok(())
}
