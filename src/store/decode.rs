//! Stored rows as typed data. A row that does not parse means a damaged store, never a bad request:
//! only parsed values were written.

use uuid::Uuid;

use crate::account::{
    AccountKey, AccountState, BusinessEntityExtId, Communication, CommunicationNumber, Coordinates,
    EventId, Fingerprint, Generation, LedgerEntry, LogPartition, Offset, Partition, Problem, Rejection,
    Requester, Timestamp,
};

use super::PersistedOutcome;
use super::stored::{outcome_of, parse_key, rejection_of};

pub(super) type Decoded<T> = Result<T, sqlx::Error>;

/// A row, by the types that every implementation's columns have in common.
pub(super) trait StoredRow {
    fn text(&self, column: &'static str) -> Decoded<&str>;
    fn optional_text(&self, column: &'static str) -> Decoded<Option<&str>>;
    fn flag(&self, column: &'static str) -> Decoded<bool>;
    fn optional_flag(&self, column: &'static str) -> Decoded<Option<bool>>;
    fn bytes(&self, column: &'static str) -> Decoded<&[u8]>;
    fn uuid(&self, column: &'static str) -> Decoded<Option<Uuid>>;
    /// A generation, a partition, or another small count.
    fn number(&self, column: &'static str) -> Decoded<u32>;
    fn optional_number(&self, column: &'static str) -> Decoded<Option<u32>>;
    /// An offset, or another large count.
    fn offset(&self, column: &'static str) -> Decoded<i64>;
    /// To the millisecond.
    fn optional_time(&self, column: &'static str) -> Decoded<Option<Timestamp>>;
    /// As exactly as the column holds what a client has sent.
    fn optional_instant(&self, column: &'static str) -> Decoded<Option<Timestamp>>;
}

pub(super) fn ledger_row(row: &impl StoredRow) -> Decoded<(CommunicationNumber, LedgerEntry)> {
    let number = parsed(row, "number", CommunicationNumber::parse)?;
    let fingerprint = row.bytes("fingerprint")?;
    let fingerprint = <[u8; 32]>::try_from(fingerprint).map_err(|_| unreadable("fingerprint"))?;
    let entry = LedgerEntry {
        fingerprint: Fingerprint::from_bytes(fingerprint),
        event_id: event_id(row)?.ok_or_else(|| unreadable("event_id"))?,
        coordinates: coordinates(row)?,
    };
    Ok((number, entry))
}

pub(super) fn account_row(row: &impl StoredRow) -> Decoded<(AccountKey, AccountState)> {
    let state = AccountState {
        business_entity_ext_id: parsed(row, "business_entity_ext_id", BusinessEntityExtId::parse)?,
        version: coordinates(row)?,
    };
    Ok((account_key(row)?, state))
}

pub(super) fn frontier_row(row: &impl StoredRow) -> Decoded<(LogPartition, Offset)> {
    Ok((log_partition(row)?, offset(row, "next_offset")?))
}

pub(super) fn rejection_row(row: &impl StoredRow) -> Decoded<(Coordinates, Rejection)> {
    Ok((coordinates(row)?, rejection(row)?))
}

pub(super) fn persisted_outcome(
    number: &CommunicationNumber,
    row: &impl StoredRow,
) -> Decoded<PersistedOutcome> {
    Ok(PersistedOutcome {
        communication: communication(number.clone(), row)?,
        coordinates: coordinates(row)?,
        outcome: outcome_of(rejection(row)?),
    })
}

pub(super) fn communication(
    number: CommunicationNumber,
    row: &impl StoredRow,
) -> Decoded<Communication> {
    Ok(Communication {
        number,
        account: account_key(row)?,
        business_entity_ext_id: parsed(row, "business_entity_ext_id", BusinessEntityExtId::parse)?,
        requester: parsed(row, "requester", Requester::parse)?,
    })
}

fn rejection(row: &impl StoredRow) -> Decoded<Rejection> {
    rejection_of(row.text("verdict")?, event_id(row)?).ok_or_else(|| unreadable("verdict"))
}

pub(super) fn event_id(row: &impl StoredRow) -> Decoded<Option<EventId>> {
    Ok(row.uuid("event_id")?.map(EventId))
}

pub(super) fn account_key(row: &impl StoredRow) -> Decoded<AccountKey> {
    parse_key(row.text("business_unit")?, row.text("account_ext_id")?)
        .map_err(|_| unreadable("account_ext_id"))
}

pub(super) fn coordinates(row: &impl StoredRow) -> Decoded<Coordinates> {
    Ok(log_partition(row)?.at(offset(row, "log_offset")?))
}

pub(super) fn log_partition(row: &impl StoredRow) -> Decoded<LogPartition> {
    Ok(LogPartition {
        generation: Generation(row.number("generation")?),
        partition: Partition(row.number("partition")?),
    })
}

pub(super) fn offset(row: &impl StoredRow, column: &'static str) -> Decoded<Offset> {
    u64::try_from(row.offset(column)?).map(Offset).map_err(|_| unreadable(column))
}

fn parsed<T>(
    row: &impl StoredRow,
    column: &'static str,
    parse: fn(&str) -> Result<T, Problem>,
) -> Decoded<T> {
    parse(row.text(column)?).map_err(|_| unreadable(column))
}

/// The error of a column whose value was never written by penstock.
pub(super) fn unreadable(column: &'static str) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "the stored value is none that penstock writes".into(),
    }
}
