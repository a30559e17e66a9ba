//! The embedded store: one `SQLite` file, one writing connection, some that read.
//!
//! Every load is one read transaction and every plan one write transaction; both run in tasks of
//! their own that nobody cancels, so a dropped future never leaves a transaction open.

mod cases;
mod deliveries;
mod operations;
mod reader;
mod replays;
mod row;
mod rows;
mod scans;
pub mod statements;
mod writer;

use std::path::Path;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::account::{CommunicationNumber, Plan, View};
use crate::migrations::SQLITE_STORE;
use crate::sqlite::{Database, FailureClass, FileKind, OpenError, classify};

use super::{Applied, PersistedOutcome, Store, StoreError, Wanted};
pub use deliveries::statements as delivery_statements;
pub use operations::statements as operation_statements;
use rows::PlanRows;
use writer::{Apply, Done, Job, Request, Write, Writer};

const KIND: FileKind = FileKind {
    name: "store",
    application_id: 0x7065_6e73,
    migrations: SQLITE_STORE,
    page_bytes: 4096,
    // The unique indexes are touched at random places; what does not fit is read again and again.
    cache_kib: 65_536,
    checkpoint_pages: 4_000,
};
const READERS: u32 = 4;
/// Plans that wait for the writer; each lane has one at a time.
const WAITING_PLANS: usize = 64;

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// What may be set of the store.
#[derive(Clone, Debug, Default)]
pub struct SqliteStoreOptions {
    /// How far the file may grow; none leaves it to the disk.
    pub max_file_bytes: Option<u64>,
}

/// A handle to the embedded store; cheap to clone. The file is released by [`SqliteStore::close`], or
/// some time after the last handle is dropped.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    readers: SqlitePool,
    writer: mpsc::Sender<Request>,
}

impl SqliteStore {
    /// Opens the file, or creates it when it is missing or empty. A file that is damaged, or not a
    /// store's, is refused and left as it is. The caller sees to it that no other process has it.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, SqliteStoreOptions::default()).await
    }

    /// Opens the file with options.
    pub async fn open_with(
        path: impl AsRef<Path>,
        options: SqliteStoreOptions,
    ) -> Result<Self, OpenError> {
        Self::on(Database::open(path.as_ref(), &KIND, options.max_file_bytes).await?).await
    }

    /// Opens the file beside the process that has it, for a few short operations. A file that is missing,
    /// not a store's, or of another release is refused; nothing is created, migrated or checked.
    pub async fn open_beside(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::on(Database::open_beside(path.as_ref(), &KIND).await?).await
    }

    async fn on(database: Database) -> Result<Self, OpenError> {
        let readers = database.readers(READERS);
        let (writer, requests) = mpsc::channel(WAITING_PLANS);
        let writing = Writer::open(database, readers.clone()).await?;
        tokio::spawn(writing.run(requests));
        Ok(Self { readers, writer })
    }

    /// Finishes what was asked for and closes the file. Every handle is of no use afterwards.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.writer.send(Request::Close { done }).await.is_ok() {
            // An error means that somebody else has closed it.
            let _ = closed.await;
        }
    }

    async fn write<T>(
        &self,
        action: &'static str,
        request: impl FnOnce(oneshot::Sender<Result<T, sqlx::Error>>) -> Request,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        if self.writer.send(request(done)).await.is_err() {
            return Err(closed(action));
        }
        match answer.await {
            Ok(result) => result.map_err(|cause| store_error(action, cause)),
            Err(_) => Err(closed(action)),
        }
    }

    /// Does something within one transaction.
    async fn run<W: Write>(&self, action: &'static str, write: W) -> Result<W::Output, StoreError> {
        let request = |done: Done<W::Output>| Request::Run(Box::new(Job { write, done }));
        self.write(action, request).await
    }

    /// Reads rows by one statement.
    async fn rows<T: Send + 'static>(
        &self,
        statement: Statement<'static>,
        decode: fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let readers = self.readers.clone();
        let read = async move {
            let rows = statement.fetch_all(&readers).await?;
            rows.iter().map(decode).collect()
        };
        uncancelled("reading rows", read).await
    }
}

impl Store for SqliteStore {
    fn system(&self) -> &'static str {
        "sqlite"
    }

    async fn load(&self, wanted: &Wanted) -> Result<View, StoreError> {
        let action = "loading a view";
        let wanted = rows::WantedRows::of(wanted).map_err(|cause| encoding_error(action, cause))?;
        let readers = self.readers.clone();
        uncancelled(action, async move { reader::load(&readers, wanted).await }).await
    }

    async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError> {
        let action = "applying a plan";
        if plan.is_empty() {
            return Ok(Applied::Done);
        }
        let rows = PlanRows::of(plan).map_err(|cause| encoding_error(action, cause))?;
        self.run(action, Apply(rows.into_steps())).await
    }

    async fn outcomes(
        &self,
        number: &CommunicationNumber,
        limit: usize,
    ) -> Result<Vec<PersistedOutcome>, StoreError> {
        let action = "looking up outcomes";
        let (readers, number) = (self.readers.clone(), number.clone());
        uncancelled(action, async move { reader::outcomes(&readers, &number, limit).await }).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.write("checking the store", |done| Request::Probe { done }).await
    }
}

/// Runs a read to its end even if the caller goes away, so that no connection returns to the pool in
/// the middle of a transaction.
async fn uncancelled<T: Send + 'static>(
    action: &'static str,
    read: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(read).await {
        Ok(result) => result.map_err(|cause| store_error(action, cause)),
        Err(gone) => Err(StoreError::Unavailable { action, cause: Box::new(gone) }),
    }
}

fn store_error(action: &'static str, cause: sqlx::Error) -> StoreError {
    match classify(&cause) {
        FailureClass::Transient => StoreError::Unavailable { action, cause: Box::new(cause) },
        FailureClass::Row => StoreError::Poison { action, cause: Box::new(cause) },
        FailureClass::Fatal => StoreError::Broken { action, cause: Box::new(cause) },
    }
}

fn encoding_error(action: &'static str, cause: serde_json::Error) -> StoreError {
    StoreError::Poison { action, cause: Box::new(cause) }
}

fn closed(action: &'static str) -> StoreError {
    StoreError::Unavailable { action, cause: "the store is closed".into() }
}
