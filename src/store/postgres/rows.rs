//! Plans and wishes as the arrays the statements take, one a column. The order of a statement's
//! parameters is the order in which they are added here. PostgreSQL gets them as binary values, never
//! within its SQL.

use sqlx::postgres::{PgArguments, PgBindIterExt, PgHasArrayType};
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Arguments, Encode, Postgres, Type};

use crate::account::{
    AccountKey, AccountWrite, Claim, Communication, CommunicationNumber, Coordinates, FrontierMove,
    LogPartition, Offset, Plan, RejectionNote, Text, Timestamp, Withdrawal,
};
use crate::store::stored::{key_of, storable, verdict_of};
use crate::store::{Cause, OffsetRange, StalePart, Wanted};

use super::statements;

/// A statement with its rows.
pub(super) struct Step {
    /// What of the plan it writes.
    pub(super) part: StalePart,
    pub(super) statement: &'static str,
    /// How many rows it is to write.
    pub(super) rows: u64,
    pub(super) arguments: PgArguments,
}

/// What a view must show, per statement; none where nothing is asked for.
pub(super) struct WantedRows {
    pub(super) ledger: Option<PgArguments>,
    pub(super) accounts: Option<PgArguments>,
    pub(super) frontiers: Option<PgArguments>,
    pub(super) rejections: Option<PgArguments>,
}

impl WantedRows {
    pub(super) fn of(wanted: &Wanted) -> Result<Self, Cause> {
        let Wanted { numbers, accounts, ranges } = wanted;
        Ok(Self {
            ledger: columns(numbers, |numbers, columns| {
                columns.add(numbers.iter().map(CommunicationNumber::as_str))
            })?,
            accounts: columns(accounts, |keys, columns| columns.account_keys(keys.iter()))?,
            frontiers: columns(ranges, |ranges, columns| {
                columns.log_partitions(ranges.iter().map(|range| range.log))
            })?,
            rejections: columns(ranges, range_columns)?,
        })
    }
}

/// The statements of a plan, in the order every transaction keeps: frontiers, ledger, accounts,
/// rejections taken back, rejections.
pub(super) fn steps(plan: &Plan) -> Result<Vec<Step>, Cause> {
    let (moved, first): (Vec<_>, Vec<_>) = plan.frontiers.iter().partition(|row| row.expected.is_some());
    let (changed, new): (Vec<_>, Vec<_>) = plan.accounts.iter().partition(|row| row.expected.is_some());
    let mut steps = Vec::with_capacity(7);
    let mut push = |part, statement, rows: usize, arguments: Option<PgArguments>| {
        steps.extend(arguments.map(|arguments| Step { part, statement, rows: rows as u64, arguments }));
    };
    push(
        StalePart::Frontier,
        statements::INSERT_FRONTIERS,
        first.len(),
        columns(&first, frontier_columns)?,
    );
    push(
        StalePart::Frontier,
        statements::MOVE_FRONTIERS,
        moved.len(),
        columns(&moved, moved_frontier_columns)?,
    );
    push(
        StalePart::Claim,
        statements::INSERT_CLAIMS,
        plan.claims.len(),
        columns(&plan.claims, claim_columns)?,
    );
    push(StalePart::Account, statements::INSERT_ACCOUNTS, new.len(), columns(&new, account_columns)?);
    push(
        StalePart::Account,
        statements::UPDATE_ACCOUNTS,
        changed.len(),
        columns(&changed, changed_account_columns)?,
    );
    push(
        StalePart::Withdrawal,
        statements::WITHDRAW_REJECTIONS,
        plan.withdrawals.len(),
        columns(&plan.withdrawals, withdrawal_columns)?,
    );
    push(
        StalePart::Rejection,
        statements::INSERT_REJECTIONS,
        plan.rejections.len(),
        columns(&plan.rejections, rejection_columns)?,
    );
    Ok(steps)
}

/// Generations, partitions, first offsets, and those after the last ones.
pub(super) fn range_columns(ranges: &[OffsetRange], columns: &mut Columns) -> Result<(), Cause> {
    columns.log_partitions(ranges.iter().map(|range| range.log))?;
    columns.offsets(ranges.iter().map(|range| range.from))?;
    columns.offsets(ranges.iter().map(|range| range.to))
}

/// The columns of rows; none when there are no rows.
pub(super) fn columns<T>(
    rows: &[T],
    add: impl FnOnce(&[T], &mut Columns) -> Result<(), Cause>,
) -> Result<Option<PgArguments>, Cause> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mut columns = Columns(PgArguments::default());
    add(rows, &mut columns)?;
    Ok(Some(columns.0))
}

fn frontier_columns(rows: &[&FrontierMove], columns: &mut Columns) -> Result<(), Cause> {
    columns.log_partitions(rows.iter().map(|row| row.log))?;
    columns.offsets(rows.iter().map(|row| row.next))
}

fn moved_frontier_columns(rows: &[&FrontierMove], columns: &mut Columns) -> Result<(), Cause> {
    frontier_columns(rows, columns)?;
    columns.offsets(rows.iter().filter_map(|row| row.expected))
}

