//! The thread that polls: it never waits for the lane, so that the group hears of this member
//! whatever the lane is busy with.
//!
//! A record leaves here only for a partition that was sought, tagged with the epoch of that seek. The
//! owner drops records of another epoch, so nothing read before a seek or an assignment can surface
//! after it.

mod acting;
mod arrival;
mod commits;
mod liveness;
mod partitions;
mod passing;
mod replacement;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use tokio::sync::{mpsc, oneshot};

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, QueueError, Received};

use super::blueprint::{Blueprint, Current};
use super::flow::Flow;
use super::membership::{Event, GroupClient};
use super::signal::Signal;
use crate::queue::kafka::client::Asking;
use crate::queue::kafka::pinned::Pinned;
use crate::queue::kafka::record::received;
use crate::queue::kafka::seats::Joined;
use crate::telemetry::RebalancePhase;
use arrival::Arrival;
use commits::Remembered;
use liveness::{End, Liveness};
use partitions::Partitions;
use passing::Passing;
use replacement::ACTION;

pub(super) use acting::{SeekError, Sought};
pub(super) use commits::{CommitError, Committed};

/// How long the thread sleeps at most: events that raise no signal are served this late.
const NAP: Duration = Duration::from_millis(50);
/// How long a poll waits before there is nothing.
const MOMENT: Duration = Duration::from_millis(1);
/// Records polled before commands are looked at again.
const POLL_RECORDS: usize = 500;

/// A record with the epoch it was read in.
pub(super) struct Tagged {
    pub(super) epoch: u64,
    pub(super) bytes: usize,
    pub(super) received: Received,
}

/// What the owner is told of what is read.
pub(super) enum Told {
    /// A record.
    Record(Tagged),
    /// Between the last record and this offset there is none.
    Passed { partition: Partition, epoch: u64, next: Offset },
}

/// What the owner is told beside that.
pub(super) enum Change {
    Assigned(Vec<Assignment>),
    Revoked(Vec<Partition>),
    Failed(QueueError),
}

/// What the owner asks for.
pub(super) enum Command {
    /// Read from an offset on; answered with the epoch of what is read from now on.
    Seek { partition: i32, offset: Offset, is_behind: bool, done: oneshot::Sender<Sought> },
    /// Commit what of this is still the owner's, each with the epoch of the seek that led there.
    Commit { offsets: Vec<(i32, u64, Offset)>, done: oneshot::Sender<Committed> },
    /// A commit has come to its end, and these partitions are committed.
    Committed { number: u64, partitions: Vec<i32> },
    /// Give back what is to be given back of these.
    Release { partitions: Vec<i32> },
    /// Brokers have told what they know of new partitions.
    Found { partitions: Vec<i32>, epoch: u64, result: KafkaResult<Vec<Assignment>> },
    /// A partition was looked into: up to where it has no record, if that is known.
    Passed { partition: i32, epoch: u64, from: Offset, until: Option<Offset> },
    /// Brokers were asked for the ends of partitions that bring nothing.
    Ends(Vec<End>),
}

pub(super) struct Poller {
    pub(super) consumer: Arc<GroupClient>,
    /// The same client, for the owner.
    pub(super) current: Arc<Current>,
    pub(super) blueprint: Blueprint,
    pub(super) witness: Arc<BaseConsumer<Asking>>,
    pub(super) topic: String,
    pub(super) pinned: Option<Arc<Pinned>>,
    pub(super) all_pinned: Vec<Arc<Pinned>>,
    pub(super) commands: Receiver<Command>,
    pub(super) own_commands: std::sync::mpsc::Sender<Command>,
    pub(super) changes: mpsc::UnboundedSender<Change>,
    pub(super) records: mpsc::UnboundedSender<Told>,
    pub(super) signal: Arc<Signal>,
    pub(super) flow: Arc<Flow>,
    pub(super) progress: Progress,
    pub(super) joined: Joined,
}

/// Where the thread stands.
pub(super) struct Progress {
    partitions: Partitions,
    liveness: Liveness,
    arrival: Arrival,
    passing: Passing,
    remembered: Remembered,
    /// The owner was told that this member is at its end.
    has_failed: bool,
    /// It was said in the log that records are on other partitions than their keys'.
    has_told_misplaced: bool,
}

impl Progress {
    /// Nothing is the member's yet. The group waits `release_timeout` for what the owner is to give back.
    pub(super) fn new(release_timeout: Duration, stall_timeout: Duration) -> Self {
        Self {
            partitions: Partitions::new(release_timeout),
            liveness: Liveness::new(stall_timeout),
            arrival: Arrival::default(),
            passing: Passing::default(),
            remembered: Remembered::default(),
            has_failed: false,
            has_told_misplaced: false,
        }
    }
}

impl Poller {
    /// Polls until the owner is gone, then leaves the group.
    pub(super) fn run(mut self) {
        while !self.changes.is_closed() {
            while let Ok(command) = self.commands.try_recv() {
                self.serve(command);
            }
            let due = self.progress.partitions.give_back_when_due(Instant::now());
            self.act(due);
            if self.may_read() {
                self.drain();
            }
            self.check_partition_count();
            self.watch();
            self.signal.wait(NAP);
        }
        self.leave();
    }

    fn leave(mut self) {
        self.consumer.context().role.leave();
        let due = self.progress.partitions.give_back_now();
        self.act(due);
        if !self.blueprint.is_static() {
            self.consumer.unsubscribe();
        }
        // Dropping the last handle to the client closes it.
    }

