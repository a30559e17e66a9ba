//! The one connection that writes to a file. Its user takes it for a transaction and puts it back
//! when that went well; after a failure it is gone, and the next one is new: what state a failure
//! leaves a connection in is not worth guessing.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row, SqlitePool};

use super::file::{Company, Database, WAL_LIMIT_BYTES, has_wal};
use super::mark;

/// How long closing waits for reads that have begun.
const READS_END_WITHIN: Duration = Duration::from_secs(5);

/// The writing connection, and what is needed to open it again.
pub(crate) struct Writing {
    database: Database,
    readers: SqlitePool,
    connection: Option<SqliteConnection>,
    /// The write-ahead log's size at which it is made to move to the file.
    checkpoint_at_bytes: u64,
    is_marked: bool,
    /// Whether somebody reads for so long that it does not move.
    is_held_up: bool,
}

impl Writing {
    /// Opens nothing yet.
    pub(crate) fn new(database: Database, readers: SqlitePool) -> Self {
        Self {
            database,
            readers,
            connection: None,
            checkpoint_at_bytes: WAL_LIMIT_BYTES,
            is_marked: false,
            is_held_up: false,
        }
    }

    /// The file.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The connection, if the last transaction went well.
    pub(crate) fn take(&mut self) -> Option<SqliteConnection> {
        self.connection.take()
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.database.connect_writer().await
    }

    /// Marks the file as in use, once it has a write-ahead log.
    fn mark_in_use(&mut self) {
        let path = self.database.path();
        if self.is_marked || self.database.company() == Company::Beside || !has_wal(path) {
            return;
        }
        self.is_marked = true;
        if let Err(cause) = mark::set(path) {
            // Only a write-ahead log that goes lost is not noticed without it.
            tracing::warn!(file = %path.display(), %cause, "not marked as in use");
        }
    }

    /// Keeps the connection for the next transaction.
    pub(crate) async fn put_back(&mut self, mut connection: SqliteConnection) {
        self.mark_in_use();
        self.bound_wal(&mut connection).await;
        self.connection = Some(connection);
    }

    /// `SQLite` reuses its write-ahead log only at moments without readers, which a busy file may
    /// not have for long. Past its limit, this waits for such a moment.
    async fn bound_wal(&mut self, connection: &mut SqliteConnection) {
        let bytes = self.database.wal_bytes();
        if bytes <= self.checkpoint_at_bytes || self.database.company() == Company::Beside {
            return;
        }
        let file = self.database.path().display();
        match checkpoint(connection).await {
            Ok(Moved::All) => self.is_held_up = false,
            Ok(Moved::HeldUp) if self.is_held_up => {}
            Ok(Moved::HeldUp) => {
                self.is_held_up = true;
                tracing::warn!(
                    %file,
                    bytes,
                    "the write-ahead log grows, as somebody reads the file for long: a backup, or a sqlite3 \
                     shell. End that before the disk is full"
                );
            }
            Err(cause) => tracing::warn!(%file, bytes, %cause, "checkpoint failed"),
        }
        // If a reader would not end, the next attempt is worth its wait only much later.
        self.checkpoint_at_bytes = self.database.wal_bytes() + WAL_LIMIT_BYTES;
    }

    /// Ends reading, moves what the write-ahead log holds into the file, and closes. Beside another
    /// process it only closes: moving would have that one wait.
    pub(crate) async fn close(self) {
        if tokio::time::timeout(READS_END_WITHIN, self.readers.close()).await.is_err() {
            tracing::warn!(file = %self.database.path().display(), "closing while somebody reads");
        }
        let Some(mut connection) = self.connection else { return };
        let moved = match self.database.company() {
            Company::Alone => checkpoint(&mut connection).await.map(drop),
            Company::Beside => Ok(()),
        };
        let path = self.database.path();
        if let Err(cause) = moved.and(connection.close().await) {
            // Nothing is lost: the log stays beside the file and is read when it is opened again.
            tracing::warn!(file = %path.display(), %cause, "not closed cleanly");
        }
        // Whoever closes last has moved the log into the file; a process that was killed has left the mark.
        if !has_wal(path)
            && let Err(cause) = mark::remove(path)
        {
            tracing::warn!(file = %path.display(), %cause, "the mark of a file in use stays");
        }
    }
}

/// What a checkpoint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// The write-ahead log is empty.
    All,
    /// Somebody reads what it holds.
    HeldUp,
}

/// Moves what the write-ahead log holds into the file.
pub(super) async fn checkpoint(connection: &mut SqliteConnection) -> Result<Moved, sqlx::Error> {
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await?;
    let is_busy: bool = row.try_get(0)?;
    Ok(if is_busy { Moved::HeldUp } else { Moved::All })
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;
    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};

    use super::*;

    #[tokio::test]
    async fn a_checkpoint_tells_whether_a_reader_holds_it_up() {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(directory.path().join("a.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::ZERO);
        let mut writer = options.connect().await.unwrap();
        let mut reader = options.connect().await.unwrap();
        sqlx::query("CREATE TABLE t (a)").execute(&mut writer).await.unwrap();
        let mut reading = reader.begin().await.unwrap();
        sqlx::query("SELECT * FROM t").fetch_all(&mut *reading).await.unwrap();
        sqlx::query("INSERT INTO t VALUES (1)").execute(&mut writer).await.unwrap();
        assert_eq!(checkpoint(&mut writer).await.unwrap(), Moved::HeldUp);
        reading.rollback().await.unwrap();
        assert_eq!(checkpoint(&mut writer).await.unwrap(), Moved::All);
    }
}
