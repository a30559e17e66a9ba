//! The one task that writes to the store's file. It is never cancelled, so a transaction it has begun
//! always ends.

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::sqlite::{Database, OpenError, Writing};
use crate::store::{Applied, End, StalePart};

use super::rows::{PlanRows, Rows};
use super::statements;

pub(super) type Done<T> = oneshot::Sender<Result<T, sqlx::Error>>;

/// What the writer is asked for.
pub(super) enum Request {
    /// Apply a plan.
    Apply {
        /// The plan.
        rows: Box<PlanRows>,
        /// Takes the result; may be gone.
        done: Done<Applied>,
    },
    /// Do something else within one transaction.
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
                // The receiver of a result may be gone: what was asked for is done all the same.
                Request::Apply { rows, done } => drop(done.send(self.apply(&rows).await)),
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

    async fn apply(&mut self, rows: &PlanRows) -> Result<Applied, sqlx::Error> {
        let mut connection = self.connection().await?;
        let applied = apply(&mut connection, rows).await?;
        self.0.put_back(connection).await;
        Ok(applied)
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

/// Writes the plan in one transaction, or nothing of it when a statement writes fewer rows than
/// planned: then something the view showed has changed.
async fn apply(connection: &mut SqliteConnection, rows: &PlanRows) -> Result<Applied, sqlx::Error> {
    let steps = [
        (StalePart::Frontier, statements::INSERT_FRONTIERS, &rows.first_frontiers),
        (StalePart::Frontier, statements::MOVE_FRONTIERS, &rows.moved_frontiers),
        (StalePart::Claim, statements::INSERT_CLAIMS, &rows.claims),
        (StalePart::Account, statements::INSERT_ACCOUNTS, &rows.new_accounts),
        (StalePart::Account, statements::UPDATE_ACCOUNTS, &rows.changed_accounts),
        (StalePart::Rejection, statements::INSERT_REJECTIONS, &rows.rejections),
    ];
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (part, statement, rows) in steps {
        if written(&mut transaction, statement, rows).await? < rows.count {
            transaction.rollback().await?;
            return Ok(Applied::Stale(part));
        }
    }
    transaction.commit().await?;
    Ok(Applied::Done)
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
