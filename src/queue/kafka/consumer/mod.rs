//! A member of a consumer group: the side the lane sees.
//!
//! What the polling thread has read waits here per partition, so that each has its turn. The state
//! changes only between two awaits: a dropped poll loses nothing.

mod blueprint;
mod flow;
pub(super) mod lookup;
mod membership;
mod poller;
mod reading;
mod signal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::account::{Offset, Partition};
use crate::queue::{Consumer, PollLimits, Polled, QueueError, Start};

use super::blocking;
use super::client::{Asking, Observing};
use super::error::{broken, lacks_coordinator, queue_error, unavailable};
use super::pinned::Pinned;
use super::record::raw;
use super::seats::Seat;
use blueprint::{Blueprint, Current};
use flow::Flow;
use poller::{Change, Command, CommitError, Poller, Progress, SeekError, Told};
use reading::Reading;
use signal::{RaiseOnDrop, Signal};

/// How long a commit is tried while the group is in motion.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(3);
const COMMIT_PAUSE: Duration = Duration::from_millis(20);

/// What a consumer is made of.
pub(super) struct Joining {
    pub(super) config: ClientConfig,
    pub(super) topic: String,
    /// What must not change while it is read.
    pub(super) pinned: Option<Arc<Pinned>>,
    /// What must not change of all that the process uses.
    pub(super) all_pinned: Vec<Arc<Pinned>>,
    /// Names the member in metrics and logs.
    pub(super) name: String,
    pub(super) observing: Observing,
    /// A client of its own, asked whether the brokers have what this consumer does not bring.
    pub(super) witness: Arc<BaseConsumer<Asking>>,
    pub(super) session_timeout: Duration,
    pub(super) stall_timeout: Duration,
}

/// A member of a consumer group on Kafka. Dropping it leaves the group, unless it is a static member.
pub struct KafkaConsumer {
    topic: String,
    // Dropped before `changes`, which ends the polling thread: closing the client blocks, so the last
    // handle must be that thread's.
    client: Arc<Current>,
    _seat: Seat,
    asked: Asked,
    changes: mpsc::UnboundedReceiver<Change>,
    records: mpsc::UnboundedReceiver<Told>,
    flow: Arc<Flow>,
    reading: Reading,
    /// The epochs of the last seeks, until their partitions are released.
    sought: BTreeMap<Partition, u64>,
    /// Received and not told yet.
    change: Option<Change>,
    _wake: RaiseOnDrop,
}

impl KafkaConsumer {
    /// Joins the group in the background. Revoked partitions are waited for a third of the session
    /// timeout.
    pub(super) fn join(joining: Joining, seat: Seat) -> KafkaResult<Self> {
        let Joining {
            config,
            topic,
            pinned,
            all_pinned,
            name,
            observing,
            witness,
            session_timeout,
            stall_timeout,
        } = joining;
        let signal = Arc::new(Signal::default());
        let blueprint =
            Blueprint { config, topic: topic.clone(), name, observing, signal: Arc::clone(&signal) };
        let client = Arc::new(Current::new(blueprint.build()?));
        let (commands, received_commands) = std::sync::mpsc::channel();
        let (told, changes) = mpsc::unbounded_channel();
        let (read, records) = mpsc::unbounded_channel();
        let flow = Arc::new(Flow::default());
        let poller = Poller {
            consumer: client.get(),
            current: Arc::clone(&client),
            blueprint,
            witness,
            topic: topic.clone(),
            pinned,
            all_pinned,
            commands: received_commands,
            own_commands: commands.clone(),
            changes: told,
            records: read,
            signal: Arc::clone(&signal),
            flow: Arc::clone(&flow),
            progress: Progress::new(session_timeout / 3, stall_timeout),
            joined: seat.joined(),
        };
        std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || poller.run())
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self {
            topic,
            client,
            _seat: seat,
            _wake: RaiseOnDrop(Arc::clone(&signal)),
            asked: Asked { commands, signal },
            changes,
            records,
            flow,
            reading: Reading::default(),
            sought: BTreeMap::new(),
            change: None,
        })
    }

    /// What is to be told of the assignment.
    fn told(&mut self) -> Option<Result<Polled, QueueError>> {
        let change = self.change.take().or_else(|| self.changes.try_recv().ok())?;
        Some(match change {
            Change::Assigned(assignments) => Ok(Polled::Assigned(assignments)),
            Change::Revoked(partitions) => {
                for partition in &partitions {
                    self.reading.forget(*partition, &self.flow);
                }
                Ok(Polled::Revoked(partitions))
            }
            Change::Failed(error) => Err(error),
        })
    }

    fn take_in(&mut self) {
        while let Ok(told) = self.records.try_recv() {
            self.admit(told);
        }
    }

    fn admit(&mut self, told: Told) {
        match told {
            Told::Record(tagged) => self.reading.admit(tagged, &self.flow),
            Told::Passed { partition, epoch, next } => self.reading.pass(partition, epoch, next),
        }
    }

    fn serve(&mut self, limits: PollLimits) -> Option<Polled> {
        if limits.max_records == 0 {
            return None;
        }
        self.take_in();
        if self.reading.awaited_until().is_some() {
            return None;
        }
        let was_full = self.flow.is_full();
        let records = self.reading.serve(limits, &self.flow);
        if was_full && !self.flow.is_full() {
            self.asked.signal.raise();
        }
        (!records.is_empty()).then_some(Polled::Records(records))
    }
}

