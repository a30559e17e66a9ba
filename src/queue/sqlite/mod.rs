//! The embedded queue: one `SQLite` file for every topic, for one process.
//!
//! One task writes; what it has committed is durable before any publisher or consumer learns of it.
//! Consumer groups live in memory, only their committed offsets are stored: whoever reads the file is
//! in this process.

mod consumer;
mod group;
mod headers;
mod log;
mod position;
mod ranges;
mod reader;
mod replies;
pub mod statements;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::account::{Offset, Partition, Timestamp};
use crate::migrations::SQLITE_QUEUE;
use crate::sqlite::{Database, FailureClass, FileKind, OpenError, classify};

use super::partitioner::partition_of;
use super::pending::Pending;
use super::{
    Assignment, Cause, ChannelInbox, Queue, QueueError, ReadRange, Record, Reply, ReplyAddress, Start,
    Topic,
};
use group::MemberId;
use log::Log;
use position::{Slice, place};

use replies::Replies;
use writer::{Append, Commit, Done, Placed, Request, Writer};

pub use consumer::SqliteConsumer;
pub use ranges::SqliteReader;

const KIND: FileKind = FileKind {
    name: "queue",
    application_id: 0x7065_6e71,
    migrations: SQLITE_QUEUE,
    page_bytes: 4096,
    // Appends touch the end of each partition only.
    cache_kib: 8_192,
    checkpoint_pages: 4_000,
};
const READERS: u32 = 4;
/// Requests that wait for the writer, however small they are.
const WAITING_REQUESTS: usize = 4_096;

/// What may be set of the queue.
#[derive(Clone, Debug)]
pub struct SqliteQueueOptions {
    /// Partitions of each topic, 1 to 2048; fixed when the file is created.
    pub partitions: u32,
    /// How many bytes of records may wait to be written before publishing is refused.
    pub max_pending_bytes: usize,
    /// Largest value a record may have, in bytes.
    pub max_record_bytes: usize,
    /// How far the file may grow; none leaves it to the disk.
    pub max_file_bytes: Option<u64>,
}

impl Default for SqliteQueueOptions {
    fn default() -> Self {
        Self {
            partitions: 12,
            max_pending_bytes: 64 * 1024 * 1024,
            max_record_bytes: 1024 * 1024,
            max_file_bytes: None,
        }
    }
}

/// A handle to the embedded queue; cheap to clone. The file is released by [`SqliteQueue::close`], or
/// some time after the last handle, consumer and inbox are dropped.
#[derive(Clone, Debug)]
pub struct SqliteQueue {
    inner: Arc<Inner>,
}

struct Inner {
    partitions: u32,
    max_record_bytes: usize,
    log: Arc<Log>,
    pending: Arc<Pending>,
    readers: SqlitePool,
    writer: mpsc::Sender<Request>,
    replies: Arc<Replies>,
    last_member: AtomicU64,
}

/// Without the records in memory, which are personal data.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

impl SqliteQueue {
    /// Opens the file, or creates it when it is missing or empty. A file that is damaged, or not a
    /// queue's, or was created with another partition count, is refused and left as it is. The caller
    /// sees to it that no other process has it.
    pub async fn open(path: impl AsRef<Path>, options: SqliteQueueOptions) -> Result<Self, OpenError> {
        let partitions = options.partitions;
        if !(1..=position::MAX_PARTITIONS).contains(&partitions) {
            return Err(OpenError::BadSetting { setting: "partitions", allowed: "1 to 2048" });
        }
        let database = Database::open(path.as_ref(), &KIND, options.max_file_bytes).await?;
        pin_partitions(&database, partitions).await?;
        let log = Arc::new(Log::new(partitions));
        let readers = database.readers(READERS);
        let writing = Writer::open(database, readers.clone(), partitions, Arc::clone(&log)).await?;
        let (writer, requests) = mpsc::channel(WAITING_REQUESTS);
        tokio::spawn(writing.run(requests));
        Ok(Self::of(&options, log, readers, writer))
    }

    /// Opens the file beside the process that has it, to read what it holds at this moment: what is appended
    /// later is not seen, and nothing can be published. A file that is missing, not a queue's, or of another
    /// release is refused; nothing is created or changed.
    pub async fn open_beside(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let database = Database::open_beside(path.as_ref(), &KIND).await?;
        let failed = |cause| database.open_error("reading where its partitions end", cause);
        let readers = database.readers(READERS);
        let mut connection = readers.acquire().await.map_err(failed)?;
        let partitions = stored_partitions(&mut connection).await.map_err(failed)?;
        let partitions = partitions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let (ends, _) = reader::ends(&mut connection, partitions).await.map_err(failed)?;
        drop(connection);
        let log = Arc::new(Log::new(partitions));
        log.enter_ends(partitions, &ends);
        // Nobody is at the other end: who asks for a write is told that the queue is closed.
        let (writer, _) = mpsc::channel(1);
        let options = SqliteQueueOptions { partitions, ..SqliteQueueOptions::default() };
        Ok(Self::of(&options, log, readers, writer))
    }

