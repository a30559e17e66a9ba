//! The schema and its migrations.
//!
//! Roles never migrate. A release's migrations only add what the release before can live with (expand);
//! what no supported release needs is dropped by a later one (contract). So roles refuse a schema that
//! is older than they are, and run on a newer one: migrate first, then roll out; roll back freely.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, Row};

use crate::migrations::{self, POSTGRES_STORE};
use crate::store::{Cause, StoreError};

use super::error::{self, names_are_lost, store_error};
use super::options::PostgresStoreOptions;
use super::session::Session;
use super::statements;

/// The oldest server that is supported, as `server_version_num` has it.
const LEAST_SERVER: i32 = 150_000;

/// How long between two looks whether another migration has ended.
const TURN_WAIT: Duration = Duration::from_millis(200);
/// How often a step waits for a lock.
const LOCK_ATTEMPTS: u32 = 10;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// The URL does not parse.
    #[error(
        "store.postgres.url is no URL of a PostgreSQL server; write it as \
         postgres://user:password@host:5432/database"
    )]
    BadUrl,
    /// The URL names more than one server.
    #[error(
        "store.postgres.url names several servers; name the one that writes, or an address that leads to it"
    )]
    SeveralHosts,
    /// The URL has a parameter that would be ignored.
    #[error("store.postgres.url has a parameter {name}, which is not heeded; take it out: {instead}")]
    UnknownParameter {
        /// Its name.
        name: String,
        /// What there is in its place.
        instead: String,
    },
    /// The URL of the replica would be refused as that of the server.
    #[error("store.postgres.replica_url is refused as store.postgres.url would be")]
    Replica {
        /// Why.
        #[source]
        cause: Box<PostgresOpenError>,
    },
    /// A file that a setting names cannot be read.
    #[error("{setting} names {}, which cannot be read; check the path and its permissions", path.display())]
    File {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The server does not answer now; it may later.
    #[error(
        "PostgreSQL is not there ({action}); start it, or check the host and port of store.postgres.url"
    )]
    Unreachable {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
    /// The server does not let us in, or not do what is needed.
    #[error(
        "PostgreSQL refuses ({action}); check the user, password, database and sslmode of store.postgres.url"
    )]
    Refused {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
    /// A pooler in between does not follow prepared statements.
    #[error(
        "a pooler that hands out sessions by transaction is between penstock and PostgreSQL ({action}): set \
         store.postgres.statement_cache = 0; `penstock migrate` needs the URL of the server itself"
    )]
    Pooler {
        /// What was tried.
        action: &'static str,
        /// What the server says.
        #[source]
        cause: Cause,
    },
    /// The server is too old.
    #[error("the PostgreSQL server has version {}; 15 or later is needed", .found / 10_000)]
    OldServer {
        /// Its `server_version_num`.
        found: i32,
    },
    /// The database cannot hold every text.
    #[error("the database's encoding is {found}; create one with ENCODING 'UTF8'")]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// The schema is older than this release, or there is none.
    #[error(
        "the store's schema has version {found}, this release needs {needed}; run `penstock migrate` \
         with the same configuration, then start again"
    )]
    OldSchema {
        /// Its version; 0 when there is no schema.
        found: i64,
        /// The version this release needs.
        needed: i64,
    },
    /// The schema could not be brought up to date.
    #[error("the store's schema cannot be brought up to date; nothing of the failed step was kept")]
    Migration {
        /// Why.
        #[source]
        cause: Cause,
    },
}

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The schema's version before; 0 when there was none.
    pub from: i64,
    /// The schema's version now.
    pub to: i64,
}

/// Brings the schema up to date; says what it did. Needs a session of its own, so no pooler that hands
/// out sessions by transaction in between: a lock of the session keeps two migrations apart.
pub async fn migrate(options: &PostgresStoreOptions) -> Result<Migrated, PostgresOpenError> {
    options.check().await?;
    let mut session = connect(options).await?;
    check_server(&mut session).await?;
    take_turn(&mut session).await?;
    let from = version(&mut session).await?;
    // Steps bound their waits themselves; an index that is built beside others' work waits for them all.
    session.command(statements::NO_LIMITS).await.map_err(refused("lifting its limits"))?;
    bring_up_to_date(&mut session, options).await?;
    let to = version(&mut session).await?;
    session.close().await;
    Ok(Migrated { from, to })
}