    fn serve(&mut self, command: Command) {
        let partitions = &mut self.progress.partitions;
        match command {
            Command::Seek { partition, offset, is_behind, done } => {
                let sought = self.seek(partition, offset);
                if sought.is_ok() && !is_behind {
                    let arrived = self.progress.arrival.nothing(partition, Instant::now());
                    self.record(RebalancePhase::Assign, arrived);
                }
                // Nobody waits for it any more when its owner was dropped.
                let _ = done.send(sought);
            }
            Command::Commit { offsets, done } => self.commit(&offsets, done),
            Command::Committed { number, partitions: committed } => {
                self.progress.remembered.committed(&committed);
                let effects = partitions.committed(number, Instant::now());
                self.act(effects);
            }
            Command::Release { partitions: released } => {
                let effects = partitions.released(&released, Instant::now());
                self.act(effects);
            }
            Command::Found { partitions, epoch, result } => self.found(&partitions, epoch, result),
            Command::Passed { partition, epoch, from, until } => {
                self.passed(partition, epoch, from, until);
            }
            Command::Ends(ends) => self.compare(&ends),
        }
    }

    /// Reading stops while the owner has not taken what is there, and is paused when that lasts.
    fn may_read(&mut self) -> bool {
        let (may_read, effect) = self.progress.partitions.may_read(self.flow.fill(), Instant::now());
        self.act(effect);
        may_read
    }

    /// The owner cannot go on where a topic that its process uses has another partition count by now.
    fn check_partition_count(&mut self) {
        if self.progress.has_failed {
            return;
        }
        if let Err(error) = self.all_pinned.iter().try_for_each(|pinned| pinned.check_if_used(ACTION)) {
            self.fail(error);
        }
    }

    fn drain(&mut self) {
        let mut nothing = 0;
        for _ in 0..POLL_RECORDS {
            // The client also says that there is nothing after an event that was not a record; with a
            // moment to wait it serves all such events, log lines for example, in one call.
            let moment = if nothing == 0 { Duration::ZERO } else { MOMENT };
            match self.consumer.poll(moment) {
                None => nothing += 1,
                Some(Ok(message)) => {
                    nothing = 0;
                    if let Some(received) = received(&message) {
                        self.pass_on(message.partition(), received);
                    }
                }
                Some(Err(error)) => self.failed(error),
            }
            self.serve_events();
            if nothing >= 2 || (self.flow.is_full() && !self.progress.partitions.is_paused()) {
                return;
            }
        }
        self.signal.raise();
    }

    fn pass_on(&mut self, partition: i32, received: Received) {
        let Some(epoch) = self.progress.partitions.epoch_of(partition) else { return };
        self.note_misplaced(&received);
        self.progress.liveness.moved(partition, received.offset);
        if self.progress.arrival.is_awaited() {
            let arrived = self.progress.arrival.record(partition, Instant::now());
            self.record(RebalancePhase::Assign, arrived);
        }
        let bytes = received.record.key.len() + received.record.value.len();
        self.flow.add(bytes);
        // An error means that the owner is gone, which ends this thread.
        let _ = self.records.send(Told::Record(Tagged { epoch, bytes, received }));
    }

    /// Whoever places keys otherwise puts the records of an account on two partitions, out of order.
    fn note_misplaced(&mut self, received: &Received) {
        let Some(pinned) = &self.pinned else { return };
        if pinned.partition_of(&received.record.key) == received.partition {
            return;
        }
        self.consumer.context().metrics.misplaced();
        if !std::mem::replace(&mut self.progress.has_told_misplaced, true) {
            tracing::warn!(
                topic = self.topic,
                partition = received.partition.0,
                offset = received.offset.0,
                "a record is not on the partition its key belongs to, and may be out of order with others of \
                 its account: its producer must choose partitions by murmur2 of the key, as Kafka's own \
                 clients do (partitioner=murmur2 in clients on librdkafka), unless the topic had another \
                 partition count when it was written. Told once; the metric \
                 penstock_kafka_consumer_misplaced counts them"
            );
        }
    }

    fn record(&self, phase: RebalancePhase, took: Option<Duration>) {
        if let Some(took) = took {
            self.consumer.context().metrics.rebalanced(phase, took);
        }
    }

    fn serve_events(&mut self) {
        for event in self.consumer.context().role.take_events() {
            let now = Instant::now();
            let effects = match event {
                Event::Assigned(assigned) => {
                    self.joined.set(true);
                    let given = self.pinned.as_ref().map(|pinned| pinned.check_given(ACTION, &assigned));
                    if let Some(Err(error)) = given {
                        self.fail(error);
                        continue;
                    }
                    self.progress.arrival.begin(&assigned, now);
                    self.progress.partitions.assigned(assigned)
                }
                Event::Revoked(revoked) => self.progress.partitions.revoked(&revoked, now),
                Event::Lost(lost) => {
                    self.joined.set(false);
                    self.progress.partitions.lost(&lost)
                }
            };
            self.progress.arrival.keep(|partition| self.progress.partitions.keeps(partition));
            self.progress.remembered.keep(|partition| self.progress.partitions.keeps(partition));
            self.act(effects);
        }
    }

    fn tell(&self, change: Change) {
        // An error means that the owner is gone, which ends this thread.
        let _ = self.changes.send(change);
    }
}
