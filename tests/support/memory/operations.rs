//! The operators' port in memory.

use penstock::store::{
    By, NewOperation, NewStep, Operation, OperationId, OperationSelection, Operations, StoreError,
    TakenStep,
};

use super::point;
use super::store::MemoryStore;

/// Operations, in the order in which they were entered.
#[derive(Clone, Default)]
pub struct OperationTables(pub Vec<Operation>);

fn is_by(by: &By, wanted: &str) -> bool {
    by.operator == wanted || by.name() == wanted
}

fn is_meant(found: &Operation, selection: &OperationSelection) -> bool {
    let OperationSelection { command, operator, from, to } = selection;
    let asked = &found.operation;
    let is_by_any = |wanted: &str| {
        is_by(&asked.by, wanted) || found.steps.iter().any(|taken| is_by(&taken.step.by, wanted))
    };
    command.is_none_or(|command| asked.command == command)
        && operator.as_deref().is_none_or(is_by_any)
        && from.is_none_or(|from| asked.asked_at >= from)
        && to.is_none_or(|to| asked.asked_at < to)
}

fn taken(step: &NewStep) -> TakenStep {
    TakenStep { step: step.clone(), witness: None }
}

impl Operations for MemoryStore {
    async fn enter_operation(
        &self,
        operation: &NewOperation,
        step: Option<&NewStep>,
    ) -> Result<(), StoreError> {
        point().await;
        self.with_operations(|OperationTables(operations)| {
            if operations.iter().any(|known| known.operation.id == operation.id) {
                let cause = "the id of the operation is taken".into();
                return Err(StoreError::Poison { action: "entering an operation", cause });
            }
            let steps = step.map(taken).into_iter().collect();
            operations.push(Operation { operation: operation.clone(), witness: None, steps });
            Ok(())
        })?
    }

    async fn take_operation_step(&self, id: OperationId, step: &NewStep) -> Result<bool, StoreError> {
        point().await;
        self.with_operations(|OperationTables(operations)| {
            let known = operations.iter_mut().find(|known| known.operation.id == id);
            let Some(known) = known.filter(|known| known.at(step.step.stage()).is_none()) else {
                return false;
            };
            known.steps.push(taken(step));
            known.steps.sort_by_key(|taken| taken.step.step.stage());
            true
        })
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        point().await;
        self.with_operations(|OperationTables(operations)| {
            operations.iter().find(|known| known.operation.id == id).cloned()
        })
    }

    async fn operations(
        &self,
        selection: &OperationSelection,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        point().await;
        self.with_operations(|OperationTables(operations)| {
            let mut found: Vec<_> =
                operations.iter().filter(|known| is_meant(known, selection)).cloned().collect();
            found.sort_by_key(|known| (known.operation.asked_at, known.operation.id));
            found.reverse();
            found.truncate(limit);
            found
        })
    }
}
