//! What PostgreSQL reports, sorted by what the caller does next. Only SQLSTATEs count; texts change
//! with release and language.

use std::io;

use sqlx::postgres::PgDatabaseError;

use crate::store::{Cause, StoreError};

/// What a failed operation means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureClass {
    /// It may work later.
    Transient,
    /// A row of this operation can never be written.
    Row,
    /// It will not work without an operator.
    Fatal,
}

/// What the server said, without values of rows: the details of an error quote keys, and the messages
/// of data errors quote what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "PostgreSQL reports {sqlstate}{}{}",
    described(.message.as_deref(), .place.as_deref()),
    advice(.sqlstate)
)]
pub struct ServerError {
    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
    pub sqlstate: String,
    /// The server's words, where they cannot quote a row.
    pub message: Option<String>,
    /// The constraint, column or table it is about.
    pub place: Option<String>,
}

impl ServerError {
    fn of(error: &PgDatabaseError) -> Self {
        let sqlstate = error.code().to_owned();
        let quotes_rows = classify_sqlstate(&sqlstate) == FailureClass::Row;
        let place = error.constraint().or_else(|| error.column()).or_else(|| error.table());
        Self {
            message: (!quotes_rows).then(|| error.message().to_owned()),
            place: place.map(str::to_owned),
            sqlstate,
        }
    }
}

fn described(message: Option<&str>, place: Option<&str>) -> String {
    let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
    let message = message.map(|message| format!(": {message}")).unwrap_or_default();
    place + &message
}

/// What helps, where the code alone tells.
fn advice(sqlstate: &str) -> &'static str {
    match sqlstate {
        "42P05" | "26000" => {
            "; a pooler that hands out sessions by transaction is in between: set \
             store.postgres.statement_cache = 0"
        }
        _ => "",
    }
}

/// The error as the port tells it.
pub(super) fn store_error(action: &'static str, error: sqlx::Error) -> StoreError {
    let class = classify(&error);
    let cause = cause(error);
    match class {
        FailureClass::Transient => StoreError::Unavailable { action, cause },
        FailureClass::Row => StoreError::Poison { action, cause },
        FailureClass::Fatal => StoreError::Broken { action, cause },
    }
}

/// The error of what may work later, whatever the server says.
pub(super) fn unavailable(action: &'static str, error: sqlx::Error) -> StoreError {
    StoreError::Unavailable { action, cause: cause(error) }
}

/// The error without values of rows.
pub(super) fn cause(error: sqlx::Error) -> Cause {
    if let Some(server) = server_error(&error) {
        return Box::new(server);
    }
    match error {
        // These say no more than what they wrap.
        sqlx::Error::Io(cause) => Box::new(cause),
        sqlx::Error::Tls(cause) | sqlx::Error::Encode(cause) => cause,
        other => Box::new(other),
    }
}

/// Whether the session can go on once its transaction has been rolled back: the server refused a
/// statement, and nothing is wrong with itself or with the way to it.
pub(super) fn session_is_sound(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| {
        matches!(code.get(..2), Some("22" | "23" | "40" | "54"))
            || matches!(code.as_str(), "55P03" | "57014")
    })
}

/// Whether other sessions are likely as useless as the one that failed so.
pub(super) fn sessions_are_doubtful(error: &sqlx::Error) -> bool {
    !session_is_sound(error) && classify(error) == FailureClass::Transient
}

/// The server answers, and cannot be written to. What comes next gets a new session: after a failover the
/// same address leads to another server.
pub(super) fn only_reads() -> sqlx::Error {
    let told = "the server only reads (25006): it is a standby, or was told to";
    sqlx::Error::Io(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, told))
}

/// Whether the server does not take the password.
pub(super) fn password_is_refused(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| code == "28P01")
}

/// Whether a prepared statement's name met another session than the one it was given in.
pub(super) fn names_are_lost(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| matches!(code.as_str(), "42P05" | "26000"))
}

/// Whether a lock was not to be had in time, or two waited for each other.
pub(super) fn lock_was_not_free(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| matches!(code.as_str(), "55P03" | "40P01"))
}

fn server_error(error: &sqlx::Error) -> Option<ServerError> {
    let database = error.as_database_error()?;
    database.try_downcast_ref::<PgDatabaseError>().map(ServerError::of)
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

fn classify(error: &sqlx::Error) -> FailureClass {
    match error {
        sqlx::Error::Database(_) => {
            sqlstate(error).map_or(FailureClass::Fatal, |code| classify_sqlstate(&code))
        }
        sqlx::Error::Encode(_) => FailureClass::Row,
        // A protocol error is what a connection cut by a proxy looks like; the next one is another.
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed
        | sqlx::Error::WorkerCrashed => FailureClass::Transient,
        _ => FailureClass::Fatal,
    }
}

fn classify_sqlstate(code: &str) -> FailureClass {
    // A server that only reads (a standby, or told to); limits on idle transactions and on lock waits;
    // its disk.
    if matches!(code, "25006" | "25P03" | "25P04" | "55P03" | "58030") {
        return FailureClass::Transient;
    }
    match code.get(..2).unwrap_or_default() {
        // Connection; transaction rolled back; resources; cancelled or shutting down.
        "08" | "40" | "53" | "57" => FailureClass::Transient,
        // Data; constraint; limit.
        "22" | "23" | "54" => FailureClass::Row,
        // Authorization, database, syntax or rights, and whatever a release to come may add.
        _ => FailureClass::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_sorted_by_what_to_do_next() {
        let all = |codes: &[&str], class| {
            for code in codes {
                assert_eq!(classify_sqlstate(code), class, "{code}");
            }
        };
        all(&["08006", "08P01", "53100", "53300", "57P01", "57P03", "57014"], FailureClass::Transient);
        all(&["40001", "40P01", "55P03", "25006", "25P03", "58030"], FailureClass::Transient);
        all(&["22021", "22P05", "23502", "23514", "54000"], FailureClass::Row);
        all(&["28P01", "3D000", "42P01", "42501", "XX001", "0A000", "", "é"], FailureClass::Fatal);
    }

    #[test]
    fn what_a_server_error_says_names_its_place() {
        let error = ServerError {
            sqlstate: "23514".to_owned(),
            message: None,
            place: Some("communications_fingerprint_check".to_owned()),
        };
        assert_eq!(error.to_string(), "PostgreSQL reports 23514 at communications_fingerprint_check");
    }
}
