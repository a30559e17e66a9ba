//! A look at the server for an operator: whether it answers, whether schema, rights and settings are as
//! they must be. Nothing is written.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::account::Timestamp;
use crate::telemetry::{Finding, clock_finding};

use super::error;
use super::options::PostgresStoreOptions;
use super::{schema, statements};

/// Looks at the server of a URL.
pub async fn examine(options: &PostgresStoreOptions) -> Vec<Finding> {
    let subject = "postgres: schema";
    let mut connection = match schema::check(options).await {
        Ok(connection) => connection,
        Err(error) => return vec![Finding::of("postgres: server and schema", Err::<String, _>(error))],
    };
    let mut findings = vec![Finding::fine(subject, "up to date")];
    match look(&mut connection, options).await {
        Ok(found) => findings.extend(found),
        Err(error) => {
            let cause = error::cause(error);
            findings
                .push(Finding::wrong("postgres: server", format!("it cannot be looked at: {cause}")));
        }
    }
    findings
}

async fn look(
    connection: &mut PgConnection,
    options: &PostgresStoreOptions,
) -> Result<Vec<Finding>, sqlx::Error> {
    let before = Timestamp::from(SystemTime::now()).unix_millis();
    let server = sqlx::query(statements::EXAMINE_SERVER).fetch_one(&mut *connection).await?;
    let after = Timestamp::from(SystemTime::now()).unix_millis();
    let version: String = server.try_get("version")?;
    let mut findings = vec![Finding::fine("postgres: server", format!("version {version}"))];
    let now_ms: i64 = server.try_get("now_ms")?;
    findings.push(clock_finding("postgres: clock", now_ms - before.midpoint(after)));
    findings.push(writable(server.try_get("read_only")?));
    findings.extend(durability(server.try_get("fsync")?, server.try_get("synchronous_commit")?));
    let free: i64 = server.try_get("free_connections")?;
    findings.push(room(free, options.max_connections));
    findings.push(rights(connection).await?);
    Ok(findings)
}

fn writable(read_only: bool) -> Finding {
    let subject = "postgres: writable";
    if read_only {
        Finding::wrong(subject, "the server only reads (a standby, or told to): name the primary")
    } else {
        Finding::fine(subject, "yes")
    }
}

fn durability(fsync: bool, synchronous_commit: &str) -> Vec<Finding> {
    let subject = "postgres: durability";
    let advice = "a crash of the server loses what was acknowledged; set it to on";
    let mut findings = Vec::new();
    if !fsync {
        findings.push(Finding::wrong(subject, format!("fsync is off: {advice}")));
    }
    if synchronous_commit == "off" {
        findings.push(Finding::wrong(subject, format!("synchronous_commit is off: {advice}")));
    }
    if findings.is_empty() {
        let told = format!("fsync is on, synchronous_commit is {synchronous_commit}");
        findings.push(Finding::fine(subject, told));
    }
    findings
}

fn room(free: i64, wanted: usize) -> Finding {
    let subject = "postgres: connections";
    let told = format!("{free} are free, this process takes up to {wanted}");
    if usize::try_from(free).is_ok_and(|free| free >= wanted) {
        Finding::fine(subject, told)
    } else {
        let advice = "raise the server's max_connections, or lower store.postgres.max_connections";
        Finding::warning(subject, format!("{told}: {advice}"))
    }
}

/// Whether the user may do with every table what the roles do with it.
async fn rights(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let subject = "postgres: rights";
    let mut missing = Vec::new();
    for (table, right) in statements::NEEDED_RIGHTS {
        let asked = sqlx::query_scalar(statements::HAS_RIGHT).bind(table).bind(right);
        let is_granted: bool = asked.fetch_one(&mut *connection).await?;
        if !is_granted {
            missing.push(format!("{right} on {table}"));
        }
    }
    Ok(if missing.is_empty() {
        Finding::fine(subject, "the user may read and write every table")
    } else {
        Finding::wrong(subject, format!("the user lacks {}; grant it", missing.join(", ")))
    })
}
