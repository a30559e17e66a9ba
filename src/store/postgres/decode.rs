//! Stored rows as typed data. A row that does not parse means a damaged store, never a bad request:
//! only parsed values were written.

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::account::{
    AccountKey, AccountState, BusinessEntityExtId, Communication, CommunicationNumber, Coordinates,
    EventId, Fingerprint, Generation, LedgerEntry, LogPartition, Offset, Partition, Problem, Rejection,
    Requester,
};
use crate::store::PersistedOutcome;
use crate::store::stored::{outcome_of, parse_key, rejection_of};

type Decoded<T> = Result<T, sqlx::Error>;

pub(super) fn ledger_row(row: &PgRow) -> Decoded<(CommunicationNumber, LedgerEntry)> {
    let number = text(row, "number", CommunicationNumber::parse)?;
    let fingerprint: &[u8] = row.try_get("fingerprint")?;
    let fingerprint = <[u8; 32]>::try_from(fingerprint).map_err(|_| unreadable("fingerprint"))?;
    let entry = LedgerEntry {
        fingerprint: Fingerprint::from_bytes(fingerprint),
        event_id: event_id(row)?.ok_or_else(|| unreadable("event_id"))?,
        coordinates: coordinates(row)?,
    };
    Ok((number, entry))
}

pub(super) fn account_row(row: &PgRow) -> Decoded<(AccountKey, AccountState)> {
    let state = AccountState {
        business_entity_ext_id: text(row, "business_entity_ext_id", BusinessEntityExtId::parse)?,
        version: coordinates(row)?,
    };
    Ok((account_key(row)?, state))
}

pub(super) fn frontier_row(row: &PgRow) -> Decoded<(LogPartition, Offset)> {
    Ok((log_partition(row)?, offset(row, "next_offset")?))
}

pub(super) fn rejection_row(row: &PgRow) -> Decoded<(Coordinates, Rejection)> {
    Ok((coordinates(row)?, rejection(row)?))
}

pub(super) fn persisted_outcome(number: &CommunicationNumber, row: &PgRow) -> Decoded<PersistedOutcome> {
    let communication = Communication {
        number: number.clone(),
        account: account_key(row)?,
        business_entity_ext_id: text(row, "business_entity_ext_id", BusinessEntityExtId::parse)?,
        requester: text(row, "requester", Requester::parse)?,
    };
    Ok(PersistedOutcome {
        communication,
        coordinates: coordinates(row)?,
        outcome: outcome_of(rejection(row)?),
    })
}

fn rejection(row: &PgRow) -> Decoded<Rejection> {
    let verdict = row.try_get("verdict")?;
    rejection_of(verdict, event_id(row)?).ok_or_else(|| unreadable("verdict"))
}

fn event_id(row: &PgRow) -> Decoded<Option<EventId>> {
    Ok(row.try_get::<Option<_>, _>("event_id")?.map(EventId))
}

fn account_key(row: &PgRow) -> Decoded<AccountKey> {
    let (unit, account_ext_id) = (row.try_get("business_unit")?, row.try_get("account_ext_id")?);
    parse_key(unit, account_ext_id).map_err(|_| unreadable("account_ext_id"))
}

fn coordinates(row: &PgRow) -> Decoded<Coordinates> {
    Ok(log_partition(row)?.at(offset(row, "log_offset")?))
}

fn log_partition(row: &PgRow) -> Decoded<LogPartition> {
    Ok(LogPartition {
        generation: Generation(unsigned(row, "generation")?),
        partition: Partition(unsigned(row, "partition")?),
    })
}

fn unsigned(row: &PgRow, column: &'static str) -> Decoded<u32> {
    let stored: i32 = row.try_get(column)?;
    u32::try_from(stored).map_err(|_| unreadable(column))
}

fn offset(row: &PgRow, column: &'static str) -> Decoded<Offset> {
    let stored: i64 = row.try_get(column)?;
    u64::try_from(stored).map(Offset).map_err(|_| unreadable(column))
}

fn text<T>(row: &PgRow, column: &'static str, parse: fn(&str) -> Result<T, Problem>) -> Decoded<T> {
    parse(row.try_get(column)?).map_err(|_| unreadable(column))
}

fn unreadable(column: &'static str) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "the stored value is none that penstock writes".into(),
    }
}
