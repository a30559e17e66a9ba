//! The one task that writes to the store's file. It is never cancelled, so a transaction it has begun
//! always ends.

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::sqlite::{Database, OpenError, Writing};
use crate::store::{Applied, End, StalePart};

use super::Statement;
use super::rows::Rows;
use super::statements;

pub(super) type Done<T> = oneshot::Sender<Result<T, sqlx::Error>>;

/// What the writer is asked for.
pub(super) enum Request {
    /// Do something within one transaction; whoever takes the result may be gone.
    Run(Box<dyn Queued>),
    /// Tell whether writing works.
    Probe {
        /// Takes the result.
        done: Done<()>,
    },
    /// Finish what waits, then close the file.
    Close {
        /// Told once it is closed.
        done: oneshot::Sender<()>,
    },
}

/// What is done within one transaction.
pub(super) trait Write: Send + 'static {
    /// What comes of it.
    type Output: Send;

    /// Does it.
    fn run(
        self,
        transaction: &mut SqliteConnection,
    ) -> impl Future<Output = Result<End<Self::Output>, sqlx::Error>> + Send;
}

/// A [`Write`] of any kind that waits for the writer.
pub(super) trait Queued: Send {
    fn run(self: Box<Self>, writer: &mut Writer) -> BoxFuture<'_, ()>;
}

/// A [`Write`] and who is told how it ended.
pub(super) struct Job<W: Write> {
    pub(super) write: W,
    pub(super) done: Done<W::Output>,
}

impl<W: Write> Queued for Job<W> {
    fn run(self: Box<Self>, writer: &mut Writer) -> BoxFuture<'_, ()> {
        let Self { write, done } = *self;
        Box::pin(async move { drop(done.send(writer.transaction(write).await)) })
    }
}

/// Writes what it is asked for, one request after the other.
pub(super) struct Writer(Writing);

impl Writer {
    pub(super) async fn open(database: Database, readers: SqlitePool) -> Result<Self, OpenError> {
        let mut writing = Writing::new(database, readers);
        match writing.connect().await {
            Ok(connection) => writing.put_back(connection).await,
            Err(cause) => return Err(writing.database().open_error("opening it to write", cause)),
        }
        Ok(Self(writing))
    }

    /// Serves requests until it is told to close or every handle is gone.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut closers = Vec::new();
        while let Some(request) = requests.recv().await {
            match request {
                Request::Run(queued) => queued.run(&mut self).await,
                Request::Probe { done } => drop(done.send(self.probe().await)),
                Request::Close { done } => {
                    requests.close();
                    closers.push(done);
                }
            }
        }
        self.0.close().await;
        for closer in closers {
            let _ = closer.send(());
        }
    }

    async fn transaction<W: Write>(&mut self, write: W) -> Result<W::Output, sqlx::Error> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let output = match write.run(&mut transaction).await? {
            End::Commit(output) => {
                transaction.commit().await?;
                output
            }
            End::Rollback(output) => {
                transaction.rollback().await?;
                output
            }
        };
        self.0.put_back(connection).await;
        Ok(output)
    }

    async fn probe(&mut self) -> Result<(), sqlx::Error> {
        let mut connection = self.connection().await?;
        sqlx::query(statements::PROBE).execute(&mut connection).await?;
        self.0.put_back(connection).await;
        Ok(())
    }

    async fn connection(&mut self) -> Result<SqliteConnection, sqlx::Error> {
        match self.0.take() {
            Some(connection) => Ok(connection),
            None => self.0.connect().await,
        }
    }
}

/// A statement with its rows.
pub(super) struct Step {
    /// What of the plan it writes.
    pub(super) part: StalePart,
    pub(super) statement: &'static str,
    pub(super) rows: Rows,
}

/// Takes all steps, or none when a statement writes fewer rows than planned: then something the view showed has
/// changed.
pub(super) struct Apply(pub(super) Vec<Step>);

impl Write for Apply {
    type Output = Applied;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Applied>, sqlx::Error> {
        for Step { part, statement, rows } in &self.0 {
            if written(transaction, statement, rows).await? < rows.count {
                return Ok(End::Rollback(Applied::Stale(*part)));
            }
        }
        Ok(End::Commit(Applied::Done))
    }
}

/// Changes rows by one statement; tells how many.
pub(super) struct Change(pub(super) Statement<'static>);

impl Write for Change {
    type Output = u64;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<u64>, sqlx::Error> {
        Ok(End::Commit(self.0.execute(transaction).await?.rows_affected()))
    }
}

async fn written(
    transaction: &mut SqliteConnection,
    statement: &'static str,
    rows: &Rows,
) -> Result<u64, sqlx::Error> {
    if rows.count == 0 {
        return Ok(0);
    }
    let result = sqlx::query(statement).bind(rows.json.as_str()).execute(transaction).await?;
    Ok(result.rows_affected())
}
