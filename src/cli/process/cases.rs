//! What was decided of dead letters, in the store that the settings name.

use crate::account::{Coordinates, Timestamp};
use crate::store::{Case, Cases, Decided, OffsetRange, RunnerId, SettledCase, StoreError};

use super::store::{AnyStore, forwarded};

impl Cases for AnyStore {
    forwarded! {
        async fn decide(
            &self,
            letters: &[Coordinates],
            decided: &Decided,
        ) -> Result<u64, StoreError>;
        async fn cases(&self, ranges: &[OffsetRange]) -> Result<Vec<Case>, StoreError>;
        async fn lease_cases(
            &self,
            runner: RunnerId,
            now: Timestamp,
            until: Timestamp,
            limit: usize,
        ) -> Result<Vec<Coordinates>, StoreError>;
        async fn settle_cases(
            &self,
            runner: RunnerId,
            settled: &[SettledCase],
            now: Timestamp,
        ) -> Result<(), StoreError>;
    }
}
