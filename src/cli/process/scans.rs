//! Whole tables of the store that the settings name.

use crate::store::{
    AccountRow, ChangeRow, DeliveryRow, LedgerRow, Page, RejectionRow, ScanPlace, Scans, StoreError,
};

use super::store::{AnyStore, forwarded};

impl Scans for AnyStore {
    forwarded! {
        async fn scan_ledger(&self, from: ScanPlace) -> Result<Page<LedgerRow>, StoreError>;
        async fn scan_rejections(&self, from: ScanPlace) -> Result<Page<RejectionRow>, StoreError>;
        async fn scan_accounts(&self, from: ScanPlace) -> Result<Page<AccountRow>, StoreError>;
        async fn scan_deliveries(&self, from: ScanPlace) -> Result<Page<DeliveryRow>, StoreError>;
        async fn scan_changes(&self, from: ScanPlace) -> Result<Page<ChangeRow>, StoreError>;
    }
}
