//! One session with the server, and the one way to run a statement on it.
//!
//! A prepared statement's name belongs to a session of the server. Behind a pooler that hands those out by
//! transaction and does not follow names, somebody else has taken the name already. So nothing but this
//! has the connection, and whatever runs on it is named only where names are kept.

use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::options::PostgresStoreOptions;

/// How old a session may become: so that a new password, certificate or address is taken up.
const MAX_AGE: Duration = Duration::from_mins(30);
/// How long a session may be unused: what stands in between forgets an idle connection without a word,
/// clouds after four minutes.
const MAX_IDLE: Duration = Duration::from_mins(1);
/// The first server that bounds whole transactions, as `server_version_num` has it.
const BOUNDS_TRANSACTIONS: u32 = 170_000;

/// A session of this process's own.
pub(super) struct Session {
    connection: PgConnection,
    /// Whether statements are prepared under names and kept.
    named: bool,
    opened: Instant,
    used: Instant,
}

impl Session {
    /// A new one.
    pub(super) async fn open(options: &PostgresStoreOptions) -> Result<Self, sqlx::Error> {
        let connection = options.connect().await?;
        let (named, now) = (options.statement_cache > 0, Instant::now());
        Ok(Self { connection, named, opened: now, used: now })
    }

    /// Whether it is worth another try: neither old nor long unused.
    pub(super) fn is_fresh(&self) -> bool {
        is_fresh(self.opened.elapsed(), self.used.elapsed())
    }

    /// Begins a transaction under the server's own limits, which are its alone, so that a pooler which
    /// hands out sessions by transaction carries them.
    pub(super) async fn begin(
        &mut self,
        begin: &'static str,
        options: &PostgresStoreOptions,
    ) -> Result<(), sqlx::Error> {
        let version = self.connection.server_version_num();
        let is_bounded = version.is_some_and(|version| version >= BOUNDS_TRANSACTIONS);
        let limits = options.transaction_limits(is_bounded);
        self.command(AssertSqlSafe(format!("{begin}; {limits}"))).await
    }

    /// Keeps what the transaction wrote.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.command("COMMIT").await
    }

    /// Keeps nothing of it.
    pub(super) async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        self.command("ROLLBACK").await
    }

    /// Runs a statement; tells how many rows it wrote.
    pub(super) async fn write(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_with(statement, arguments).persistent(self.named);
        Ok(query.execute(&mut self.connection).await?.rows_affected())
    }

    /// Runs a statement; returns the rows it found.
    pub(super) async fn read(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let query = sqlx::query_with(statement, arguments).persistent(self.named);
        query.fetch_all(&mut self.connection).await
    }

    /// Runs a statement without parameters that finds one row.
    pub(super) async fn read_one(&mut self, statement: &'static str) -> Result<PgRow, sqlx::Error> {
        let query = sqlx::query(statement).persistent(self.named);
        query.fetch_one(&mut self.connection).await
    }

    /// Applies migrations. Their tool names its statements, so this needs a session of the server itself.
    pub(super) async fn migrate(&mut self, migrator: &Migrator) -> Result<(), MigrateError> {
        migrator.run_direct(None, &mut self.connection, false).await
    }

    /// Runs statements without parameters, which have no names.
    pub(super) async fn command(
        &mut self,
        statements: impl sqlx::SqlSafeStr + Send,
    ) -> Result<(), sqlx::Error> {
        self.connection.execute(sqlx::raw_sql(statements)).await.map(drop)
    }

    /// Marks it as used now.
    pub(super) fn touch(&mut self) {
        self.used = Instant::now();
    }

    /// Says good-bye. The server notices either way.
    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }
}

fn is_fresh(age: Duration, idle: Duration) -> bool {
    age < MAX_AGE && idle < MAX_IDLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_old_or_was_idle_for_a_minute_is_not_used_again() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
        assert!(is_fresh(29 * minute, 59 * second));
        assert!(!is_fresh(2 * minute, minute));
        assert!(!is_fresh(30 * minute, second));
    }
}
