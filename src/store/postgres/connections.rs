//! The sessions of one process, each owned by one task at a time.
//!
//! What runs on a session runs in a task of its own that nobody cancels, and a session is handed on only
//! after its transaction has ended. So no caller that goes away, however soon, leaves a transaction
//! behind for the next one; a pool whose `begin` can be dropped half-way could.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::Semaphore;

use crate::store::{Cause, StoreError};

use super::error::{session_is_sound, sessions_are_doubtful, store_error};
use super::options::PostgresStoreOptions;

/// How old a session may become: so that a new password, certificate or address is taken up.
const MAX_AGE: Duration = Duration::from_mins(30);

/// What is done within one transaction.
pub(super) trait Work: Send + 'static {
    /// What comes of it.
    type Output: Send;
    /// What it is, as errors say.
    const ACTION: &'static str;
    /// Begins its transaction.
    const BEGIN: &'static str;

    /// Does it.
    fn run(
        self,
        transaction: &mut Running<'_>,
    ) -> impl Future<Output = Result<End<Self::Output>, sqlx::Error>> + Send;
}

/// What becomes of a transaction whose work is done.
pub(super) enum End<T> {
    /// What it wrote stays.
    Commit(T),
    /// Nothing of it stays.
    Rollback(T),
}

/// A transaction that has begun.
pub(super) struct Running<'c> {
    connection: &'c mut PgConnection,
    /// Whether statements are prepared under names and kept. A name belongs to a session, which is
    /// another one for every transaction behind a pooler that does not follow them.
    named: bool,
}

impl Running<'_> {
    /// Runs a statement; tells how many rows it wrote.
    pub(super) async fn write(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_with(statement, arguments).persistent(self.named);
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    /// Runs a statement; returns the rows it found.
    pub(super) async fn read(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let query = sqlx::query_with(statement, arguments).persistent(self.named);
        query.fetch_all(&mut *self.connection).await
    }
}

struct Session {
    connection: PgConnection,
    since: Instant,
}

/// Sessions with one server; cheap to clone.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    options: PostgresStoreOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
}

impl Connections {
    pub(super) fn new(options: PostgresStoreOptions) -> Self {
        let permits = Arc::new(Semaphore::new(options.max_connections));
        Self(Arc::new(Inner { options, permits, idle: Mutex::default() }))
    }

    /// Takes over a session that nobody uses.
    pub(super) fn keep(&self, connection: PgConnection) {
        self.0.idle().push(Session { connection, since: Instant::now() });
    }

    /// Does work in one transaction, to its end even if the caller goes away.
    pub(super) async fn run<W: Work>(&self, work: W) -> Result<W::Output, StoreError> {
        let inner = Arc::clone(&self.0);
        let unavailable = |cause: Cause| StoreError::Unavailable { action: W::ACTION, cause };
        let wait = inner.options.transaction_timeout();
        let permits = Arc::clone(&inner.permits).acquire_owned();
        let permit = match tokio::time::timeout(wait, permits).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(unavailable("the store is closed".into())),
            Err(_) => return Err(unavailable("every connection was busy for too long".into())),
        };
        let task = tokio::spawn(async move {
            let result = inner.bounded(work).await;
            drop(permit);
            result
        });
        match task.await {
            Ok(result) => result.map_err(|cause| store_error(W::ACTION, cause)),
            Err(gone) => Err(unavailable(Box::new(gone))),
        }
    }

    /// Takes no more work, waits for what is under way, and closes every session.
    pub(super) async fn close(&self) {
        let all = u32::try_from(self.0.options.max_connections).unwrap_or(u32::MAX);
        if let Ok(permits) = self.0.permits.acquire_many(all).await {
            permits.forget();
        }
        self.0.permits.close();
        let idle = std::mem::take(&mut *self.0.idle());
        for session in idle {
            // The server notices either way.
            let _ = session.connection.close().await;
        }
    }
}

impl Inner {
    /// Bounds work from this side too: a network that swallows packets says nothing for a quarter of an
    /// hour. The session of work that was cut off is closed, never used again.
    async fn bounded<W: Work>(&self, work: W) -> Result<W::Output, sqlx::Error> {
        let limit = self.options.transaction_timeout();
        tokio::time::timeout(limit, self.work(work)).await.unwrap_or_else(|_| {
            self.idle().clear();
            Err(timed_out("the server did not answer in time"))
        })
    }

    async fn work<W: Work>(&self, work: W) -> Result<W::Output, sqlx::Error> {
        let mut session = self.session().await?;
        let result = self.transaction(&mut session.connection, work).await;
        let sound = match &result {
            Ok(_) => true,
            Err(error) if sessions_are_doubtful(error) => {
                self.idle().clear();
                false
            }
            Err(error) => session_is_sound(error),
        };
        if sound {
            self.idle().push(session);
        }
        result
    }

    async fn transaction<W: Work>(
        &self,
        connection: &mut PgConnection,
        work: W,
    ) -> Result<W::Output, sqlx::Error> {
        let begin = AssertSqlSafe(format!("{}; {}", W::BEGIN, self.options.transaction_limits()));
        let mut transaction = connection.begin_with(begin).await?;
        let named = self.options.statement_cache > 0;
        let ended = work.run(&mut Running { connection: &mut transaction, named }).await;
        match ended {
            Ok(End::Commit(output)) => transaction.commit().await.map(|()| output),
            Ok(End::Rollback(output)) => transaction.rollback().await.map(|()| output),
            Err(error) if session_is_sound(&error) => {
                transaction.rollback().await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The session used last, so that those nobody needs grow old; or a new one.
    async fn session(&self) -> Result<Session, sqlx::Error> {
        let idle = {
            let mut idle = self.idle();
            idle.retain(|session| session.since.elapsed() < MAX_AGE);
            idle.pop()
        };
        match idle {
            Some(session) => Ok(session),
            None => self
                .options
                .connect()
                .await
                .map(|connection| Session { connection, since: Instant::now() }),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing answered within a bound.
pub(super) fn timed_out(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, what))
}
