//! The partition counts that the process began with. With another count the records of an account would go
//! to another partition, out of order with those before: keys are placed by the count of the beginning,
//! and a topic that has another one by now is neither written to nor read.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::client::{Asking, serve};
use super::error::KafkaOpenError;
use crate::account::Partition;
use crate::queue::QueueError;
use crate::queue::partitioner::partition_of;

/// How often the brokers are asked for the counts, and how long they may take to answer.
const LOOK_PAUSE: Duration = Duration::from_secs(2);
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// A topic whose records of one key must stay on one partition.
#[derive(Debug)]
pub(super) struct Pinned {
    topic: String,
    partitions: u32,
    /// What the brokers told last.
    found: AtomicU32,
    /// This process reads it or writes to it.
    is_used: AtomicBool,
}

impl Pinned {
    pub(super) fn new(topic: String, partitions: u32) -> Self {
        Self { topic, partitions, found: AtomicU32::new(partitions), is_used: AtomicBool::new(false) }
    }

    /// This process reads it or writes to it from now on.
    pub(super) fn used(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// Refuses, if this process reads the topic or writes to it, whatever would put records out of order.
    pub(super) fn check_if_used(&self, action: &'static str) -> Result<(), QueueError> {
        if self.is_used.load(Ordering::Relaxed) { self.check(action) } else { Ok(()) }
    }

    /// Where the records of a key belong.
    pub(super) fn partition_of(&self, key: &[u8]) -> Partition {
        partition_of(key, self.partitions.max(1))
    }

    /// Refuses whatever would put records out of order.
    pub(super) fn check(&self, action: &'static str) -> Result<(), QueueError> {
        let found = self.found.load(Ordering::Acquire);
        if found == self.partitions { Ok(()) } else { Err(self.broken(action, found)) }
    }

    /// Refuses partitions that were not there at the beginning.
    pub(super) fn check_given(&self, action: &'static str, given: &[i32]) -> Result<(), QueueError> {
        let count = given.iter().filter_map(|partition| u32::try_from(*partition).ok()).max();
        match count.map(|largest| largest + 1) {
            Some(count) if count > self.partitions => {
                self.note(count);
                Err(self.broken(action, count))
            }
            _ => Ok(()),
        }
    }

    /// Notes how many partitions the brokers say there are.
    pub(super) fn note(&self, found: u32) {
        if self.found.swap(found, Ordering::AcqRel) == found {
            return;
        }
        if found == self.partitions {
            tracing::info!(
                topic = self.topic,
                partitions = found,
                "a topic has its partition count again"
            );
        } else {
            tracing::error!(topic = self.topic, "{}", self.changed(found));
        }
    }

    fn broken(&self, action: &'static str, found: u32) -> QueueError {
        QueueError::Broken { action, cause: Box::new(self.changed(found)) }
    }

    fn changed(&self, found: u32) -> KafkaOpenError {
        KafkaOpenError::PartitionCount {
            topic: self.topic.clone(),
            found: found as usize,
            expected: self.partitions,
        }
    }
}

/// Asks for the counts again and again, on a thread of its own, until nobody needs them any more.
pub(super) fn watch(pinned: &[Arc<Pinned>], asking: &Arc<BaseConsumer<Asking>>) -> std::io::Result<()> {
    let pinned: Vec<Weak<Pinned>> = pinned.iter().map(Arc::downgrade).collect();
    let asking = Arc::downgrade(asking);
    let watching = move || {
        loop {
            std::thread::sleep(LOOK_PAUSE);
            let Some(asking) = asking.upgrade() else { return };
            for pinned in &pinned {
                let Some(pinned) = pinned.upgrade() else { return };
                look(&pinned, &asking);
            }
        }
    };
    std::thread::Builder::new().name("kafka-topics".to_owned()).spawn(watching).map(drop)
}

fn look(pinned: &Pinned, asking: &BaseConsumer<Asking>) {
    serve(asking);
    // Brokers that do not answer, or do not know the topic, tell nothing of its count.
    let Ok(metadata) = asking.fetch_metadata(Some(&pinned.topic), LOOK_TIMEOUT) else { return };
    let found = metadata.topics().iter().find(|found| found.name() == pinned.topic);
    let found = found.filter(|found| found.error().is_none() && !found.partitions().is_empty());
    if let Some(count) = found.and_then(|found| u32::try_from(found.partitions().len()).ok()) {
        pinned.note(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_broken(checked: &Result<(), QueueError>) -> bool {
        matches!(checked, Err(QueueError::Broken { .. }))
    }

    #[test]
    fn another_count_than_at_the_beginning_is_refused_until_it_is_as_it_was() {
        let pinned = Pinned::new("accounts.submitted".to_owned(), 12);
        assert!(pinned.check("reading").is_ok());
        pinned.note(24);
        assert!(is_broken(&pinned.check("reading")));
        pinned.note(12);
        assert!(pinned.check("reading").is_ok());
    }

    #[test]
    fn only_what_a_process_uses_stops_it() {
        let pinned = Pinned::new("accounts.results".to_owned(), 12);
        pinned.note(24);
        assert!(pinned.check_if_used("checking").is_ok());
        pinned.used();
        assert!(is_broken(&pinned.check_if_used("checking")));
    }

    #[test]
    fn a_partition_that_was_not_there_is_refused_whoever_tells_of_it_first() {
        let pinned = Pinned::new("accounts.submitted".to_owned(), 12);
        assert!(pinned.check_given("reading", &[0, 11]).is_ok());
        assert!(is_broken(&pinned.check_given("reading", &[3, 12])));
        assert!(is_broken(&pinned.check("publishing")), "nobody goes on");
    }
}
