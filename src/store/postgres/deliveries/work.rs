//! What is done with deliveries within one transaction.

use sqlx::Row;
use sqlx::postgres::{PgArguments, PgRow};

use crate::account::{LogPartition, Timestamp};
use crate::store::decode_delivery as decode;
use crate::store::{
    Attendance, Cause, Changed, End, Ending, FrontierStep, KnownDeliveries, Leased, Line, NewDelivery,
    Settled,
};

use super::super::connections::Work;
use super::super::session::Session;
use super::super::statements::{BEGIN, BEGIN_SNAPSHOT};
use super::{rows, statements};

/// How often the heads of lines are held anew while they end.
const MAX_ROUNDS: u32 = 10;

/// Reads what is known.
pub(super) struct Look {
    pub(super) keys: Option<PgArguments>,
    pub(super) lines: Option<PgArguments>,
    pub(super) logs: Option<PgArguments>,
}

impl Work for Look {
    type Output = KnownDeliveries;
    const ACTION: &'static str = "looking up deliveries";
    const BEGIN: &'static str = BEGIN_SNAPSHOT;

    async fn run(self, snapshot: &mut Session) -> Result<End<KnownDeliveries>, sqlx::Error> {
        let mut known = KnownDeliveries::default();
        if let Some(keys) = self.keys {
            let rows = snapshot.read(statements::LOOK_KEYS, keys).await?;
            known.recorded = rows.iter().map(decode::key).collect::<Result<_, _>>()?;
        }
        if let Some(lines) = self.lines {
            let rows = snapshot.read(statements::LOOK_LINES, lines).await?;
            known.held = rows.iter().map(decode::line).collect::<Result<_, _>>()?;
        }
        if let Some(logs) = self.logs {
            let rows = snapshot.read(statements::FRONTIERS, logs).await?;
            let rows = rows.iter().map(decode::recorded_frontier).collect::<Result<_, _>>()?;
            known.frontiers = decode::recorded_frontiers(rows);
        }
        Ok(End::Commit(known))
    }
}

/// Records what came from the topic.
pub(super) struct Record {
    frontiers: Option<PgArguments>,
    logs: Vec<LogPartition>,
    heads: Option<PgArguments>,
    deliveries: Option<PgArguments>,
    attempts: Option<PgArguments>,
}

impl Record {
    /// None when there is nothing to record.
    pub(super) fn of(
        new: &[NewDelivery],
        steps: &[FrontierStep],
        now: Timestamp,
    ) -> Result<Option<Self>, Cause> {
        let (deliveries, frontiers) = (rows::record(new, now)?, rows::frontiers(steps)?);
        if deliveries.is_none() && frontiers.is_none() {
            return Ok(None);
        }
        let is_parked = |new: &&NewDelivery| matches!(new.ending, Ending::Parked { .. });
        let lines: Vec<Line> =
            new.iter().filter(|new| new.is_ordered).filter(is_parked).map(NewDelivery::line).collect();
        let attempted = new.iter().map(|new| (&new.key, new.ending, new.attempt.as_ref()));
        let attempts = rows::failed_attempts(attempted)?;
        let logs = steps.iter().map(|step| step.log).collect();
        Ok(Some(Self { frontiers, logs, heads: rows::lines(&lines)?, deliveries, attempts }))
    }
}

impl Work for Record {
    type Output = Vec<LogPartition>;
    const ACTION: &'static str = "recording deliveries";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<Self::Output>, sqlx::Error> {
        let mut unmoved = self.logs;
        if let Some(frontiers) = self.frontiers {
            for row in transaction.read(statements::MOVE_FRONTIERS, frontiers).await? {
                let moved = decode::log_partition(&row)?;
                unmoved.retain(|log| *log != moved);
            }
        }
        if !unmoved.is_empty() {
            return Ok(End::Rollback(unmoved));
        }
        if let Some(heads) = self.heads {
            hold(transaction, heads).await?;
        }
        if let Some(deliveries) = self.deliveries {
            transaction.write(statements::RECORD, deliveries).await?;
        }
        if let Some(attempts) = self.attempts {
            transaction.write(statements::INSERT_ATTEMPTS, attempts).await?;
        }
        Ok(End::Commit(Vec::new()))
    }
}

