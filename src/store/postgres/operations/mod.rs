//! The operators' port on PostgreSQL.

pub mod statements;

use sqlx::Arguments;

use crate::store::decode_operation::{OperationRow, operation_row, operations};
use crate::store::stored::storable;
use crate::store::{
    NewOperation, NewStep, Operation, OperationId, OperationSelection, Operations, StoreError,
};

use super::PostgresStore;
use super::rows::time;
use super::statements::BEGIN_SELECTION_SNAPSHOT;
use super::work::{Change, Read, Subject};

impl Operations for PostgresStore {
    async fn enter_operation(
        &self,
        operation: &NewOperation,
        step: Option<&NewStep>,
    ) -> Result<(), StoreError> {
        let NewOperation { id, command, subject, by, reason, asked_at } = operation;
        let enter = Change::<Record>::of(statements::ENTER, |arguments| {
            arguments.add(id.0)?;
            arguments.add(command.as_str())?;
            arguments.add(subject.as_str())?;
            arguments.add(by.operator.as_str())?;
            arguments.add(by.host.as_str())?;
            arguments.add(reason.as_deref())?;
            arguments.add(time(*asked_at))?;
            arguments.add(step.map(|new| new.step.stage().as_str()))?;
            arguments.add(step.map(|new| new.step.as_str()))?;
            arguments.add(step.map(|new| new.by.operator.as_str()))?;
            arguments.add(step.map(|new| new.by.host.as_str()))?;
            arguments.add(step.and_then(|new| new.note.as_deref()))?;
            arguments.add(step.and_then(|new| time(new.taken_at)))
        });
        self.sessions.run(enter?).await.map(|_| ())
    }

    async fn take_operation_step(&self, id: OperationId, step: &NewStep) -> Result<bool, StoreError> {
        let NewStep { step, by, note, taken_at } = step;
        let take = Change::<Record>::of(statements::TAKE_STEP, |arguments| {
            arguments.add(id.0)?;
            arguments.add(step.stage().as_str())?;
            arguments.add(step.as_str())?;
            arguments.add(by.operator.as_str())?;
            arguments.add(by.host.as_str())?;
            arguments.add(note.as_deref())?;
            arguments.add(time(*taken_at))
        });
        Ok(self.sessions.run(take?).await? > 0)
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let read = Read::<Record, OperationRow>::of(statements::OPERATION, operation_row, |arguments| {
            arguments.add(id.0)
        });
        Ok(operations(self.sessions.run(read?).await?).pop())
    }

    async fn operations(
        &self,
        selection: &OperationSelection,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        let OperationSelection { command, operator, from, to } = selection;
        let read =
            Read::<Record, OperationRow>::of(statements::OPERATIONS, operation_row, |arguments| {
                arguments.add(command.map(|command| command.as_str()))?;
                arguments.add(operator.as_deref())?;
                arguments.add(from.and_then(time))?;
                arguments.add(to.and_then(time))?;
                arguments.add(storable(limit as u64))
            });
        Ok(operations(self.sessions.run(read?).await?))
    }
}

/// What is read and entered of operations.
enum Record {}

impl Subject for Record {
    const READING: &'static str = "reading what operators did";
    const CHANGING: &'static str = "recording what an operator does";
    const BEGIN_READING: &'static str = BEGIN_SELECTION_SNAPSHOT;
}
