//! What is done with deliveries within one transaction.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::account::{LogPartition, Timestamp};
use crate::store::decode_delivery as decode;
use crate::store::stored::storable;
use crate::store::{
    Attendance, Breaker, Cause, Changed, Claim, End, EndpointState, FrontierStep, Leased, Line,
    NewDelivery, ProcessId, Settled,
};

use super::super::rows::Rows;
use super::super::writer::Write;
use super::{rows, statements};

/// Records what came from the topic.
pub(super) struct Record {
    frontiers: Rows,
    logs: Vec<LogPartition>,
    deliveries: Rows,
    attempts: Rows,
    now: Timestamp,
}

impl Record {
    /// None when there is nothing to record.
    pub(super) fn of(
        new: &[NewDelivery],
        steps: &[FrontierStep],
        now: Timestamp,
    ) -> Result<Option<Self>, Cause> {
        if new.is_empty() && steps.is_empty() {
            return Ok(None);
        }
        let attempted = new.iter().map(|new| (&new.key, new.ending, new.attempt.as_ref()));
        let attempts = rows::failed_attempts(attempted)?;
        Ok(Some(Self {
            frontiers: rows::frontiers(steps)?,
            logs: steps.iter().map(|step| step.log).collect(),
            deliveries: rows::record(new)?,
            attempts,
            now,
        }))
    }
}

impl Write for Record {
    type Output = Vec<LogPartition>;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Self::Output>, sqlx::Error> {
        let mut unmoved = self.logs;
        if self.frontiers.count > 0 {
            let moved = sqlx::query(statements::MOVE_FRONTIERS).bind(self.frontiers.json);
            for row in moved.fetch_all(&mut *transaction).await? {
                let moved = decode::log_partition(&row)?;
                unmoved.retain(|log| *log != moved);
            }
        }
        if !unmoved.is_empty() {
            return Ok(End::Rollback(unmoved));
        }
        if self.deliveries.count > 0 {
            sqlx::query(statements::RECORD)
                .bind(self.deliveries.json)
                .bind(self.now.unix_millis())
                .execute(&mut *transaction)
                .await?;
        }
        insert_attempts(transaction, self.attempts).await?;
        Ok(End::Commit(Vec::new()))
    }
}

/// Leases what is due.
pub(super) struct ClaimDue {
    pub(super) claims: Vec<Claim>,
    pub(super) now: Timestamp,
    pub(super) until: Timestamp,
}

impl Write for ClaimDue {
    type Output = Vec<Leased>;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Vec<Leased>>, sqlx::Error> {
        let mut due: Vec<(i64, Leased)> = Vec::new();
        for claim in self.claims {
            let rows = sqlx::query(statements::DUE)
                .bind(claim.endpoint.as_str().to_owned())
                .bind(storable(claim.limit as u64))
                .bind(self.now.unix_millis())
                .fetch_all(&mut *transaction)
                .await?;
            for row in &rows {
                due.push((row.try_get("id")?, decode::leased(row)?));
            }
        }
        let (ids, leased): (Vec<i64>, Vec<Leased>) = due.into_iter().unzip();
        let ids = Rows::of(&ids).map_err(|cause| sqlx::Error::Encode(cause.into()))?;
        if ids.count > 0 {
            sqlx::query(statements::LEASE)
                .bind(ids.json)
                .bind(self.until.unix_millis())
                .execute(transaction)
                .await?;
        }
        Ok(End::Commit(leased))
    }
}

/// Ends leases.
pub(super) struct Settle {
    settled: Rows,
    attempts: Rows,
    now: Timestamp,
}

impl Settle {
    /// None when there is nothing to settle.
    pub(super) fn of(settled: &[Settled], now: Timestamp) -> Result<Option<Self>, Cause> {
        if settled.is_empty() {
            return Ok(None);
        }
        let attempted =
            settled.iter().map(|settled| (&settled.key, settled.ending, settled.attempt.as_ref()));
        Ok(Some(Self {
            settled: rows::settle(settled)?,
            attempts: rows::failed_attempts(attempted)?,
            now,
        }))
    }
}

impl Write for Settle {
    type Output = ();

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<()>, sqlx::Error> {
        let settled = sqlx::query(statements::SETTLE)
            .bind(self.settled.json)
            .bind(self.now.unix_millis())
            .fetch_all(&mut *transaction)
            .await?;
        let mut freed = Vec::new();
        for row in &settled {
            if row.try_get("frees_line")? {
                freed.push(decode::line(row)?);
            }
        }
        insert_attempts(transaction, self.attempts).await?;
        release(transaction, &freed, self.now).await?;
        Ok(End::Commit(()))
    }
}

/// Reports a process.
pub(super) struct Attend {
    pub(super) process: ProcessId,
    pub(super) now: Timestamp,
    pub(super) until: Timestamp,
}

impl Write for Attend {
    type Output = Attendance;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Attendance>, sqlx::Error> {
        let id = self.process.0.as_bytes().to_vec();
        for (statement, at) in [(statements::REPORT, self.until), (statements::FORGET_GONE, self.now)] {
            let statement = sqlx::query(statement).bind(id.clone()).bind(at.unix_millis());
            statement.execute(&mut *transaction).await?;
        }
        let row = sqlx::query(statements::ATTENDANCE).bind(id).fetch_one(transaction).await?;
        let processes = decode::processes(&row)?;
        Ok(End::Commit(Attendance { processes, is_first: row.try_get("is_first")? }))
    }
}

/// Tells since when endpoints are configured.
pub(super) struct Register(pub(super) Rows);

impl Write for Register {
    type Output = ();

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<()>, sqlx::Error> {
        sqlx::query(statements::REGISTER).bind(self.0.json).execute(transaction).await?;
        Ok(End::Commit(()))
    }
}

/// Changes an endpoint's state.
pub(super) struct Change(pub(super) EndpointState);

impl Write for Change {
    type Output = Changed;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Changed>, sqlx::Error> {
        let state = self.0;
        let (since, probe_at, probes) = match state.breaker {
            Breaker::Closed => (None, None, 0),
            Breaker::Open { since, probe_at, probes } => {
                (Some(since.unix_millis()), Some(probe_at.unix_millis()), probes)
            }
        };
        let result = sqlx::query(statements::CHANGE_ENDPOINT)
            .bind(state.name.as_str().to_owned())
            .bind(state.availability.as_str())
            .bind(state.reason)
            .bind(since)
            .bind(probe_at)
            .bind(probes)
            .bind(state.changed_at.unix_millis())
            .bind(storable(state.version))
            .execute(transaction)
            .await?;
        let is_late = result.rows_affected() == 0;
        Ok(End::Commit(if is_late { Changed::TooLate } else { Changed::Done }))
    }
}

async fn insert_attempts(transaction: &mut SqliteConnection, attempts: Rows) -> Result<(), sqlx::Error> {
    if attempts.count > 0 {
        sqlx::query(statements::INSERT_ATTEMPTS).bind(attempts.json).execute(transaction).await?;
    }
    Ok(())
}

/// Makes what is next in these lines due, unless something in them is parked; tells in how many it did.
pub(super) async fn release(
    transaction: &mut SqliteConnection,
    lines: &[Line],
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let freed = rows::lines(lines).map_err(sqlx::Error::Encode)?;
    if freed.count == 0 {
        return Ok(0);
    }
    let release = sqlx::query(statements::RELEASE).bind(freed.json).bind(now.unix_millis());
    Ok(release.execute(transaction).await?.rows_affected())
}