/// Holds the heads of lines. Each round waits for somebody who ends one; a line that moves on during all of
/// them may be left without a head, which a sweep makes good.
async fn hold(transaction: &mut Session, lines: PgArguments) -> Result<(), sqlx::Error> {
    for _ in 0..MAX_ROUNDS {
        for row in transaction.read(statements::HOLD_HEADS, lines.clone()).await? {
            if row.try_get("are_held")? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Leases what is due.
pub(super) struct ClaimDue(pub(super) PgArguments);

impl Work for ClaimDue {
    type Output = Vec<Leased>;
    const ACTION: &'static str = "claiming deliveries";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<Vec<Leased>>, sqlx::Error> {
        let rows = transaction.read(statements::CLAIM, self.0).await?;
        let mut leased: Vec<_> = rows.iter().map(leased).collect::<Result<_, _>>()?;
        leased.sort_by_key(|(place, _)| *place);
        Ok(End::Commit(leased.into_iter().map(|(_, leased)| leased).collect()))
    }
}

/// A delivery, and what sorts it: when it was due, and its id.
fn leased(row: &PgRow) -> Result<((Timestamp, i64), Leased), sqlx::Error> {
    let place = (decode::time(row, "was_due_at")?, row.try_get("id")?);
    Ok((place, decode::leased(row)?))
}

/// Ends leases.
pub(super) struct Settle {
    settled: PgArguments,
    attempts: Option<PgArguments>,
    now: Timestamp,
}

impl Settle {
    /// None when there is nothing to settle.
    pub(super) fn of(settled: &[Settled], now: Timestamp) -> Result<Option<Self>, Cause> {
        let Some(arguments) = rows::settle(settled, now)? else { return Ok(None) };
        let attempted =
            settled.iter().map(|settled| (&settled.key, settled.ending, settled.attempt.as_ref()));
        Ok(Some(Self { settled: arguments, attempts: rows::failed_attempts(attempted)?, now }))
    }
}

impl Work for Settle {
    type Output = ();
    const ACTION: &'static str = "settling deliveries";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<()>, sqlx::Error> {
        let freed = transaction.read(statements::SETTLE, self.settled).await?;
        if let Some(attempts) = self.attempts {
            transaction.write(statements::INSERT_ATTEMPTS, attempts).await?;
        }
        let freed: Vec<Line> = freed.iter().map(decode::line).collect::<Result<_, _>>()?;
        release(transaction, &freed, self.now).await?;
        Ok(End::Commit(()))
    }
}

/// Makes what is next in these lines due, unless something in them is parked; tells in how many it did.
pub(super) async fn release(
    transaction: &mut Session,
    lines: &[Line],
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    match rows::release(lines, now).map_err(sqlx::Error::Encode)? {
        Some(lines) => transaction.write(statements::RELEASE, lines).await,
        None => Ok(0),
    }
}

/// Reports a process.
pub(super) struct Attend(pub(super) PgArguments);

impl Work for Attend {
    type Output = Attendance;
    const ACTION: &'static str = "reporting a process";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<Attendance>, sqlx::Error> {
        let rows = transaction.read(statements::ATTEND, self.0).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let is_first = row.try_get("is_first")?;
        Ok(End::Commit(Attendance { processes: decode::processes(row)?, is_first }))
    }
}

/// Tells since when endpoints are configured.
pub(super) struct Register(pub(super) PgArguments);

impl Work for Register {
    type Output = ();
    const ACTION: &'static str = "registering endpoints";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<()>, sqlx::Error> {
        transaction.write(statements::REGISTER, self.0).await?;
        Ok(End::Commit(()))
    }
}

/// Changes an endpoint's state.
pub(super) struct Change(pub(super) PgArguments);

impl Work for Change {
    type Output = Changed;
    const ACTION: &'static str = "changing an endpoint's state";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<Changed>, sqlx::Error> {
        let rows = transaction.write(statements::CHANGE_ENDPOINT, self.0).await?;
        Ok(if rows == 0 { End::Rollback(Changed::TooLate) } else { End::Commit(Changed::Done) })
    }
}