fn claim_columns(rows: &[Claim], columns: &mut Columns) -> Result<(), Cause> {
    columns.add(rows.iter().map(|row| row.communication.number.as_str()))?;
    columns.add(rows.iter().map(|row| row.fingerprint.as_bytes().as_slice()))?;
    columns.add(rows.iter().map(|row| row.event_id.0))?;
    columns.coordinates(rows.iter().map(|row| row.coordinates))?;
    columns.subjects(rows.iter().map(|row| &row.communication))
}

fn withdrawal_columns(rows: &[Withdrawal], columns: &mut Columns) -> Result<(), Cause> {
    columns.coordinates(rows.iter().map(|row| row.coordinates))?;
    columns.add(rows.iter().map(|row| row.event_id.0))
}

fn rejection_columns(rows: &[RejectionNote], columns: &mut Columns) -> Result<(), Cause> {
    columns.coordinates(rows.iter().map(|row| row.coordinates))?;
    columns.add(rows.iter().map(|row| verdict_of(row.rejection).0))?;
    columns.add(rows.iter().map(|row| verdict_of(row.rejection).1.map(|event_id| event_id.0)))?;
    columns.add(rows.iter().map(|row| row.communication.number.as_str()))?;
    columns.subjects(rows.iter().map(|row| &row.communication))
}

fn account_columns(rows: &[&AccountWrite], columns: &mut Columns) -> Result<(), Cause> {
    let accounts = || rows.iter().map(|row| &row.account);
    columns.account_keys(rows.iter().map(|row| &row.key))?;
    columns.add(accounts().map(|account| account.business_entity_ext_id.as_str()))?;
    columns.coordinates(rows.iter().map(|row| row.version))?;
    columns.add(accounts().map(|account| account.communication_number.as_str()))?;
    columns.add(accounts().map(|account| account.requester.as_str()))?;
    columns.add(accounts().map(|account| account.action.as_str()))?;
    columns.add(accounts().map(|account| account.account_number.as_str()))?;
    columns.add(accounts().map(|account| account.account_status.as_str()))?;
    columns.texts(accounts().map(|account| account.account_type.as_ref()))?;
    columns.texts(accounts().map(|account| account.account_purpose.as_ref()))?;
    columns.texts(accounts().map(|account| account.bank_title.as_ref()))?;
    columns.texts(accounts().map(|account| account.bic.as_ref()))?;
    columns.add(accounts().map(|account| account.currency_code.as_str()))?;
    columns.add(accounts().map(|account| account.is_other_fin_inst_account))?;
    columns.add(accounts().map(|account| time(account.opening_date)))?;
    columns.add(accounts().map(|account| account.closing_date.and_then(time)))?;
    columns.texts(accounts().map(|account| account.suspension_reasons.as_ref()))
}

fn changed_account_columns(rows: &[&AccountWrite], columns: &mut Columns) -> Result<(), Cause> {
    account_columns(rows, columns)?;
    columns.coordinates(rows.iter().filter_map(|row| row.expected))
}

/// A time as a parameter.
pub(super) fn time(time: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(time.unix_micros())
}

/// Arrays, one a parameter.
pub(super) struct Columns(PgArguments);

impl Columns {
    pub(super) fn add<'q, I>(&mut self, column: I) -> Result<(), Cause>
    where
        I: Iterator + 'q,
        I::Item: Encode<'q, Postgres> + Type<Postgres> + PgHasArrayType,
    {
        self.0.add(column.bind_iter())
    }

    fn texts<'q>(&mut self, texts: impl Iterator<Item = Option<&'q Text>>) -> Result<(), Cause> {
        self.add(texts.map(|text| text.map(Text::as_str)))
    }

    /// Business units and account ext ids. '' stands for no unit.
    fn account_keys<'q>(
        &mut self,
        keys: impl Iterator<Item = &'q AccountKey> + Clone,
    ) -> Result<(), Cause> {
        self.add(keys.clone().map(|key| key_of(key).0))?;
        self.add(keys.map(|key| key_of(key).1))
    }

    /// Business units, account ext ids, business entity ext ids, requesters.
    fn subjects<'q>(
        &mut self,
        subjects: impl Iterator<Item = &'q Communication> + Clone,
    ) -> Result<(), Cause> {
        self.account_keys(subjects.clone().map(|subject| &subject.account))?;
        self.add(subjects.clone().map(|subject| subject.business_entity_ext_id.as_str()))?;
        self.add(subjects.map(|subject| subject.requester.as_str()))
    }

    /// Generations, partitions, offsets.
    pub(super) fn coordinates(
        &mut self,
        places: impl Iterator<Item = Coordinates> + Clone,
    ) -> Result<(), Cause> {
        self.log_partitions(places.clone().map(|place| place.log))?;
        self.offsets(places.map(|place| place.offset))
    }

    /// Generations and partitions.
    pub(super) fn log_partitions(
        &mut self,
        logs: impl Iterator<Item = LogPartition> + Clone,
    ) -> Result<(), Cause> {
        let generations: Vec<i32> =
            logs.clone().map(|log| i32::try_from(log.generation.0)).collect::<Result<_, _>>()?;
        let partitions: Vec<i32> =
            logs.map(|log| i32::try_from(log.partition.0)).collect::<Result<_, _>>()?;
        self.0.add(generations)?;
        self.0.add(partitions)
    }

    pub(super) fn offsets(&mut self, offsets: impl Iterator<Item = Offset>) -> Result<(), Cause> {
        self.0.add(offsets.map(|offset| storable(offset.0)).collect::<Vec<_>>())
    }
}
