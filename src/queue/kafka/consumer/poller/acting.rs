//! What the thread does about what happens to its partitions: to the client, and towards their owner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};

use super::super::lookup::{self, number};
use super::super::membership::{give_back, held};
use super::partitions::{Effect, Placement, Refused};
use super::{Change, Command, Poller};
use crate::account::{Offset, Partition};
use crate::queue::Assignment;
use crate::queue::kafka::record::raw_offset;
use crate::telemetry::RebalancePhase;

/// How long a look-up that failed waits for its next try.
const LOOKUP_PAUSE: Duration = Duration::from_millis(500);

/// The answer to a seek: the epoch of what is read from now on.
pub(in super::super) type Sought = Result<u64, SeekError>;

/// Why a partition is not read from where it was said.
#[derive(Debug)]
pub(in super::super) enum SeekError {
    /// It is not the owner's.
    NotAssigned,
    /// Others are given back first.
    Later,
    /// The client refuses.
    Client(KafkaError),
}

impl Poller {
    /// Does what is to be done, in its order.
    pub(super) fn act(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            match effect {
                Effect::LookUp { partitions, epoch, is_retry } => {
                    let pause = if is_retry { LOOKUP_PAUSE } else { Duration::ZERO };
                    self.look_up(partitions, epoch, pause);
                }
                Effect::Announce(assignments) => self.tell(Change::Assigned(assignments)),
                Effect::TellRevoked(partitions) => {
                    let partitions: Vec<Partition> = partitions.into_iter().map(number).collect();
                    self.tell(Change::Revoked(partitions));
                }
                Effect::Pause(partitions) => {
                    let list = self.list(&partitions);
                    self.log_failure(self.consumer.pause(&list), "pausing partitions");
                }
                Effect::Resume(partitions) => {
                    let list = self.list(&partitions);
                    self.log_failure(self.consumer.resume(&list), "resuming partitions");
                }
                Effect::GiveBack { partitions, overdue, took } => {
                    if !overdue.is_empty() {
                        tracing::warn!(
                            partitions = ?overdue,
                            "revoked partitions were not given back in time; what was done of them and \
                             not committed is read again"
                        );
                    }
                    give_back(&self.consumer, &self.list(&partitions));
                    self.record(RebalancePhase::Revoke, Some(took));
                }
            }
        }
    }

    pub(super) fn found(
        &mut self,
        partitions: &[i32],
        epoch: u64,
        result: KafkaResult<Vec<Assignment>>,
    ) {
        let action = "looking up committed offsets of new partitions";
        let found = result.inspect_err(|error| self.consumer.context().log_error(error, action)).ok();
        self.progress.remembered.found(found.as_deref().unwrap_or_default());
        let effects = self.progress.partitions.found(partitions, epoch, found);
        self.act(effects);
    }

    /// Asks the brokers on a thread of its own: they may not answer for a while.
    fn look_up(&self, partitions: Vec<i32>, epoch: u64, pause: Duration) {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        let (commands, signal) = (self.own_commands.clone(), Arc::clone(&self.signal));
        std::thread::spawn(move || {
            std::thread::sleep(pause);
            let result = lookup::assignments(&consumer, &topic, &partitions);
            drop(consumer);
            // The member may have left meanwhile.
            let _ = commands.send(Command::Found { partitions, epoch, result });
            signal.raise();
        });
    }

    pub(super) fn seek(&mut self, partition: i32, offset: Offset) -> Sought {
        let placement = self.progress.partitions.sought(partition).map_err(|refused| match refused {
            Refused::NotAssigned => SeekError::NotAssigned,
            Refused::WhileRevoking => SeekError::Later,
        })?;
        if let Err(error) = self.place(partition, offset, placement) {
            self.progress.partitions.not_placed(partition);
            return Err(SeekError::Client(error));
        }
        self.progress.liveness.begin(partition, offset, Instant::now());
        Ok(placement.epoch)
    }

    /// Has the client read a partition from `offset` on and nowhere else: it gets it anew, as a client
    /// that has given up on a partition could not seek it. Its flag of a paused partition outlives that.
    fn place(&self, partition: i32, offset: Offset, placement: Placement) -> KafkaResult<()> {
        let list = self.list(&[partition]);
        let before = held(&self.consumer, &list)?;
        if before.count() > 0 {
            self.consumer.incremental_unassign(&before)?;
        }
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(&self.topic, partition, raw_offset(offset))?;
        self.consumer.incremental_assign(&at)?;
        if placement.is_paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
    }

    fn log_failure(&self, result: KafkaResult<()>, action: &str) {
        if let Err(error) = result {
            self.consumer.context().log_error(&error, action);
        }
    }

    fn list(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        list
    }
}
