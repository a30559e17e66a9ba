//! A standby of the server, on which nobody reads a moment that lies before the one in which he began to ask: each
//! page is read by a session that was asked, in the same transaction, whether it has what the server had by then. So
//! it is of no matter which of several standbys answers, or whether one was started anew meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row};

use crate::store::{End, Page, ScanPlace, StoreError};
use crate::telemetry::{Finding, with_causes};

use super::connections::{Connections, Work};
use super::options::PostgresStoreOptions;
use super::scans::Scan;
use super::scans::statements::BEGIN_STANDBY_SCAN;
use super::session::Session;
use super::statements;

/// How soon a standby that is behind, or did not answer, is asked again.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long a standby may come no nearer.
const STANDS_STILL_AFTER: Duration = Duration::from_mins(1);
/// How often a page is tried that a standby does not give: it cancels who reads what it has to remove, and is started
/// anew like any server.
const TRIES: u32 = 50;

/// What keeps a standby from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StandbyError {
    /// It writes itself.
    #[error(
        "the server of store.postgres.replica_url is no standby: name one, or take the setting out, and whole tables \
         are read on the server of store.postgres.url"
    )]
    Writes,
    /// It follows somebody else, or other tables are meant.
    #[error(
        "store.postgres.replica_url leads to a standby of another server than store.postgres.url, or to another \
         database or schema"
    )]
    OfAnother,
    /// It follows nobody.
    #[error(
        "the replica (store.postgres.replica_url) has come no nearer for {} s: see whether it replicates, and whether \
         replaying is paused or delayed there",
        STANDS_STILL_AFTER.as_secs()
    )]
    StandsStill,
}

/// A standby; cheap to clone.
#[derive(Clone)]
pub(super) struct Standby {
    sessions: Connections,
    /// What whoever reads must find there.
    wanted: Arc<Mutex<Option<Position>>>,
}

/// A place in the log of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    /// Cluster, database and schema.
    tables: String,
    /// The place, as the server writes one.
    place: String,
}

impl Standby {
    pub(super) fn of(options: PostgresStoreOptions) -> Self {
        Self { sessions: Connections::new(options), wanted: Arc::default() }
    }

    /// Looks at it for an operator.
    pub(super) async fn examine(&self, primary: &Connections) -> Finding {
        let subject = "postgres: replica";
        match self.behind(primary).await {
            Ok(Some(bytes)) => {
                Finding::fine(subject, format!("it lacks {} bytes of the server's log", bytes.max(0)))
            }
            Ok(None) => {
                Finding::warning(subject, "it has replayed nothing yet: see whether it replicates")
            }
            Err(error) => Finding::wrong(subject, with_causes(&error).to_string()),
        }
    }

    /// By how many bytes of the log it is behind now; none while it replays nothing.
    pub(super) async fn behind(&self, primary: &Connections) -> Result<Option<i64>, StoreError> {
        let written = primary.run(Written).await?;
        let seen = self.sessions.run(Replayed(written.clone())).await?;
        seen.distance(&written.tables).map_err(refused)
    }

    /// Reads a page, once it has whatever had been committed on `primary` when the scan began.
    pub(super) async fn scan(
        &self,
        scan: Scan,
        primary: &Connections,
    ) -> Result<Page<PgRow>, StoreError> {
        let wanted = self.wanted(scan.from, primary).await?;
        let mut patience = Patience::begin(Instant::now());
        loop {
            match self.sessions.run(StandbyScan { scan, wanted: wanted.clone() }).await {
                Ok(Read::Page(page)) => return Ok(page),
                Ok(Read::NotYet(seen)) => {
                    let behind = seen.distance(&wanted.tables).map_err(refused)?;
                    patience.look(behind, Instant::now()).map_err(refused)?;
                }
                Err(StoreError::Unavailable { .. }) if patience.try_again() => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(ASKED_AGAIN_AFTER).await;
        }
    }

    /// What the pages of a scan must have: what the server has when the first one is asked for.
    async fn wanted(&self, from: ScanPlace, primary: &Connections) -> Result<Position, StoreError> {
        let known = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|_| from != ScanPlace::default()) {
            return Ok(known);
        }
        let written = primary.run(Written).await?;
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(written.clone());
        Ok(written)
    }

    pub(super) async fn close(&self) {
        self.sessions.close().await;
    }
}

/// What only passes by itself is worth another try.
fn refused(error: StandbyError) -> StoreError {
    let (action, cause) = (Replayed::ACTION, Box::new(error));
    match error {
        StandbyError::Writes | StandbyError::OfAnother => StoreError::Broken { action, cause },
        StandbyError::StandsStill => StoreError::Unavailable { action, cause },
    }
}

/// How long it is waited for one page.
#[derive(Debug)]
struct Patience {
    nearest: i64,
    since: Instant,
    failures: u32,
}

impl Patience {
    fn begin(now: Instant) -> Self {
        Self { nearest: i64::MAX, since: now, failures: 0 }
    }

