//! What the group tells a member, noted while the client polls.
//!
//! New partitions are the member's at once, but the client gets each only with its owner's word from where
//! to read it.
//! Revoked ones are not given back here: their owner commits first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};

use crate::telemetry::with_causes;

use super::super::client::{Context, Role};

/// The client of a member.
pub(super) type GroupClient = BaseConsumer<Context<Membership>>;

/// What happened within the last polls.
#[derive(Debug)]
pub(super) enum Event {
    /// These are the member's now; the client does not read them yet.
    Assigned(Vec<i32>),
    /// These are to be given back by an incremental unassignment.
    Revoked(Vec<i32>),
    /// These are gone already.
    Lost(Vec<i32>),
}

/// What a member's client has told.
#[derive(Debug, Default)]
pub(super) struct Membership {
    events: Mutex<Vec<Event>>,
    places: Mutex<BTreeMap<i32, Places>>,
    is_leaving: AtomicBool,
}

/// Where a partition is, as the client last told it.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    end: u64,
    fetched: u64,
}

impl Membership {
    pub(super) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.events))
    }

    /// The end of a partition's log when the client last told it.
    pub(super) fn known_end(&self, partition: i32) -> u64 {
        lock(&self.places).get(&partition).map_or(0, |places| places.end)
    }

    /// The offset up to which the client last told to have fetched a partition, also what is no record
    /// (the marks of transactions).
    pub(super) fn fetched(&self, partition: i32) -> u64 {
        lock(&self.places).get(&partition).map_or(0, |places| places.fetched)
    }

    /// From now on revoked partitions are given back without asking anybody.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    fn note(&self, event: Event) {
        lock(&self.events).push(event);
    }

    fn assigned(&self, consumer: &GroupClient, partitions: &TopicPartitionList) {
        // The client gets each partition with its owner's word from where to read: any other place would be
        // read from for an instant, be looked up so late that it overrules that word, or lie before the
        // beginning of the log, which ends the reading for good.
        if let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
            tracing::error!(error = %with_causes(&error), "partitions given by the group could not be taken over");
        }
        self.note(Event::Assigned(numbers(partitions)));
    }

    fn revoked(&self, consumer: &GroupClient, partitions: &TopicPartitionList) {
        if self.is_leaving.load(Ordering::Acquire) || consumer.assignment_lost() {
            give_back(consumer, partitions);
            self.note(Event::Lost(numbers(partitions)));
        } else {
            self.note(Event::Revoked(numbers(partitions)));
        }
    }
}

/// Tells the group that this member has let go of partitions. Those that the client never got to read
/// are let go without it.
pub(super) fn give_back(consumer: &GroupClient, partitions: &TopicPartitionList) {
    let given_back = held(consumer, partitions).and_then(|held| consumer.incremental_unassign(&held));
    if let Err(error) = given_back {
        tracing::debug!(error = %with_causes(&error), "partitions are not given back one by one; all are let go");
        // An error here means that the client has nothing assigned any more.
        let _ = consumer.unassign();
    }
}

/// Those of `partitions` that the client reads.
pub(super) fn held(
    consumer: &GroupClient,
    partitions: &TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    let assignment = consumer.assignment()?;
    let mut held = TopicPartitionList::new();
    for wanted in partitions.elements() {
        if assignment.find_partition(wanted.topic(), wanted.partition()).is_some() {
            held.add_partition(wanted.topic(), wanted.partition());
        }
    }
    Ok(held)
}

impl Role for Membership {
    fn statistics(&self, statistics: &Statistics) {
        let mut places = lock(&self.places);
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            let known = places.entry(partition.partition).or_default();
            if let Ok(end) = u64::try_from(partition.hi_offset) {
                known.end = end;
            }
            known.fetched = u64::try_from(partition.next_offset).unwrap_or(0);
        }
    }
}

impl ConsumerContext for Context<Membership> {
    fn rebalance(
        &self,
        consumer: &GroupClient,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.role.assigned(consumer, partitions);
        } else {
            self.role.revoked(consumer, partitions);
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    let mut numbers: Vec<i32> = partitions.elements().iter().map(|e| e.partition()).collect();
    numbers.sort_unstable();
    numbers
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
