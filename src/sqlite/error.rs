//! What `SQLite` reports, sorted by what the caller does next. Only result codes count; texts change.

use std::io;
use std::path::PathBuf;

use sqlx::migrate::MigrateError;

/// Why a database file cannot be used. None of them changes the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is another program's.
    #[error("{} is not a penstock {kind} file; move it away, or choose another data directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
    },
    /// The file is ours and unsound.
    #[error("{} is damaged ({reason}); restore it from a backup, or move it and its -wal file away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file was written by a later release.
    #[error(
        "{} has schema version {found}, this release knows {known}; use the release that wrote it or a later one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The last version this release knows.
        known: i64,
    },
    /// There is no file yet, and it is not this process's to create.
    #[error("{} does not exist; `penstock dev` makes it, and data_dir or --data-dir says where it is", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by an earlier release, and it is not this process's to bring up to date.
    #[error(
        "{} has schema version {found}, this release works with {known}; start `penstock dev` of this \
         release on it, which brings it up to date",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The version this release works with.
        known: i64,
    },
    /// A setting that is fixed when the file is created has another value now.
    #[error(
        "{} was created with {setting} = {stored}, now it is {configured}; configure {stored} again, \
         or start with an empty data directory",
        path.display()
    )]
    OtherSetting {
        /// The file.
        path: PathBuf,
        /// The setting.
        setting: &'static str,
        /// Its value when the file was created.
        stored: i64,
        /// Its value now.
        configured: i64,
    },
    /// A setting has a value that cannot be used.
    #[error("{setting} must be {allowed}")]
    BadSetting {
        /// The setting.
        setting: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// The file system refused.
    #[error("{} cannot be opened; check that disk and directory are writable", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// `SQLite` refused.
    #[error("{} cannot be opened ({action})", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What `SQLite` says.
        #[source]
        cause: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the schema of {} cannot be brought up to date", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: MigrateError,
    },
}

/// What a failed operation means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureClass {
    /// It may work later: disk full, file locked, I/O.
    Transient,
    /// A row of this operation can never be written.
    Row,
    /// It will not work without an operator.
    Fatal,
}

/// Sorts an error by `SQLite`'s primary result code.
pub(crate) fn classify(error: &sqlx::Error) -> FailureClass {
    match error {
        sqlx::Error::Database(database) => database
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .map_or(FailureClass::Fatal, classify_code),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => FailureClass::Transient,
        _ => FailureClass::Fatal,
    }
}

/// <https://www.sqlite.org/rescode.html>; the low byte of an extended code is its primary one.
fn classify_code(code: i32) -> FailureClass {
    const ABORT: i32 = 4;
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const NOMEM: i32 = 7;
    const READONLY: i32 = 8;
    const INTERRUPT: i32 = 9;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const PROTOCOL: i32 = 15;
    const TOOBIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    match code & 0xff {
        ABORT | BUSY | LOCKED | NOMEM | READONLY | INTERRUPT | IOERR | FULL | CANTOPEN | PROTOCOL => {
            FailureClass::Transient
        }
        TOOBIG | CONSTRAINT | MISMATCH => FailureClass::Row,
        // CORRUPT, NOTADB, SCHEMA, and whatever a release to come may add.
        _ => FailureClass::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_to_do_next() {
        let full_by_write = 778;
        let unique_violated = 2067;
        assert_eq!(classify_code(full_by_write), FailureClass::Transient);
        assert_eq!(classify_code(13), FailureClass::Transient);
        assert_eq!(classify_code(unique_violated), FailureClass::Row);
        assert_eq!(classify_code(11), FailureClass::Fatal);
        assert_eq!(classify_code(26), FailureClass::Fatal);
    }
}