/// Waits until no other migration is under way. It asks again and again instead of waiting within a
/// statement: an index that is built beside others' work waits for every statement that has begun.
async fn take_turn(session: &mut Session) -> Result<(), PostgresOpenError> {
    let action = "waiting for another migration";
    loop {
        let row = session.read_one(statements::TRY_MIGRATION_LOCK).await.map_err(refused(action))?;
        if row.try_get(0).map_err(refused(action))? {
            return Ok(());
        }
        tokio::time::sleep(TURN_WAIT).await;
    }
}

/// Applies what is missing. A step that waits for a lock has everybody else wait behind it, so it waits for
/// a short time only, and is tried again a few times.
async fn bring_up_to_date(
    session: &mut Session,
    options: &PostgresStoreOptions,
) -> Result<(), PostgresOpenError> {
    let mut migrator = migrations::migrator(POSTGRES_STORE);
    migrator.set_locking(false);
    // A later release may have been here; its steps are none of ours.
    migrator.set_ignore_missing(true);
    let mut attempts = 0;
    loop {
        drop_unfinished(session).await?;
        let Err(error) = session.migrate(&migrator).await else { return Ok(()) };
        attempts += 1;
        let cause = match error {
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause,
            other => return Err(PostgresOpenError::Migration { cause: Box::new(other) }),
        };
        if names_are_lost(&cause) {
            return Err(pooler("bringing the schema up to date", cause));
        }
        if !error::lock_was_not_free(&cause) || attempts == LOCK_ATTEMPTS {
            return Err(PostgresOpenError::Migration { cause: error::cause(cause) });
        }
        tracing::warn!(attempts, "a step of the migration waits for a lock; trying again");
        tokio::time::sleep(options.lock_timeout).await;
    }
}

/// Drops indexes whose building was cut off: the server keeps them, and uses them for nothing.
async fn drop_unfinished(session: &mut Session) -> Result<(), PostgresOpenError> {
    let action = "looking for unfinished indexes";
    let unfinished = session.read(statements::UNFINISHED_INDEXES, PgArguments::default());
    for row in unfinished.await.map_err(refused(action))? {
        let drop: String = row.try_get(0).map_err(refused(action))?;
        session.command(AssertSqlSafe(drop)).await.map_err(refused("dropping an unfinished index"))?;
    }
    Ok(())
}

/// Sees that the store can be used.
pub(super) async fn check(options: &PostgresStoreOptions) -> Result<Session, PostgresOpenError> {
    options.check().await?;
    let mut session = connect(options).await?;
    check_server(&mut session).await?;
    let found = version(&mut session).await?;
    let needed = needed();
    if found < needed {
        return Err(PostgresOpenError::OldSchema { found, needed });
    }
    if found > needed {
        tracing::info!(found, known = needed, "the store's schema is a later release's; going on");
    }
    Ok(session)
}

/// The version of the schema this release needs.
fn needed() -> i64 {
    migrations::newest(POSTGRES_STORE)
}

async fn connect(options: &PostgresStoreOptions) -> Result<Session, PostgresOpenError> {
    Session::open(options).await.map_err(refused("connecting"))
}

async fn check_server(session: &mut Session) -> Result<(), PostgresOpenError> {
    let action = "asking for its version";
    let row = session.read_one(statements::SERVER).await.map_err(refused(action))?;
    let found: i32 = row.try_get(0).map_err(refused(action))?;
    let encoding: String = row.try_get(1).map_err(refused(action))?;
    if found < LEAST_SERVER {
        return Err(PostgresOpenError::OldServer { found });
    }
    if encoding != "UTF8" {
        return Err(PostgresOpenError::Encoding { found: encoding });
    }
    Ok(())
}

async fn version(session: &mut Session) -> Result<i64, PostgresOpenError> {
    let action = "asking for the schema's version";
    let row = session.read_one(statements::HAS_SCHEMA).await.map_err(refused(action))?;
    if !row.try_get::<bool, _>(0).map_err(refused(action))? {
        return Ok(0);
    }
    let row = session.read_one(statements::SCHEMA_VERSION).await.map_err(refused(action))?;
    row.try_get(0).map_err(refused(action))
}

fn refused(action: &'static str) -> impl FnOnce(sqlx::Error) -> PostgresOpenError {
    move |error| {
        if names_are_lost(&error) {
            return pooler(action, error);
        }
        match store_error(action, error) {
            StoreError::Unavailable { action, cause } => {
                PostgresOpenError::Unreachable { action, cause }
            }
            StoreError::Poison { action, cause } | StoreError::Broken { action, cause } => {
                PostgresOpenError::Refused { action, cause }
            }
        }
    }
}

fn pooler(action: &'static str, error: sqlx::Error) -> PostgresOpenError {
    PostgresOpenError::Pooler { action, cause: error::cause(error) }
}
