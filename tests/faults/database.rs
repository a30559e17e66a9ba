//! The database of a run, read and disturbed from outside.

use std::collections::{BTreeMap, BTreeSet};

use penstock::account::{EventId, Offset, Partition};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use uuid::Uuid;

use crate::checker::Stored;
use crate::checker::tables::{POSTGRES, Rows};

/// Where the database is.
#[derive(Clone)]
pub struct Database {
    url: String,
    name: String,
}

impl Database {
    /// `url` leads to it, `name` is its own.
    pub fn new(url: String, name: String) -> Self {
        Self { url, name }
    }

    /// A session of the test's own.
    pub async fn session(&self) -> anyhow::Result<PgConnection> {
        let options: PgConnectOptions = self.url.parse()?;
        Ok(options.application_name("faults").disable_statement_logging().connect().await?)
    }

    /// Runs statements in a session of their own.
    pub async fn run(&self, statements: &str) -> anyhow::Result<()> {
        let mut session = self.session().await?;
        session.execute(AssertSqlSafe(statements.to_owned())).await?;
        Ok(session.close().await?)
    }

    /// Creates the database from the server's own one.
    pub async fn create(&self, server: &Self, tablespace: &str) -> anyhow::Result<()> {
        server.run(&format!("CREATE DATABASE {} TABLESPACE {tablespace}", self.name)).await
    }

    /// Drops it, whoever uses it.
    pub async fn drop_from(&self, server: &Self) -> anyhow::Result<()> {
        server.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await
    }

    /// Ends every session of penstock's in it.
    pub async fn terminate_sessions(&self) -> anyhow::Result<()> {
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
    }

    /// Sessions that are in a transaction and do nothing.
    pub async fn idle_in_transaction(&self) -> anyhow::Result<i64> {
        let mut session = self.session().await?;
        Ok(sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&mut session)
        .await?)
    }

    /// The applied frontiers.
    pub async fn frontiers(&self) -> anyhow::Result<BTreeMap<Partition, Offset>> {
        let mut session = self.session().await?;
        let rows: Vec<(i32, i64)> = sqlx::query_as("SELECT partition, next_offset FROM frontiers")
            .fetch_all(&mut session)
            .await?;
        let typed = |(partition, offset): (i32, i64)| -> anyhow::Result<_> {
            Ok((Partition(u32::try_from(partition)?), Offset(u64::try_from(offset)?)))
        };
        rows.into_iter().map(typed).collect()
    }

    /// The events of outcomes that a replay has changed.
    pub async fn former_events(&self) -> anyhow::Result<BTreeSet<EventId>> {
        let mut session = self.session().await?;
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT event_id_before FROM outcome_changes WHERE event_id_before IS NOT NULL",
        )
        .fetch_all(&mut session)
        .await?;
        Ok(ids.into_iter().map(EventId).collect())
    }

    /// All tables as of one moment.
    pub async fn stored(&self) -> anyhow::Result<Stored> {
        let mut session = self.session().await?;
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let rows = Rows {
            ledger: texts(&mut session, POSTGRES.ledger).await?,
            rejections: texts(&mut session, POSTGRES.rejections).await?,
            accounts: texts(&mut session, POSTGRES.accounts).await?,
            frontiers: texts(&mut session, POSTGRES.frontiers).await?,
        };
        session.close().await?;
        rows.decode().map_err(anyhow::Error::msg)
    }
}

async fn texts(session: &mut PgConnection, query: &'static str) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar(query).fetch_all(session).await?)
}
