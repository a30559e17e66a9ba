//! The scans port on PostgreSQL: a table is read in the order of its blocks, some at a time, so that a page costs
//! what its blocks cost and no index is walked. Where tables are read on a standby, every page is read by a session
//! that has what was committed on the server when the scan began, whichever server that session is with.

pub mod statements;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row};

use crate::store::stored::storable;
use crate::store::{
    AccountRow, ChangeRow, DeliveryRow, End, LedgerRow, Page, RejectionRow, ScanPlace, Scans,
    StoreError, decode_scan as decode,
};

use super::connections::Work;
use super::error::store_error;
use super::session::Session;
use super::{PostgresStore, Tables};
use statements::Table;

/// Blocks of a page: 4 MiB of the table.
const BLOCKS: u64 = 512;

impl Scans for PostgresStore {
    async fn scan_ledger(&self, from: ScanPlace) -> Result<Page<LedgerRow>, StoreError> {
        self.scan(statements::COMMUNICATIONS, from, decode::ledger).await
    }

    async fn scan_rejections(&self, from: ScanPlace) -> Result<Page<RejectionRow>, StoreError> {
        self.scan(statements::REJECTIONS, from, decode::rejection).await
    }

    async fn scan_accounts(&self, from: ScanPlace) -> Result<Page<AccountRow>, StoreError> {
        self.scan(statements::ACCOUNTS, from, decode::account).await
    }

    async fn scan_deliveries(&self, from: ScanPlace) -> Result<Page<DeliveryRow>, StoreError> {
        self.scan(statements::DELIVERIES, from, decode::delivery).await
    }

    async fn scan_changes(&self, from: ScanPlace) -> Result<Page<ChangeRow>, StoreError> {
        self.scan(statements::OUTCOME_CHANGES, from, decode::change).await
    }
}

impl PostgresStore {
    /// Reads some blocks of a table. Rows are decoded after the transaction, which must not stand idle meanwhile.
    async fn scan<T>(
        &self,
        table: Table,
        from: ScanPlace,
        decode: fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Page<T>, StoreError> {
        let scan = Scan { table, from };
        let Page { rows, next } = match &self.tables {
            Tables::OnServer => self.sessions.run(scan).await?,
            Tables::OnStandby(standby) => standby.scan(scan, &self.sessions).await?,
        };
        let rows = rows.iter().map(decode).collect::<Result<_, _>>();
        Ok(Page { rows: rows.map_err(|error| store_error(Scan::ACTION, error))?, next })
    }
}

/// Reads some blocks of a table.
#[derive(Clone, Copy)]
pub(super) struct Scan {
    table: Table,
    pub(super) from: ScanPlace,
}

impl Work for Scan {
    type Output = Page<PgRow>;
    const ACTION: &'static str = "scanning a table";
    const BEGIN: &'static str = statements::BEGIN_SCAN;

    async fn run(self, snapshot: &mut Session) -> Result<End<Page<PgRow>>, sqlx::Error> {
        Ok(End::Commit(self.page(snapshot).await?))
    }
}

impl Scan {
    /// Reads them within a transaction.
    pub(super) async fn page(self, snapshot: &mut Session) -> Result<Page<PgRow>, sqlx::Error> {
        let (from, to) = (self.from.0, self.from.0.saturating_add(BLOCKS));
        let blocks: i64 = snapshot.read_one(self.table.blocks).await?.try_get(0)?;
        let mut arguments = PgArguments::default();
        arguments.add(storable(from)).map_err(sqlx::Error::Encode)?;
        arguments.add(storable(to)).map_err(sqlx::Error::Encode)?;
        let rows = snapshot.read(self.table.rows, arguments).await?;
        let next = (storable(to) < blocks).then_some(ScanPlace(to));
        Ok(Page { rows, next })
    }
}
