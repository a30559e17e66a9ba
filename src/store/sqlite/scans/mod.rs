//! The scans port on `SQLite`: a table is read in the order of its rows' ids, some at a time.

mod statements;

use sqlx::sqlite::SqliteRow;

use crate::store::stored::storable;
use crate::store::{
    AccountRow, ChangeRow, DeliveryRow, LedgerRow, Page, RejectionRow, ScanPlace, Scans, StoreError,
    decode_scan as decode,
};

use super::SqliteStore;

/// Rows of a page.
const ROWS: usize = 10_000;

impl Scans for SqliteStore {
    async fn scan_ledger(&self, from: ScanPlace) -> Result<Page<LedgerRow>, StoreError> {
        self.page(statements::COMMUNICATIONS, from, |row| {
            Ok((decode::row_id(row)?, decode::ledger(row)?))
        })
        .await
    }

    async fn scan_rejections(&self, from: ScanPlace) -> Result<Page<RejectionRow>, StoreError> {
        self.page(statements::REJECTIONS, from, |row| {
            Ok((decode::row_id(row)?, decode::rejection(row)?))
        })
        .await
    }

    async fn scan_accounts(&self, from: ScanPlace) -> Result<Page<AccountRow>, StoreError> {
        self.page(statements::ACCOUNTS, from, |row| Ok((decode::row_id(row)?, decode::account(row)?)))
            .await
    }

    async fn scan_deliveries(&self, from: ScanPlace) -> Result<Page<DeliveryRow>, StoreError> {
        self.page(statements::DELIVERIES, from, |row| Ok((decode::row_id(row)?, decode::delivery(row)?)))
            .await
    }

    async fn scan_changes(&self, from: ScanPlace) -> Result<Page<ChangeRow>, StoreError> {
        self.page(statements::OUTCOME_CHANGES, from, |row| {
            Ok((decode::row_id(row)?, decode::change(row)?))
        })
        .await
    }
}

impl SqliteStore {
    /// The rows whose ids come after a place.
    async fn page<T: Send + 'static>(
        &self,
        statement: &'static str,
        from: ScanPlace,
        decode: fn(&SqliteRow) -> Result<(u64, T), sqlx::Error>,
    ) -> Result<Page<T>, StoreError> {
        let query = sqlx::query(statement).bind(storable(from.0)).bind(storable(ROWS as u64));
        let rows = self.rows(query, decode).await?;
        let next = rows.last().map(|(id, _)| ScanPlace(*id)).filter(|_| rows.len() == ROWS);
        Ok(Page { rows, next }.map(|(_, row)| row))
    }
}
