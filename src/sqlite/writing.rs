//! The one connection that writes to a file. Its user takes it for a transaction and puts it back
//! when that went well; after a failure it is gone, and the next one is new: what state a failure
//! leaves a connection in is not worth guessing.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, SqlitePool};

use super::file::{Company, Database, WAL_LIMIT_BYTES};

/// How long closing waits for reads that have begun.
const READS_END_WITHIN: Duration = Duration::from_secs(5);

/// The writing connection, and what is needed to open it again.
pub(crate) struct Writing {
    database: Database,
    readers: SqlitePool,
    connection: Option<SqliteConnection>,
    /// The write-ahead log's size at which it is made to move to the file.
    checkpoint_at_bytes: u64,
}

impl Writing {
    /// Opens nothing yet.
    pub(crate) fn new(database: Database, readers: SqlitePool) -> Self {
        Self { database, readers, connection: None, checkpoint_at_bytes: WAL_LIMIT_BYTES }
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

    /// Keeps the connection for the next transaction.
    pub(crate) async fn put_back(&mut self, mut connection: SqliteConnection) {
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
        match checkpoint(connection).await {
            Ok(()) => {}
            Err(cause) => {
                tracing::warn!(file = %self.database.path().display(), bytes, %cause, "checkpoint failed");
            }
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
            Company::Alone => checkpoint(&mut connection).await,
            Company::Beside => Ok(()),
        };
        if let Err(cause) = moved.and(connection.close().await) {
            // Nothing is lost: the log stays beside the file and is read when it is opened again.
            tracing::warn!(file = %self.database.path().display(), %cause, "not closed cleanly");
        }
    }
}

/// Moves what the write-ahead log holds into the file.
pub(super) async fn checkpoint(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(connection).await.map(drop)
}
