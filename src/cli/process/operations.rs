//! What operators did, in the store that the settings name.

use crate::store::{
    NewOperation, NewStep, Operation, OperationId, OperationSelection, Operations, StoreError,
};

use super::store::{AnyStore, forwarded};

impl Operations for AnyStore {
    forwarded! {
        async fn enter_operation(
            &self,
            operation: &NewOperation,
            step: Option<&NewStep>,
        ) -> Result<(), StoreError>;
        async fn take_operation_step(
            &self,
            id: OperationId,
            step: &NewStep,
        ) -> Result<bool, StoreError>;
        async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError>;
        async fn operations(
            &self,
            selection: &OperationSelection,
            limit: usize,
        ) -> Result<Vec<Operation>, StoreError>;
    }
}
