//! The schema and its migrations.
//!
//! Roles never migrate. A release's migrations only add what the release before can live with (expand);
//! what no supported release needs is dropped by a later one (contract). So roles refuse a schema that
//! is older than they are, and run on a newer one: migrate first, then roll out; roll back freely.

use std::io;
use std::path::PathBuf;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;

use crate::store::{Cause, StoreError};

use super::error::{self, store_error};
use super::options::PostgresStoreOptions;
use super::statements;

/// The oldest server that is supported, as `server_version_num` has it.
const LEAST_SERVER: i32 = 150_000;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// The URL does not parse.
    #[error(
        "store.postgres.url is no URL of a PostgreSQL server; write it as \
         postgres://user:password@host:5432/database"
    )]
    BadUrl,
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
    let mut connection = connect(options).await?;
    check_server(&mut connection).await?;
    let from = version(&mut connection).await?;
    migrator()
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|error| PostgresOpenError::Migration { cause: migration_cause(error) })?;
    let to = version(&mut connection).await?;
    Ok(Migrated { from, to })
}

/// Sees that the store can be used.
pub(super) async fn check(options: &PostgresStoreOptions) -> Result<PgConnection, PostgresOpenError> {
    options.check().await?;
    let mut connection = connect(options).await?;
    check_server(&mut connection).await?;
    let found = version(&mut connection).await?;
    let needed = needed();
    if found < needed {
        return Err(PostgresOpenError::OldSchema { found, needed });
    }
    if found > needed {
        tracing::info!(found, known = needed, "the store's schema is a later release's; going on");
    }
    Ok(connection)
}

/// The steps this release knows. A later one may have been here; its steps are none of ours.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres/store");
    migrator.set_ignore_missing(true);
    migrator
}

/// The version of the schema this release needs.
fn needed() -> i64 {
    migrator().iter().map(|migration| migration.version).max().unwrap_or(0)
}

async fn connect(options: &PostgresStoreOptions) -> Result<PgConnection, PostgresOpenError> {
    options.connect().await.map_err(refused("connecting"))
}

async fn check_server(connection: &mut PgConnection) -> Result<(), PostgresOpenError> {
    let (found, encoding): (i32, String) = sqlx::query_as(statements::SERVER)
        .fetch_one(connection)
        .await
        .map_err(refused("asking for its version"))?;
    if found < LEAST_SERVER {
        return Err(PostgresOpenError::OldServer { found });
    }
    if encoding != "UTF8" {
        return Err(PostgresOpenError::Encoding { found: encoding });
    }
    Ok(())
}

async fn version(connection: &mut PgConnection) -> Result<i64, PostgresOpenError> {
    let action = "asking for the schema's version";
    let exists: bool = sqlx::query_scalar(statements::HAS_SCHEMA)
        .fetch_one(&mut *connection)
        .await
        .map_err(refused(action))?;
    if !exists {
        return Ok(0);
    }
    sqlx::query_scalar(statements::SCHEMA_VERSION).fetch_one(connection).await.map_err(refused(action))
}

fn refused(action: &'static str) -> impl FnOnce(sqlx::Error) -> PostgresOpenError {
    move |error| match store_error(action, error) {
        StoreError::Unavailable { action, cause } => PostgresOpenError::Unreachable { action, cause },
        StoreError::Poison { action, cause } | StoreError::Broken { action, cause } => {
            PostgresOpenError::Refused { action, cause }
        }
    }
}

fn migration_cause(error: MigrateError) -> Cause {
    match error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => error::cause(cause),
        other => Box::new(other),
    }
}
