//! A look at the server for an operator: whether it answers, whether schema, rights and settings are as
//! they must be. Nothing is written and nothing locked.

use std::time::SystemTime;

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Row};

use crate::account::Timestamp;
use crate::telemetry::{Finding, clock_finding};

use super::connections::Connections;
use super::error;
use super::options::PostgresStoreOptions;
use super::session::Session;
use super::standby::Standby;
use super::statements::NeededRights;
use super::{schema, statements};

/// Looks at the server of a URL.
pub async fn examine(options: &PostgresStoreOptions) -> Vec<Finding> {
    let subject = "postgres: schema";
    let mut session = match schema::check(options).await {
        Ok(session) => session,
        Err(error) => return vec![Finding::of("postgres: server and schema", Err::<String, _>(error))],
    };
    let mut findings = vec![Finding::fine(subject, "up to date")];
    match look(&mut session, options).await {
        Ok(found) => findings.extend(found),
        Err(error) => {
            let cause = error::cause(error);
            findings
                .push(Finding::wrong("postgres: server", format!("it cannot be looked at: {cause}")));
        }
    }
    findings.extend(replica(options).await);
    findings
}

/// Looks at the server's replica, if there is to be one.
async fn replica(options: &PostgresStoreOptions) -> Option<Finding> {
    let standby = Standby::of(options.replica()?);
    let server = Connections::new(options.clone());
    let finding = standby.examine(&server).await;
    standby.close().await;
    server.close().await;
    Some(finding)
}

async fn look(
    session: &mut Session,
    options: &PostgresStoreOptions,
) -> Result<Vec<Finding>, sqlx::Error> {
    let before = Timestamp::from(SystemTime::now()).unix_millis();
    let server = session.read_one(statements::EXAMINE_SERVER).await?;
    let after = Timestamp::from(SystemTime::now()).unix_millis();
    let version: String = server.try_get("version")?;
    let mut findings = vec![Finding::fine("postgres: server", format!("version {version}"))];
    let now_ms: i64 = server.try_get("now_ms")?;
    findings.push(clock_finding("postgres: clock", now_ms - before.midpoint(after)));
    findings.push(writable(server.try_get("read_only")?));
    findings.extend(durability(server.try_get("fsync")?, server.try_get("synchronous_commit")?));
    let free: i64 = server.try_get("free_connections")?;
    findings.push(room(free, options.max_connections));
    for needed in &statements::NEEDED_RIGHTS {
        findings.push(rights(session, needed).await?);
    }
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

/// Whether the user may do with the tables what the roles do with them.
async fn rights(session: &mut Session, needed: &NeededRights) -> Result<Finding, sqlx::Error> {
    let each = |(table, rights): &(&'static str, &'static [&'static str])| {
        let table = *table;
        rights.iter().map(move |right| (table, *right))
    };
    let (tables, rights): (Vec<&str>, Vec<&str>) = needed.tables.iter().flat_map(each).unzip();
    let mut arguments = PgArguments::default();
    arguments.add(&tables).map_err(sqlx::Error::Encode)?;
    arguments.add(&rights).map_err(sqlx::Error::Encode)?;
    let rows = session.read(statements::HAS_RIGHTS, arguments).await?;
    let (mut missing, mut may_write) = (Vec::new(), false);
    for (row, (table, right)) in rows.iter().zip(tables.iter().zip(&rights)) {
        let is_granted: bool = row.try_get(0)?;
        may_write |= is_granted && *right != "SELECT";
        if !is_granted {
            missing.push(format!("{right} on {table}"));
        }
    }
    Ok(told_of_rights(needed, &missing, may_write))
}

/// A user who may write nothing that a role writes is not the one that role runs as, and one who may not run a
/// command need not be the one who does.
fn told_of_rights(needed: &NeededRights, missing: &[String], may_write: bool) -> Finding {
    let subject = format!("postgres: rights of {}", needed.role);
    if missing.is_empty() {
        return Finding::fine(subject, "the user may do with every table of it what is needed");
    }
    let lacks = format!("the user lacks {}", missing.join(", "));
    if needed.is_command {
        Finding::warning(subject, format!("{lacks}; grant it, unless another user runs that"))
    } else if may_write || !needed.writes() {
        Finding::wrong(subject, format!("{lacks}; grant it"))
    } else {
        Finding::warning(subject, format!("{lacks}; grant it, unless that role runs as another user"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Verdict;

    #[test]
    fn a_right_that_lacks_is_wrong_unless_the_user_is_another_roles() {
        let callbacks = &statements::NEEDED_RIGHTS[2];
        let verdict = |missing: &[&str], may_write| {
            let missing: Vec<String> = missing.iter().map(|right| (*right).to_owned()).collect();
            told_of_rights(callbacks, &missing, may_write).verdict
        };
        assert_eq!(verdict(&[], true), Verdict::Fine);
        assert_eq!(verdict(&["DELETE on deliveries"], true), Verdict::Wrong);
        assert_eq!(verdict(&["INSERT on deliveries"], false), Verdict::Warning);
        let replay = &statements::NEEDED_RIGHTS[3];
        let missing = ["DELETE on rejections".to_owned()];
        assert_eq!(told_of_rights(replay, &missing, true).verdict, Verdict::Warning);
    }
}
