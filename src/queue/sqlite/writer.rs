//! The one task that writes to the queue's file. It takes everything that waits and makes it durable
//! by one transaction, so the more publishers there are, the fewer syncs each of them pays for.
//!
//! It is never cancelled. After a failure it opens the file anew and looks where each partition ends,
//! since a commit that failed may have happened.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::account::{Offset, Partition, Timestamp};
use crate::queue::{Received, Record, Topic};
use crate::sqlite::{Database, OpenError, Writing};

use super::log::Log;
use super::position::{Slice, topic_number};
use super::{headers, reader, statements};
use crate::queue::pending::Reservation;

/// Bytes and records one statement appends, and bytes one transaction takes unless a single request
/// is larger.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
const CHUNK_RECORDS: usize = 4096;

/// Tells a requester how it ended. Several may share one failure.
pub(super) type Done = oneshot::Sender<Result<(), Arc<sqlx::Error>>>;

/// A record whose partition is known, and its offset once the writer has given it one.
pub(super) struct Placed {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) record: Record,
}

/// Records to append.
pub(super) struct Append {
    pub(super) topic: Topic,
    pub(super) records: Vec<Placed>,
    /// Their share of what may wait; given back once they are written.
    pub(super) reservation: Reservation,
    pub(super) done: Done,
}

/// Offsets to commit.
pub(super) struct Commit {
    pub(super) group: Arc<str>,
    pub(super) topic: Topic,
    pub(super) offsets: Vec<(Partition, Offset)>,
    pub(super) done: Done,
}

/// What the writer is asked for.
pub(super) enum Request {
    Append(Append),
    Commit(Commit),
    /// Tell whether writing works.
    Probe(Done),
    /// Finish what waits, then close the file.
    Close(oneshot::Sender<()>),
}

/// What one transaction writes.
#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    commits: Vec<Commit>,
    probes: Vec<Done>,
    closers: Vec<oneshot::Sender<()>>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, request: Request) {
        match request {
            Request::Append(append) => {
                self.bytes += append.reservation.bytes();
                self.appends.push(append);
            }
            Request::Commit(commit) => self.commits.push(commit),
            Request::Probe(done) => self.probes.push(done),
            Request::Close(done) => self.closers.push(done),
        }
    }

    fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.commits.is_empty() && self.probes.is_empty()
    }
}

/// What a record counts for against the bounds of memory.
pub(super) fn weight(record: &Record) -> usize {
    size_of::<Placed>() + record.key.len() + record.value.len() + record.headers.size_bytes()
}

/// The writing connection, and the end of every partition as the file has it.
pub(super) struct Writer {
    writing: Writing,
    partitions: u32,
    log: Arc<Log>,
    ends: HashMap<(Topic, Partition), Offset>,
    /// The time of the last append: an append is never earlier than the one before.
    last_append_ms: i64,
}

impl Writer {
    /// Opens the file to write and enters into the log where its partitions end.
    pub(super) async fn open(
        database: Database,
        readers: SqlitePool,
        partitions: u32,
        log: Arc<Log>,
    ) -> Result<Self, OpenError> {
        let mut writer = Self {
            writing: Writing::new(database, readers),
            partitions,
            log,
            ends: HashMap::new(),
            last_append_ms: 0,
        };
        match writer.connect().await {
            Ok(connection) => writer.writing.put_back(connection).await,
            Err(cause) => {
                return Err(writer.writing.database().open_error("opening it to write", cause));
            }
        }
        Ok(writer)
    }

