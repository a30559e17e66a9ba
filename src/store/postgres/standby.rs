//! A standby of the server, which is read once it has replayed what the server had written: never a moment that lies
//! before the one in which somebody began to ask.

use std::time::{Duration, Instant};

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Row};

use crate::store::{End, StoreError};
use crate::telemetry::{Finding, with_causes};

use super::connections::{Connections, Work};
use super::options::PostgresStoreOptions;
use super::session::Session;
use super::statements;

/// How soon a standby that is behind is looked at again.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(50);
/// How long a standby may come no nearer: a server that is asked for nothing still writes something within that time.
const STANDS_STILL_AFTER: Duration = Duration::from_mins(1);

/// What keeps a standby from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StandbyError {
    /// It writes itself.
    #[error(
        "the server of store.postgres.replica_url is no standby: name one, or take the setting out, and whole tables \
         are read on the server of store.postgres.url"
    )]
    Writes,
    /// It follows somebody else.
    #[error(
        "the server of store.postgres.replica_url is a standby of another server than that of store.postgres.url"
    )]
    OfAnother,
    /// It follows nobody.
    #[error("the replica (store.postgres.replica_url) has come no nearer for {} s: see whether it replicates",
        STANDS_STILL_AFTER.as_secs())]
    StandsStill,
}

/// Sessions with a standby; cheap to clone.
#[derive(Clone)]
pub(super) struct Standby(Connections);

impl Standby {
    pub(super) fn of(options: PostgresStoreOptions) -> Self {
        Self(Connections::new(options))
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

    async fn behind(&self, primary: &Connections) -> Result<Option<i64>, StoreError> {
        let written = primary.run(Written).await?;
        let seen = self.0.run(Replayed(written.place)).await?;
        seen.distance(&written.cluster).map_err(refused)
    }

    /// Its sessions, wherever it stands.
    pub(super) fn sessions(&self) -> &Connections {
        &self.0
    }

    /// Its sessions, once it has whatever had been committed on `primary` when this was called.
    pub(super) async fn caught_up(&self, primary: &Connections) -> Result<&Connections, StoreError> {
        let written = primary.run(Written).await?;
        let mut nearest = i64::MAX;
        let mut since = Instant::now();
        loop {
            let seen = self.0.run(Replayed(written.place.clone())).await?;
            match seen.distance(&written.cluster).map_err(refused)? {
                Some(behind) if behind <= 0 => return Ok(&self.0),
                Some(behind) if behind < nearest => (nearest, since) = (behind, Instant::now()),
                _ if since.elapsed() > STANDS_STILL_AFTER => {
                    return Err(refused(StandbyError::StandsStill));
                }
                _ => {}
            }
            tokio::time::sleep(LOOKED_AT_EVERY).await;
        }
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
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

/// Asks up to where the server has written.
struct Written;

/// Where a server is.
struct Position {
    /// The cluster that it is of.
    cluster: String,
    /// A place in its log, as it writes one.
    place: String,
}

impl Work for Written {
    type Output = Position;
    const ACTION: &'static str = "asking what the replica must have";
    const BEGIN: &'static str = statements::BEGIN_SNAPSHOT;

    async fn run(self, session: &mut Session) -> Result<End<Position>, sqlx::Error> {
        let row = session.read_one(statements::WRITTEN).await?;
        Ok(End::Rollback(Position { cluster: row.try_get(0)?, place: row.try_get(1)? }))
    }
}

/// Asks how far behind a place of the log the server is.
struct Replayed(String);

/// What a server that is taken for a standby says.
struct Seen {
    cluster: String,
    is_standby: bool,
    /// Bytes of the log that it lacks; none while it replays nothing.
    behind: Option<i64>,
}

impl Seen {
    /// How far it is behind, if it is what it is taken for.
    fn distance(&self, cluster: &str) -> Result<Option<i64>, StandbyError> {
        if self.cluster != cluster {
            Err(StandbyError::OfAnother)
        } else if self.is_standby {
            Ok(self.behind)
        } else {
            Err(StandbyError::Writes)
        }
    }
}

impl Work for Replayed {
    type Output = Seen;
    const ACTION: &'static str = "waiting until the replica has what the server has";
    const BEGIN: &'static str = statements::BEGIN_SNAPSHOT;

    async fn run(self, session: &mut Session) -> Result<End<Seen>, sqlx::Error> {
        let mut arguments = PgArguments::default();
        arguments.add(self.0).map_err(sqlx::Error::Encode)?;
        let rows = session.read(statements::REPLAYED, arguments).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let (cluster, is_standby, behind) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(End::Rollback(Seen { cluster, is_standby, behind }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(cluster: &str, is_standby: bool, behind: Option<i64>) -> Seen {
        Seen { cluster: cluster.to_owned(), is_standby, behind }
    }

    #[test]
    fn only_a_standby_of_the_same_cluster_is_waited_for() {
        assert_eq!(seen("a", true, Some(7)).distance("a"), Ok(Some(7)));
        assert_eq!(seen("a", true, None).distance("a"), Ok(None));
        assert_eq!(seen("a", false, Some(0)).distance("a"), Err(StandbyError::Writes));
        for is_standby in [false, true] {
            assert_eq!(seen("b", is_standby, Some(0)).distance("a"), Err(StandbyError::OfAnother));
        }
    }
}
