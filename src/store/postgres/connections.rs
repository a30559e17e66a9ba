//! The sessions of one process, each owned by one task at a time.
//!
//! What runs on a session runs in a task of its own that nobody cancels, and a session is handed on only
//! after its transaction has ended. So no caller that goes away, however soon, leaves a transaction
//! behind for the next one; a pool whose `begin` can be dropped half-way could.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::store::{Cause, End, StoreError};

use super::error::{
    password_is_refused, session_is_sound, sessions_are_doubtful, store_error, unavailable,
};
use super::options::PostgresStoreOptions;
use super::session::Session;

/// How long a refused password may be one that is being replaced: first at the server, then in its file,
/// which takes Kubernetes up to two minutes.
const PASSWORD_CHANGES_WITHIN: Duration = Duration::from_mins(3);

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
        transaction: &mut Session,
    ) -> impl Future<Output = Result<End<Self::Output>, sqlx::Error>> + Send;
}

/// Sessions with one server; cheap to clone.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    options: PostgresStoreOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
    /// Whether the server refuses the password.
    refusal: Mutex<Refusal>,
}

/// Since when the server has refused the password of a file.
#[derive(Default)]
struct Refusal(Option<Instant>);

impl Refusal {
    /// Takes a refusal down; whether the file may have another password soon.
    fn may_pass(&mut self, now: Instant) -> bool {
        let since = *self.0.get_or_insert(now);
        now.saturating_duration_since(since) < PASSWORD_CHANGES_WITHIN
    }
}

impl Connections {
    pub(super) fn new(options: PostgresStoreOptions) -> Self {
        let permits = Arc::new(Semaphore::new(options.max_connections));
        Self(Arc::new(Inner { options, permits, idle: Mutex::default(), refusal: Mutex::default() }))
    }

    /// Takes over a session that nobody uses.
    pub(super) fn keep(&self, session: Session) {
        self.0.idle().push(session);
    }

    /// Does work in one transaction, to its end even if the caller goes away.
    pub(super) async fn run<W: Work>(&self, work: W) -> Result<W::Output, StoreError> {
        let inner = Arc::clone(&self.0);
        let busy = |cause: Cause| StoreError::Unavailable { action: W::ACTION, cause };
        let wait = inner.options.transaction_timeout();
        let permits = Arc::clone(&inner.permits).acquire_owned();
        let permit = match tokio::time::timeout(wait, permits).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(busy("the store is closed".into())),
            Err(_) => return Err(busy("every connection was busy for too long".into())),
        };
        let task = tokio::spawn(async move {
            let result = inner.bounded(work).await;
            drop(permit);
            result.map_err(|cause| inner.told(W::ACTION, cause))
        });
        match task.await {
            Ok(result) => result,
            Err(gone) => Err(busy(Box::new(gone))),
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
            session.close().await;
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
        let mut session = self.begun::<W>().await?;
        let result = self.transaction(&mut session, work).await;
        let sound = match &result {
            Ok(_) => true,
            Err(error) if sessions_are_doubtful(error) => {
                self.idle().clear();
                false
            }
            Err(error) => session_is_sound(error),
        };
        if sound {
            session.touch();
            self.idle().push(session);
        }
        result
    }

    /// A session whose transaction has begun. One that was kept may have ended meanwhile, unseen: nothing
    /// was done on it, so a new one takes its place.
    async fn begun<W: Work>(&self) -> Result<Session, sqlx::Error> {
        if let Some(mut kept) = self.kept() {
            let begin = kept.begin(W::BEGIN, &self.options);
            match tokio::time::timeout(self.options.connect_timeout, begin).await {
                Ok(Ok(())) => return Ok(kept),
                Ok(Err(error)) if !sessions_are_doubtful(&error) => return Err(error),
                Ok(Err(_)) | Err(_) => self.idle().clear(),
            }
        }
        let mut session = Session::open(&self.options).await?;
        *self.refusal() = Refusal::default();
        session.begin(W::BEGIN, &self.options).await?;
        Ok(session)
    }

    /// Does work in the transaction that has begun, and ends that.
    async fn transaction<W: Work>(
        &self,
        session: &mut Session,
        work: W,
    ) -> Result<W::Output, sqlx::Error> {
        match work.run(session).await {
            Ok(End::Commit(output)) => session.commit().await.map(|()| output),
            Ok(End::Rollback(output)) => session.roll_back().await.map(|()| output),
            Err(error) if session_is_sound(&error) => {
                session.roll_back().await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The session used last, so that those nobody needs grow old.
    fn kept(&self) -> Option<Session> {
        let mut idle = self.idle();
        idle.retain(Session::is_fresh);
        idle.pop()
    }

    /// The error as the port tells it. A password from a file that is refused may be on its way there.
    fn told(&self, action: &'static str, cause: sqlx::Error) -> StoreError {
        if self.options.password_file.is_none() || !password_is_refused(&cause) {
            return store_error(action, cause);
        }
        if self.refusal().may_pass(Instant::now()) {
            unavailable(action, cause)
        } else {
            store_error(action, cause)
        }
    }

    fn refusal(&self) -> MutexGuard<'_, Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing answered within a bound.
pub(super) fn timed_out(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_password_is_waited_for_within_a_bound_that_begins_anew() {
        let begin = Instant::now();
        let mut refusal = Refusal::default();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(refusal.may_pass(at(0)) && refusal.may_pass(at(179)));
        assert!(!refusal.may_pass(at(180)), "nobody changes it any more");
        assert!(Refusal::default().may_pass(at(500)), "it was right in between");
    }
}
