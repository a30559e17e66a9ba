//! Reads: each is one snapshot of the file.

use std::collections::HashMap;
use std::hash::Hash;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::account::{CommunicationNumber, View};
use crate::store::stored::storable;
use crate::store::{PersistedOutcome, decode};

use super::rows::{Rows, WantedRows};
use super::statements;

/// Reads what is wanted in one transaction, so that all of it is of one moment.
pub(super) async fn load(readers: &SqlitePool, wanted: WantedRows) -> Result<View, sqlx::Error> {
    let WantedRows { numbers, accounts, ranges } = wanted;
    let mut snapshot = readers.begin().await?;
    let ledger = collect(&mut snapshot, statements::LOAD_LEDGER, &numbers, decode::ledger_row).await?;
    let accounts =
        collect(&mut snapshot, statements::LOAD_ACCOUNTS, &accounts, decode::account_row).await?;
    let frontiers =
        collect(&mut snapshot, statements::LOAD_FRONTIERS, &ranges, decode::frontier_row).await?;
    let rejections =
        collect(&mut snapshot, statements::LOAD_REJECTIONS, &ranges, decode::rejection_row).await?;
    snapshot.commit().await?;
    Ok(View { frontiers, ledger, accounts, rejections })
}

async fn collect<K: Eq + Hash, V>(
    snapshot: &mut SqliteConnection,
    statement: &'static str,
    wanted: &Rows,
    decode: fn(&SqliteRow) -> Result<(K, V), sqlx::Error>,
) -> Result<HashMap<K, V>, sqlx::Error> {
    if wanted.count == 0 {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(statement).bind(wanted.json.as_str()).fetch_all(snapshot).await?;
    rows.iter().map(decode).collect()
}

/// The outcomes of a number, by one statement.
pub(super) async fn outcomes(
    readers: &SqlitePool,
    number: &CommunicationNumber,
    limit: usize,
) -> Result<Vec<PersistedOutcome>, sqlx::Error> {
    let rows = sqlx::query(statements::OUTCOMES)
        .bind(number.as_str())
        .bind(storable(limit as u64))
        .fetch_all(readers)
        .await?;
    rows.iter().map(|row| decode::persisted_outcome(number, row)).collect()
}