impl Consumer for KafkaConsumer {
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, QueueError> {
        let deadline = Instant::now() + limits.max_wait;
        loop {
            if let Some(told) = self.told() {
                return told;
            }
            if let Some(records) = self.serve(limits) {
                return Ok(records);
            }
            let wake_at = self.reading.awaited_until().map_or(deadline, |until| until.min(deadline));
            tokio::select! {
                biased;
                change = self.changes.recv() => match change {
                    Some(change) => self.change = Some(change),
                    None => return Err(broken("polling", "the consumer has ended")),
                },
                told = self.records.recv(), if limits.max_records > 0 => {
                    if let Some(told) = told {
                        self.admit(told);
                    }
                }
                () = tokio::time::sleep_until(wake_at) => {
                    if wake_at == deadline {
                        return Ok(Polled::Idle);
                    }
                }
            }
        }
    }

    async fn seek(&mut self, partition: Partition, start: Start) -> Result<Offset, QueueError> {
        let action = "seeking";
        let (client, topic) = (self.client.get(), self.topic.clone());
        let (found, end) = blocking(action, move || {
            lookup::find(&client, &topic, raw(partition), start)
                .map_err(|cause| queue_error(action, cause))
        })
        .await?;
        let (done, sought) = oneshot::channel();
        let is_behind = found < end;
        self.asked
            .ask(action, Command::Seek { partition: raw(partition), offset: found, is_behind, done })?;
        let epoch = sought.await.map_err(|_| broken(action, "the consumer has ended"))?;
        let epoch = epoch.map_err(|refused| match refused {
            SeekError::NotAssigned => QueueError::NotAssigned { partition },
            SeekError::Later => unavailable(action, "other partitions are given back first"),
            SeekError::Client(cause) => queue_error(action, cause),
        })?;
        self.sought.insert(partition, epoch);
        self.reading.begin(partition, epoch, found, end, &self.flow);
        Ok(found)
    }

    async fn end_offset(&mut self, partition: Partition) -> Result<Offset, QueueError> {
        let action = "asking for the end of a partition";
        let (client, topic) = (self.client.get(), self.topic.clone());
        blocking(action, move || {
            lookup::end(&client, &topic, raw(partition)).map_err(|cause| queue_error(action, cause))
        })
        .await
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        self.reading.position(partition)
    }

    fn commit(
        &self,
        offsets: Vec<(Partition, Offset)>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static {
        let sought = |(partition, offset): &(Partition, Offset)| {
            self.sought.get(partition).map(|epoch| (raw(*partition), *epoch, *offset))
        };
        let offsets = offsets.iter().filter_map(sought).collect();
        let asked = self.asked.clone();
        // Not a handle: closing the client blocks, so the last one must be the polling thread's.
        let client = Arc::downgrade(&self.client);
        async move {
            let result = asked.commit(offsets).await;
            if result.is_err()
                && let Some(client) = client.upgrade()
            {
                client.get().context().metrics.commit_failed();
            }
            result
        }
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), QueueError> {
        for partition in partitions {
            self.reading.forget(*partition, &self.flow);
            self.sought.remove(partition);
        }
        let partitions = partitions.iter().map(|partition| raw(*partition)).collect();
        self.asked.ask("giving partitions back", Command::Release { partitions })
    }

    fn backlog_records(&self) -> u64 {
        let client = self.client.get();
        self.reading.backlog(|partition| client.context().role.known_end(raw(partition)))
    }
}

/// The polling thread, as whoever asks it for something knows it.
#[derive(Clone)]
struct Asked {
    commands: std::sync::mpsc::Sender<Command>,
    signal: Arc<Signal>,
}

impl Asked {
    fn ask(&self, action: &'static str, command: Command) -> Result<(), QueueError> {
        let asked = self.commands.send(command);
        self.signal.raise();
        asked.map_err(|_| broken(action, "the consumer has ended"))
    }

    /// Commits, as often as the group is in motion, for a bounded time.
    async fn commit(&self, offsets: Vec<(i32, u64, Offset)>) -> Result<(), QueueError> {
        let action = "committing offsets";
        let tried = async {
            loop {
                let (done, committed) = oneshot::channel();
                self.ask(action, Command::Commit { offsets: offsets.clone(), done })?;
                match committed.await.map_err(|_| broken(action, "the consumer has ended"))? {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(CommitError::Forgotten(forgotten))) => {
                        return Err(broken(action, forgotten));
                    }
                    Some(Err(CommitError::Client(error))) if !is_in_motion(&error) => {
                        return Err(queue_error(action, error));
                    }
                    Some(Err(CommitError::Client(_))) | None => tokio::time::sleep(COMMIT_PAUSE).await,
                }
            }
        };
        match tokio::time::timeout(COMMIT_TIMEOUT, tried).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(action, "the group's coordinator did not take them in time")),
        }
    }
}

/// Whether a commit failed because partitions are moving: what this member has lost is left out of the
/// next try, and the rest is taken once the group has settled.
fn is_in_motion(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    lacks_coordinator(error)
        || matches!(
            error.rdkafka_error_code(),
            Some(
                Code::RebalanceInProgress
                    | Code::IllegalGeneration
                    | Code::UnknownMemberId
                    | Code::State
            )
        )
}