    fn of(
        options: &SqliteQueueOptions,
        log: Arc<Log>,
        readers: SqlitePool,
        writer: mpsc::Sender<Request>,
    ) -> Self {
        let inner = Inner {
            partitions: options.partitions,
            max_record_bytes: options.max_record_bytes,
            log,
            pending: Arc::new(Pending::new(options.max_pending_bytes)),
            readers,
            writer,
            replies: Arc::default(),
            last_member: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Finishes what was asked for and closes the file. Every handle is of no use afterwards.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inner.writer.send(Request::Close(done)).await.is_ok() {
            // An error means that somebody else has closed it.
            let _ = closed.await;
        }
    }

    /// What is known of partitions, for a group.
    async fn describe(
        &self,
        topic: Topic,
        group: &str,
        partitions: &[Partition],
    ) -> Result<Vec<Assignment>, QueueError> {
        let failed = |cause| queue_error("reading committed offsets", Arc::new(cause));
        let readers = &self.inner.readers;
        // Before the file is read: what is appended meanwhile must not count as passed.
        let ends: Vec<_> = partitions.iter().map(|partition| self.end(topic, *partition)).collect();
        let committed = reader::committed(readers, group, topic).await.map_err(failed)?;
        let committed: BTreeMap<_, _> = committed.into_iter().collect();
        let slices: Vec<_> =
            partitions.iter().map(|partition| Slice { topic, partition: *partition }).collect();
        let firsts = reader::first_of(readers, &slices).await.map_err(failed)?;
        let earliest: BTreeMap<_, _> = firsts.iter().map(|mark| place(mark.position)).collect();
        let assignment = |(partition, end): (&Partition, Offset)| Assignment {
            partition: *partition,
            committed: committed.get(partition).copied(),
            earliest: earliest.get(partition).copied().unwrap_or(end),
            end,
        };
        Ok(partitions.iter().zip(ends).map(assignment).collect())
    }

    fn end(&self, topic: Topic, partition: Partition) -> Offset {
        self.inner.log.with(topic, |state| state.ends[partition.0 as usize])
    }

    /// Where `start` is: an offset that the file holds, or the end.
    async fn place_of(&self, slice: Slice, start: Start) -> Result<Offset, sqlx::Error> {
        match start {
            Start::Offset(offset) => {
                let earliest = self.earliest(slice).await?;
                Ok(offset.max(earliest).min(self.end(slice.topic, slice.partition)))
            }
            Start::Time(time) => self.find_time(slice, time).await,
        }
    }

    /// The first offset the file holds; the end when it holds none.
    async fn earliest(&self, slice: Slice) -> Result<Offset, sqlx::Error> {
        let end = self.end(slice.topic, slice.partition);
        let first = reader::first_of(&self.inner.readers, &[slice]).await?;
        Ok(first.first().map_or(end, |mark| place(mark.position).1))
    }

    /// The first record at or after `time`, by bisection: times never go back within a partition.
    async fn find_time(&self, slice: Slice, time: Timestamp) -> Result<Offset, sqlx::Error> {
        let mut low = self.earliest(slice).await?;
        let mut high = self.end(slice.topic, slice.partition);
        while low < high {
            let middle = Offset(low.0 + (high.0 - low.0) / 2);
            let mark = reader::first_from(&self.inner.readers, slice, middle).await?;
            match mark {
                Some(mark) if Timestamp::from_unix_millis(mark.appended_at_ms) < time => {
                    low = place(mark.position).1.next();
                }
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    async fn write(
        &self,
        action: &'static str,
        request: impl FnOnce(Done) -> Request,
    ) -> Result<(), QueueError> {
        let (done, answer) = oneshot::channel();
        if self.inner.writer.send(request(done)).await.is_err() {
            return Err(closed(action));
        }
        match answer.await {
            Ok(result) => result.map_err(|cause| queue_error(action, cause)),
            Err(_) => Err(closed(action)),
        }
    }
}

impl Queue for SqliteQueue {
    type Consumer = SqliteConsumer;
    type Reader = SqliteReader;
    type Inbox = ChannelInbox;

    fn system(&self) -> &'static str {
        "sqlite"
    }

    fn max_record_bytes(&self) -> usize {
        self.inner.max_record_bytes
    }

    async fn publish(&self, topic: Topic, records: Vec<Record>) -> Result<(), QueueError> {
        let action = "publishing records";
        if records.is_empty() {
            return Ok(());
        }
        let is_too_large = |record: &Record| record.value.len() > self.inner.max_record_bytes;
        // A dead letter holds what was accepted once, perhaps under another limit.
        if topic != Topic::DeadLetter && records.iter().any(is_too_large) {
            return Err(broken(action, "a value is larger than max_record_bytes"));
        }
        let bytes = records.iter().map(writer::weight).sum();
        let reservation = match topic {
            Topic::Submitted => self.inner.pending.reserve(bytes).ok_or(QueueError::Overloaded)?,
            // Whoever tells what was decided of them relieves the queue, and publishes little at a time.
            Topic::Results | Topic::DeadLetter => self.inner.pending.take(bytes),
        };
        let partitions = self.inner.partitions;
        let records = records
            .into_iter()
            .map(|record| Placed {
                partition: partition_of(&record.key, partitions),
                offset: Offset(0),
                record,
            })
            .collect();
        self.write(action, |done| Request::Append(Append { topic, records, reservation, done })).await
    }

    async fn subscribe(&self, topic: Topic, group: &str) -> Result<SqliteConsumer, QueueError> {
        let member = MemberId(self.inner.last_member.fetch_add(1, Ordering::Relaxed));
        Ok(SqliteConsumer::join(self.clone(), topic, group, member))
    }

    async fn find(
        &self,
        topic: Topic,
        partition: Partition,
        start: Start,
    ) -> Result<Offset, QueueError> {
        if partition.0 >= self.inner.partitions {
            return Err(broken("finding a place on the log", "there is no such partition"));
        }
        let found = self.place_of(Slice { topic, partition }, start).await;
        found.map_err(|cause| queue_error("finding a place on the log", Arc::new(cause)))
    }

    async fn open_reader(
        &self,
        topic: Topic,
        ranges: Vec<ReadRange>,
    ) -> Result<SqliteReader, QueueError> {
        Ok(SqliteReader::new(self.clone(), topic, ranges))
    }

    async fn open_inbox(&self) -> Result<ChannelInbox, QueueError> {
        Ok(self.inner.replies.open())
    }

    async fn reply(&self, to: ReplyAddress, replies: Vec<Reply>) {
        self.inner.replies.send(to, replies);
    }

    async fn check(&self) -> Result<(), QueueError> {
        self.write("checking the queue", Request::Probe).await
    }

    async fn standing(&self, topic: Topic, group: &str) -> Result<Vec<Assignment>, QueueError> {
        let partitions: Vec<_> = (0..self.inner.partitions).map(Partition).collect();
        self.describe(topic, group, &partitions).await
    }

    async fn set_committed(
        &self,
        topic: Topic,
        group: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<(), QueueError> {
        let action = "setting a committed offset";
        if self.inner.log.with(topic, |state| state.groups.contains_key(group)) {
            return Err(broken(action, "the group is in use: stop its consumers"));
        }
        let (group, offsets) = (Arc::from(group), vec![(partition, offset)]);
        self.write(action, |done| Request::Commit(Commit { group, topic, offsets, done })).await
    }
}

/// Names the partition count of a file.
const PARTITIONS: &str = "partitions";

/// The partition count that the file was created with.
async fn stored_partitions(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(statements::META).bind(PARTITIONS).fetch_optional(connection).await
}

/// Fixes the partition count of a new file, and compares that of an old one: another count would send
/// an account's records to another partition, out of order.
async fn pin_partitions(database: &Database, partitions: u32) -> Result<(), OpenError> {
    let failed = |cause| database.open_error("reading its partition count", cause);
    let mut connection = database.connect_writer().await.map_err(failed)?;
    let configured = i64::from(partitions);
    let stored = stored_partitions(&mut connection).await.map_err(failed)?;
    if stored.is_none() {
        sqlx::query(statements::PIN_META)
            .bind(PARTITIONS)
            .bind(configured)
            .execute(&mut connection)
            .await
            .map_err(failed)?;
    }
    connection.close().await.map_err(failed)?;
    match stored {
        Some(stored) if stored != configured => Err(OpenError::OtherSetting {
            path: database.path().to_owned(),
            setting: PARTITIONS,
            stored,
            configured,
        }),
        Some(_) | None => Ok(()),
    }
}

fn queue_error(action: &'static str, cause: Arc<sqlx::Error>) -> QueueError {
    match classify(&cause) {
        FailureClass::Transient => QueueError::Unavailable { action, cause: Box::new(cause) },
        FailureClass::Row | FailureClass::Fatal => QueueError::Broken { action, cause: Box::new(cause) },
    }
}

fn broken(action: &'static str, cause: &'static str) -> QueueError {
    QueueError::Broken { action, cause: Cause::from(cause) }
}

fn closed(action: &'static str) -> QueueError {
    QueueError::Unavailable { action, cause: "the queue is closed".into() }
}