    /// A standby that is behind is waited for while it comes nearer.
    fn look(&mut self, behind: Option<i64>, now: Instant) -> Result<(), StandbyError> {
        if let Some(behind) = behind.filter(|behind| *behind < self.nearest) {
            (self.nearest, self.since) = (behind, now);
        }
        let stands_still = now.saturating_duration_since(self.since) > STANDS_STILL_AFTER;
        if stands_still { Err(StandbyError::StandsStill) } else { Ok(()) }
    }

    /// Whether one that did not answer is asked once more.
    fn try_again(&mut self) -> bool {
        self.failures += 1;
        self.failures < TRIES
    }
}

/// Asks up to where the server has written.
struct Written;

impl Work for Written {
    type Output = Position;
    const ACTION: &'static str = "asking what the replica must have";
    const BEGIN: &'static str = statements::BEGIN_SNAPSHOT;

    async fn run(self, session: &mut Session) -> Result<End<Position>, sqlx::Error> {
        let row = session.read_one(statements::WRITTEN).await?;
        Ok(End::Rollback(Position { tables: row.try_get(0)?, place: row.try_get(1)? }))
    }
}

/// What a server that is taken for a standby says.
struct Seen {
    tables: String,
    is_standby: bool,
    /// Bytes of the log that it lacks; none while it replays nothing.
    behind: Option<i64>,
}

impl Seen {
    async fn of(session: &mut Session, wanted: &Position) -> Result<Self, sqlx::Error> {
        let mut arguments = PgArguments::default();
        arguments.add(&wanted.place).map_err(sqlx::Error::Encode)?;
        let rows = session.read(statements::REPLAYED, arguments).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        Ok(Self { tables: row.try_get(0)?, is_standby: row.try_get(1)?, behind: row.try_get(2)? })
    }

    /// How far it is behind, if it is what it is taken for.
    fn distance(&self, tables: &str) -> Result<Option<i64>, StandbyError> {
        if self.tables != tables {
            Err(StandbyError::OfAnother)
        } else if self.is_standby {
            Ok(self.behind)
        } else {
            Err(StandbyError::Writes)
        }
    }

    /// Whether it has what is wanted.
    fn has(&self, wanted: &Position) -> bool {
        let distance = self.distance(&wanted.tables);
        distance.is_ok_and(|behind| behind.is_some_and(|behind| behind <= 0))
    }
}

/// Asks how far behind a place of the log the server is.
struct Replayed(Position);

impl Work for Replayed {
    type Output = Seen;
    const ACTION: &'static str = "asking the replica (store.postgres.replica_url) what it has";
    const BEGIN: &'static str = BEGIN_STANDBY_SCAN;

    async fn run(self, session: &mut Session) -> Result<End<Seen>, sqlx::Error> {
        Ok(End::Rollback(Seen::of(session, &self.0).await?))
    }
}

/// Reads some blocks of a table, if the server has what it must have.
struct StandbyScan {
    scan: Scan,
    wanted: Position,
}

/// What came of it.
enum Read {
    Page(Page<PgRow>),
    NotYet(Seen),
}

impl Work for StandbyScan {
    type Output = Read;
    const ACTION: &'static str = "scanning a table on the replica (store.postgres.replica_url)";
    const BEGIN: &'static str = BEGIN_STANDBY_SCAN;

    async fn run(self, session: &mut Session) -> Result<End<Read>, sqlx::Error> {
        let seen = Seen::of(session, &self.wanted).await?;
        if !seen.has(&self.wanted) {
            return Ok(End::Rollback(Read::NotYet(seen)));
        }
        Ok(End::Commit(Read::Page(self.scan.page(session).await?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tables: &str, is_standby: bool, behind: Option<i64>) -> Seen {
        Seen { tables: tables.to_owned(), is_standby, behind }
    }

    #[test]
    fn only_a_standby_with_the_same_tables_is_waited_for() {
        assert_eq!(seen("a", true, Some(7)).distance("a"), Ok(Some(7)));
        assert_eq!(seen("a", true, None).distance("a"), Ok(None));
        assert_eq!(seen("a", false, Some(0)).distance("a"), Err(StandbyError::Writes));
        for is_standby in [false, true] {
            assert_eq!(seen("b", is_standby, Some(0)).distance("a"), Err(StandbyError::OfAnother));
        }
    }

    #[test]
    fn only_one_that_has_everything_is_read() {
        let wanted = Position { tables: "a".to_owned(), place: "0/1".to_owned() };
        for behind in [Some(0), Some(-5)] {
            assert!(seen("a", true, behind).has(&wanted));
            assert!(!seen("a", false, behind).has(&wanted) && !seen("b", true, behind).has(&wanted));
        }
        assert!(!seen("a", true, Some(1)).has(&wanted) && !seen("a", true, None).has(&wanted));
    }

    #[test]
    fn one_that_comes_nearer_is_waited_for_and_one_that_does_not_is_not() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut patience = Patience::begin(begin);
        for (seconds, behind) in [(0, Some(90)), (50, Some(80)), (100, Some(70)), (150, None)] {
            assert_eq!(patience.look(behind, at(seconds)), Ok(()));
        }
        assert_eq!(patience.look(Some(70), at(161)), Err(StandbyError::StandsStill));
    }
}
