//! Commits, each between looks at what the group has committed before.
//!
//! Brokers forget a group's offsets together with a topic that is deleted. A topic that was created anew under
//! the same name is filled from its beginning, which a member that reads on would pass over in silence: only
//! what the group no longer knows shows it. So nothing is committed over offsets that are gone, and no commit brings
//! all of them back: it goes in two halves, and whenever the topic is deleted, the offsets of one half are missing at
//! the next look. A member that has one partition alone is as safe but for the moment between a look and its commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use tokio::sync::oneshot;

use super::super::lookup;
use super::partitions::Commit;
use super::{Command, Poller};
use crate::account::Offset;
use crate::queue::Assignment;
use crate::queue::kafka::record::{raw, raw_offset};

/// The answer to a commit; none while another one is on its way.
pub(in super::super) type Committed = Option<Result<(), CommitError>>;

/// Why offsets were not committed.
#[derive(Debug)]
pub(in super::super) enum CommitError {
    /// The client or a broker refuses.
    Client(KafkaError),
    /// The group has forgotten what it had committed.
    Forgotten(Forgotten),
}

/// Offsets that were committed are gone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the group no longer knows what it had committed of partition {partition} of {topic}: the topic was \
     deleted, and perhaps created anew, or the group's offsets were deleted. Nothing more is read or \
     committed; start the role again, and it compares what the topic holds with the store before it goes on. \
     `penstock doctor` tells what does not fit together"
)]
pub(in super::super) struct Forgotten {
    topic: String,
    partition: i32,
}

impl From<KafkaError> for CommitError {
    fn from(error: KafkaError) -> Self {
        Self::Client(error)
    }
}

/// The partitions of which the group is known to have committed something.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered(BTreeSet<i32>);

impl Remembered {
    /// What was found when partitions were given to this member.
    pub(super) fn found(&mut self, assignments: &[Assignment]) {
        for found in assignments {
            let partition = raw(found.partition);
            if found.committed.is_some() {
                self.0.insert(partition);
            } else {
                self.0.remove(&partition);
            }
        }
    }

    pub(super) fn committed(&mut self, partitions: &[i32]) {
        self.0.extend(partitions);
    }

    /// Forgets the partitions that are not this member's any more.
    pub(super) fn keep(&mut self, is_kept: impl Fn(i32) -> bool) {
        self.0.retain(|partition| is_kept(*partition));
    }
}

impl Poller {
    pub(super) fn commit(&mut self, offsets: &[(i32, u64, Offset)], done: oneshot::Sender<Committed>) {
        let Some(Commit { number, offsets }) = self.progress.partitions.commit(offsets) else {
            let _ = done.send(None);
            return;
        };
        if offsets.is_empty() {
            let _ = done.send(Some(Ok(())));
            return;
        }
        // The client tells the end of a commit only to a thread that waits for it, which takes long
        // while the coordinator is away.
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        let (commands, signal) = (self.own_commands.clone(), Arc::clone(&self.signal));
        let known = self.progress.remembered.clone();
        std::thread::spawn(move || {
            let result = commit_over(&consumer, &topic, known, &offsets);
            drop(consumer);
            let is_done = result.is_ok();
            let partitions =
                offsets.iter().map(|(partition, _)| *partition).filter(|_| is_done).collect();
            // Before the answer: whoever has it may commit again at once.
            let _ = commands.send(Command::Committed { number, partitions });
            signal.raise();
            // Nobody waits when it took too long.
            let _ = done.send(Some(result));
        });
    }
}

/// Commits, if the group knows before and after each half of it what it had committed of the member's partitions.
fn commit_over<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    mut known: Remembered,
    offsets: &[(i32, Offset)],
) -> Result<(), CommitError> {
    still_knows(consumer, topic, &known)?;
    let (first, second) = offsets.split_at(offsets.len().div_ceil(2));
    for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
        let list: KafkaResult<TopicPartitionList> =
            half.iter().try_fold(TopicPartitionList::new(), |mut list, (partition, offset)| {
                list.add_partition_offset(topic, *partition, raw_offset(*offset))?;
                Ok(list)
            });
        consumer.commit(&list?, CommitMode::Sync)?;
        known.0.extend(half.iter().map(|(partition, _)| *partition));
        still_knows(consumer, topic, &known)?;
    }
    Ok(())
}

/// Looks whether the group still knows what it had committed.
fn still_knows<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    remembered: &Remembered,
) -> Result<(), CommitError> {
    let remembered: Vec<i32> = remembered.0.iter().copied().collect();
    if remembered.is_empty() {
        return Ok(());
    }
    let known = lookup::committed(consumer, topic, &remembered)?;
    match remembered.into_iter().find(|partition| !known.contains_key(partition)) {
        Some(partition) => Err(CommitError::Forgotten(Forgotten { topic: topic.to_owned(), partition })),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Partition;

    #[test]
    fn what_a_group_had_committed_is_remembered_for_as_long_as_a_partition_stays() {
        let found = |partition, committed: Option<u64>| Assignment {
            partition: Partition(partition),
            committed: committed.map(Offset),
            earliest: Offset(0),
            end: Offset(9),
        };
        let mut remembered = Remembered::default();
        remembered.found(&[found(0, Some(4)), found(1, None)]);
        let of = |remembered: &Remembered| remembered.0.iter().copied().collect::<Vec<_>>();
        assert_eq!(of(&remembered), [0]);
        remembered.committed(&[1, 2]);
        assert_eq!(of(&remembered), [0, 1, 2]);
        remembered.keep(|partition| partition != 2);
        remembered.found(&[found(0, None)]);
        assert_eq!(of(&remembered), [1], "it came back without anything committed");
    }
}