    /// Serves requests until it is told to close or every handle is gone.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut closers = Vec::new();
        while let Some(first) = requests.recv().await {
            let mut batch = Batch::default();
            batch.add(first);
            while batch.bytes < CHUNK_BYTES
                && let Ok(next) = requests.try_recv()
            {
                batch.add(next);
            }
            if !batch.closers.is_empty() {
                requests.close();
                closers.append(&mut batch.closers);
            }
            if !batch.is_empty() {
                self.serve(batch).await;
            }
        }
        self.writing.close().await;
        for closer in closers {
            let _ = closer.send(());
        }
    }

    /// Writes a batch and tells everybody who asked. A requester may be gone; its request is served
    /// all the same.
    async fn serve(&mut self, mut batch: Batch) {
        let result = self.write(&mut batch).await.map_err(Arc::new);
        let appended_at = Timestamp::from_unix_millis(self.last_append_ms);
        let commits = batch.commits.into_iter().map(|commit| commit.done);
        let others: Vec<Done> = commits.chain(batch.probes).collect();
        for Append { topic, records, reservation, done } in batch.appends {
            if result.is_ok() {
                let received = records.into_iter().map(|placed| Received {
                    partition: placed.partition,
                    offset: placed.offset,
                    appended_at,
                    record: placed.record,
                });
                self.log.appended(topic, received.collect());
            }
            drop(reservation);
            let _ = done.send(result.clone());
        }
        for done in others {
            let _ = done.send(result.clone());
        }
    }

    async fn write(&mut self, batch: &mut Batch) -> Result<(), sqlx::Error> {
        let mut connection = match self.writing.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        self.place(&mut batch.appends);
        let now = Timestamp::from(SystemTime::now()).unix_millis().max(self.last_append_ms);
        write_batch(&mut connection, batch, now).await?;
        self.last_append_ms = now;
        self.writing.put_back(connection).await;
        Ok(())
    }

    /// Gives every record its offset.
    fn place(&mut self, appends: &mut [Append]) {
        for append in appends {
            for placed in &mut append.records {
                let end = self.ends.entry((append.topic, placed.partition)).or_insert(Offset(0));
                placed.offset = *end;
                *end = end.next();
            }
        }
    }

    /// Opens the file to write, learns where its partitions end and enters it into the log.
    async fn connect(&mut self) -> Result<SqliteConnection, sqlx::Error> {
        let mut connection = self.writing.connect().await?;
        let (ends, last_append_ms) = reader::ends(&mut connection, self.partitions).await?;
        self.last_append_ms = self.last_append_ms.max(last_append_ms);
        self.log.enter_ends(self.partitions, &ends);
        self.ends = ends;
        Ok(connection)
    }
}

async fn write_batch(
    connection: &mut SqliteConnection,
    batch: &Batch,
    now: i64,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut chunk = Chunk::default();
    for append in &batch.appends {
        for placed in &append.records {
            chunk.push(append.topic, placed, now);
            if chunk.is_full() {
                std::mem::take(&mut chunk).append(&mut transaction).await?;
            }
        }
    }
    chunk.append(&mut transaction).await?;
    for commit in &batch.commits {
        let offsets: Vec<_> = commit
            .offsets
            .iter()
            .map(|(partition, offset)| [i64::from(partition.0), offset.0.cast_signed()])
            .collect();
        sqlx::query(statements::COMMIT_OFFSETS)
            .bind(&*commit.group)
            .bind(topic_number(commit.topic))
            .bind(reader::json(&offsets)?)
            .execute(&mut *transaction)
            .await?;
    }
    if !batch.probes.is_empty() {
        sqlx::query(statements::PROBE).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Records that one statement appends: all their bytes in one blob, and where to cut it.
struct Chunk {
    /// Position, time, start in the blob from 1, length of key, of value, of headers.
    rows: Vec<[i64; 6]>,
    blob: Vec<u8>,
}

impl Default for Chunk {
    fn default() -> Self {
        // Nothing cut from an empty blob is NULL; nothing cut from any other is an empty blob.
        Self { rows: Vec::new(), blob: vec![0] }
    }
}

impl Chunk {
    fn push(&mut self, topic: Topic, placed: &Placed, now: i64) {
        let Placed { partition, offset, record } = placed;
        let start = self.blob.len();
        self.blob.extend_from_slice(&record.key);
        let value = self.blob.len();
        self.blob.extend_from_slice(&record.value);
        let headers = self.blob.len();
        headers::encode(&record.headers, &mut self.blob);
        let end = self.blob.len();
        let position = Slice { topic, partition: *partition }.at(*offset);
        let [start_at, key, value, headers] =
            [start + 1, value - start, headers - value, end - headers].map(usize::cast_signed);
        self.rows.push([position, now, start_at as i64, key as i64, value as i64, headers as i64]);
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= CHUNK_RECORDS || self.blob.len() >= CHUNK_BYTES
    }

    async fn append(mut self, transaction: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        // In the order of their row ids, records of one partition go to one page after another.
        self.rows.sort_unstable();
        sqlx::query(statements::APPEND)
            .bind(reader::json(&self.rows)?)
            .bind(self.blob)
            .execute(transaction)
            .await?;
        Ok(())
    }
}
