//! The operators' port on `SQLite`.

pub mod statements;

use sqlx::sqlite::SqliteConnection;

use crate::account::Timestamp;
use crate::store::decode_operation::{operation_row, operations};
use crate::store::stored::storable;
use crate::store::{
    End, NewOperation, NewStep, Operation, OperationId, OperationSelection, Operations, StoreError,
};

use super::writer::{Change, Write};
use super::{SqliteStore, Statement};

const ENTERING: &str = "recording what an operator does";

impl Operations for SqliteStore {
    async fn enter_operation(
        &self,
        operation: &NewOperation,
        step: Option<&NewStep>,
    ) -> Result<(), StoreError> {
        let NewOperation { id, command, subject, by, reason, asked_at } = operation.clone();
        let step = step.map(|step| take(id, step));
        let enter = sqlx::query(statements::ENTER)
            .bind(id.0.as_bytes().to_vec())
            .bind(command.as_str())
            .bind(subject)
            .bind(by.operator)
            .bind(by.host)
            .bind(reason)
            .bind(asked_at.unix_millis());
        self.run(ENTERING, Enter { enter, step }).await
    }

    async fn take_operation_step(&self, id: OperationId, step: &NewStep) -> Result<bool, StoreError> {
        Ok(self.run(ENTERING, Change(take(id, step))).await? > 0)
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let query = sqlx::query(statements::OPERATION).bind(id.0.as_bytes().to_vec());
        Ok(operations(self.rows(query, operation_row).await?).pop())
    }

    async fn operations(
        &self,
        selection: &OperationSelection,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        let OperationSelection { command, operator, from, to } = selection.clone();
        let query = sqlx::query(statements::OPERATIONS)
            .bind(command.map(|command| command.as_str()))
            .bind(operator)
            .bind(from.map_or(i64::MIN, Timestamp::unix_millis))
            .bind(to.map_or(i64::MAX, Timestamp::unix_millis))
            .bind(storable(limit as u64));
        Ok(operations(self.rows(query, operation_row).await?))
    }
}

fn take(id: OperationId, step: &NewStep) -> Statement<'static> {
    let NewStep { step, by, note, taken_at } = step.clone();
    sqlx::query(statements::TAKE_STEP)
        .bind(id.0.as_bytes().to_vec())
        .bind(step.stage().as_str())
        .bind(step.as_str())
        .bind(by.operator)
        .bind(by.host)
        .bind(note)
        .bind(taken_at.unix_millis())
}

/// Enters an operation with its first step.
struct Enter {
    enter: Statement<'static>,
    step: Option<Statement<'static>>,
}

impl Write for Enter {
    type Output = ();

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<()>, sqlx::Error> {
        self.enter.execute(&mut *transaction).await?;
        if let Some(step) = self.step {
            step.execute(&mut *transaction).await?;
        }
        Ok(End::Commit(()))
    }
}
