//! The thread that polls: it never waits for the lane, so that the group hears of this member
//! whatever the lane is busy with.
//!
//! A record leaves here only for a partition that was sought, tagged with the epoch of that seek. The
//! owner drops records of another epoch, so nothing read before a seek or an assignment can surface
//! after it.

mod arrival;
mod liveness;
mod replacement;
mod revocation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, QueueError, Received};

use super::blueprint::{Blueprint, Current};
use super::flow::Flow;
use super::lookup::{self, number};
use super::membership::{Event, GroupClient, held};
use super::signal::Signal;
use crate::queue::kafka::client::{Asking, log_error};
use crate::queue::kafka::record::received;
use crate::queue::kafka::seats::Joined;
use crate::telemetry::RebalancePhase;
use arrival::Arrival;
use liveness::{End, Liveness};
use revocation::Revocation;

/// How long the thread sleeps at most: events that raise no signal are served this late.
const NAP: Duration = Duration::from_millis(50);
/// How long a poll waits before there is nothing.
const MOMENT: Duration = Duration::from_millis(1);
/// Records polled before commands are looked at again.
const POLL_RECORDS: usize = 500;
/// A lane that takes nothing for this long has its partitions paused. Before that reading just stops,
/// because pausing throws away what was fetched.
const STALL: Duration = Duration::from_secs(1);
const LOOKUP_PAUSE: Duration = Duration::from_millis(500);

/// A record with the epoch it was read in.
pub(super) struct Tagged {
    pub(super) epoch: u64,
    pub(super) bytes: usize,
    pub(super) received: Received,
}

/// What the owner is told beside records.
pub(super) enum Change {
    Assigned(Vec<Assignment>),
    Revoked(Vec<Partition>),
    Failed(QueueError),
}

/// What the owner asks for.
pub(super) enum Command {
    /// Read from an offset on; answered with the epoch of what is read from now on.
    Seek { partition: i32, offset: Offset, is_behind: bool, done: oneshot::Sender<KafkaResult<u64>> },
    /// Commit what of this is still the member's.
    Commit { offsets: Vec<(i32, Offset)>, done: oneshot::Sender<KafkaResult<()>> },
    /// Give back what is to be given back of these.
    Release { partitions: Vec<i32> },
    /// Brokers have told what they know of new partitions.
    Found { partitions: Vec<i32>, epoch: u64, result: KafkaResult<Vec<Assignment>> },
    /// Brokers were asked for the ends of partitions that bring nothing.
    Ends(Vec<End>),
}

/// A partition the member has.
struct Owned {
    /// Of its assignment, or of the last seek.
    epoch: u64,
    state: State,
}

enum State {
    /// The brokers are asked what they know of it.
    LookingUp,
    /// Its owner knows of it and has not said from where to read.
    Announced,
    /// It is read.
    Reading,
    /// Its owner may commit what is done of it and give it back.
    Revoked,
}

pub(super) struct Poller {
    pub(super) consumer: Arc<GroupClient>,
    /// The same client, for the owner.
    pub(super) current: Arc<Current>,
    pub(super) blueprint: Blueprint,
    pub(super) witness: Arc<BaseConsumer<Asking>>,
    pub(super) topic: String,
    pub(super) commands: Receiver<Command>,
    pub(super) own_commands: std::sync::mpsc::Sender<Command>,
    pub(super) changes: mpsc::UnboundedSender<Change>,
    pub(super) records: mpsc::UnboundedSender<Tagged>,
    pub(super) signal: Arc<Signal>,
    pub(super) flow: Arc<Flow>,
    pub(super) release_timeout: Duration,
    pub(super) progress: Progress,
    pub(super) joined: Joined,
}

/// Where the thread stands.
pub(super) struct Progress {
    liveness: Liveness,
    arrival: Arrival,
    /// The owner was told that this member is at its end.
    has_failed: bool,
    owned: BTreeMap<i32, Owned>,
    epoch: u64,
    revocation: Option<Revocation>,
    is_committing: Arc<AtomicBool>,
    full_since: Option<Instant>,
    is_paused: bool,
}

impl Progress {
    pub(super) fn new(stall_timeout: Duration) -> Self {
        Self {
            liveness: Liveness::new(stall_timeout),
            arrival: Arrival::default(),
            has_failed: false,
            owned: BTreeMap::new(),
            epoch: 0,
            revocation: None,
            is_committing: Arc::default(),
            full_since: None,
            is_paused: false,
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
            self.give_back_overdue();
            if self.may_read() {
                self.drain();
            }
            self.watch();
            self.signal.wait(NAP);
        }
        self.leave();
    }

    fn leave(mut self) {
        self.consumer.context().role.leave();
        self.give_back();
        if !self.blueprint.is_static() {
            self.consumer.unsubscribe();
        }
        // Dropping the last handle to the client closes it.
    }

    fn serve(&mut self, command: Command) {
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
            Command::Release { partitions } => self.release(&partitions),
            Command::Found { partitions, epoch, result } => self.found(partitions, epoch, result),
            Command::Ends(ends) => self.compare(&ends),
        }
    }

    fn seek(&mut self, partition: i32, offset: Offset) -> KafkaResult<u64> {
        let state = self.progress.owned.get(&partition).map(|owned| &owned.state);
        if !matches!(state, Some(State::Announced | State::Reading)) {
            return Err(KafkaError::Seek("the partition is not this member's".to_owned()));
        }
        self.place(partition, offset)?;
        self.progress.epoch += 1;
        let epoch = self.progress.epoch;
        self.progress.owned.insert(partition, Owned { epoch, state: State::Reading });
        self.progress.liveness.begin(partition, offset, Instant::now());
        if self.progress.is_paused {
            self.consumer.pause(&self.list([partition]))?;
        }
        Ok(epoch)
    }

    /// Has the client read a partition from `offset` on and nowhere else: it gets it anew, as a client
    /// that has given up on a partition could not seek it.
    fn place(&self, partition: i32, offset: Offset) -> KafkaResult<()> {
        let before = held(&self.consumer, &self.list([partition]))?;
        if before.count() > 0 {
            self.consumer.incremental_unassign(&before)?;
        }
        let offset = KafkaOffset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(&self.topic, partition, offset)?;
        self.consumer.incremental_assign(&at)
    }

    fn commit(&self, offsets: &[(i32, Offset)], done: oneshot::Sender<KafkaResult<()>>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let offset = KafkaOffset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
            if self.progress.owned.contains_key(partition)
                && let Err(error) = list.add_partition_offset(&self.topic, *partition, offset)
            {
                let _ = done.send(Err(error));
                return;
            }
        }
        if list.count() == 0 {
            let _ = done.send(Ok(()));
            return;
        }
        if self.progress.is_committing.swap(true, Ordering::AcqRel) {
            let _ = done.send(Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::InProgress)));
            return;
        }
        // The client tells the end of a commit only to a thread that waits for it, which takes long
        // while the coordinator is away.
        let consumer = Arc::clone(&self.consumer);
        let is_committing = Arc::clone(&self.progress.is_committing);
        std::thread::spawn(move || {
            let result = consumer.commit(&list, CommitMode::Sync);
            drop(consumer);
            is_committing.store(false, Ordering::Release);
            // Nobody waits when it took too long.
            let _ = done.send(result);
        });
    }

    fn found(&mut self, partitions: Vec<i32>, epoch: u64, result: KafkaResult<Vec<Assignment>>) {
        let owned = &mut self.progress.owned;
        let is_current = |p: &i32| owned.get(p).is_some_and(|owned| owned.epoch == epoch);
        let current: Vec<i32> = partitions.into_iter().filter(is_current).collect();
        match result {
            Ok(mut assignments) => {
                assignments.retain(|found| current.iter().any(|p| number(*p) == found.partition));
                for partition in &current {
                    owned.insert(*partition, Owned { epoch, state: State::Announced });
                }
                if !assignments.is_empty() {
                    self.tell(Change::Assigned(assignments));
                }
            }
            Err(error) => {
                log_error(&error, "looking up committed offsets of new partitions");
                if !current.is_empty() {
                    self.look_up(current, epoch, LOOKUP_PAUSE);
                }
            }
        }
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

    /// Reading stops while the owner has not taken what is there, and is paused when that lasts.
    fn may_read(&mut self) -> bool {
        let now = Instant::now();
        if self.progress.is_paused {
            if self.flow.is_half_empty() {
                self.set_paused(false);
            }
            return true;
        }
        if !self.flow.is_full() {
            self.progress.full_since = None;
            return true;
        }
        let since = *self.progress.full_since.get_or_insert(now);
        if now.duration_since(since) >= STALL {
            self.set_paused(true);
            return true;
        }
        false
    }

    fn set_paused(&mut self, is_paused: bool) {
        let read = self.progress.owned.iter().filter(|(_, o)| matches!(o.state, State::Reading));
        let list = self.list(read.map(|(partition, _)| *partition));
        let result = if is_paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        match result {
            Ok(()) => self.progress.is_paused = is_paused,
            Err(error) => log_error(&error, "pausing or resuming partitions"),
        }
        self.progress.full_since = None;
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
            if nothing >= 2 || (self.flow.is_full() && !self.progress.is_paused) {
                return;
            }
        }
        self.signal.raise();
    }

    fn pass_on(&mut self, partition: i32, received: Received) {
        let Some(Owned { epoch, state: State::Reading }) = self.progress.owned.get(&partition) else {
            return;
        };
        self.progress.liveness.moved(partition, received.offset);
        if self.progress.arrival.is_awaited() {
            let arrived = self.progress.arrival.record(partition, Instant::now());
            self.record(RebalancePhase::Assign, arrived);
        }
        let bytes = received.record.key.len() + received.record.value.len();
        self.flow.add(bytes);
        // An error means that the owner is gone, which ends this thread.
        let _ = self.records.send(Tagged { epoch: *epoch, bytes, received });
    }

    fn record(&self, phase: RebalancePhase, took: Option<Duration>) {
        if let Some(took) = took {
            self.consumer.context().metrics.rebalanced(phase, took);
        }
    }

    fn serve_events(&mut self) {
        for event in self.consumer.context().role.take_events() {
            match event {
                Event::Assigned(partitions) => {
                    self.joined.set(true);
                    self.progress.epoch += 1;
                    let epoch = self.progress.epoch;
                    for partition in &partitions {
                        let owned = Owned { epoch, state: State::LookingUp };
                        self.progress.owned.insert(*partition, owned);
                    }
                    self.progress.arrival.begin(&partitions, Instant::now());
                    if !partitions.is_empty() {
                        self.look_up(partitions, epoch, Duration::ZERO);
                    }
                }
                Event::Revoked(partitions) => self.revoked(partitions),
                Event::Lost(partitions) => {
                    self.joined.set(false);
                    let announced = self.announced(&partitions);
                    self.disown(&partitions);
                    self.tell_revoked(&announced);
                }
            }
        }
    }

    fn disown(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.progress.owned.remove(partition);
            self.progress.liveness.end(*partition);
            self.progress.arrival.gone(*partition);
        }
    }

    fn list(&self, partitions: impl IntoIterator<Item = i32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        list
    }

    fn tell(&self, change: Change) {
        // An error means that the owner is gone, which ends this thread.
        let _ = self.changes.send(change);
    }
}
