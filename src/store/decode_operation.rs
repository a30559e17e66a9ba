//! Stored operations as typed data.

use super::decode::{Decoded, StoredRow, unreadable};
use super::{
    By, NewOperation, NewStep, Operation, OperationId, OperatorCommand, Step, TakenStep, Witness,
};

/// An operation with one of its steps, if it has any.
pub(super) struct OperationRow {
    operation: Operation,
    step: Option<TakenStep>,
}

pub(super) fn operation_row(row: &impl StoredRow) -> Decoded<OperationRow> {
    let text = |column| row.text(column).map(str::to_owned);
    let operation = NewOperation {
        id: OperationId(row.uuid("id")?.ok_or_else(|| unreadable("id"))?),
        command: OperatorCommand::parse(row.text("command")?).ok_or_else(|| unreadable("command"))?,
        subject: text("subject")?,
        by: By { operator: text("operator")?, host: text("host")? },
        reason: row.optional_text("reason")?.map(str::to_owned),
        asked_at: row.optional_time("asked_at")?.ok_or_else(|| unreadable("asked_at"))?,
    };
    let witness = witness(row, ["database_user", "client_address", "recorded_at"])?;
    let operation = Operation { operation, witness, steps: Vec::new() };
    Ok(OperationRow { operation, step: taken_step(row)? })
}

fn taken_step(row: &impl StoredRow) -> Decoded<Option<TakenStep>> {
    let text = |column| row.text(column).map(str::to_owned);
    let Some(step) = row.optional_text("step")? else { return Ok(None) };
    let step = NewStep {
        step: Step::parse(step).ok_or_else(|| unreadable("step"))?,
        by: By { operator: text("step_operator")?, host: text("step_host")? },
        note: row.optional_text("note")?.map(str::to_owned),
        taken_at: row.optional_time("taken_at")?.ok_or_else(|| unreadable("taken_at"))?,
    };
    let witness = witness(row, ["step_database_user", "step_client_address", "step_recorded_at"])?;
    Ok(Some(TakenStep { step, witness }))
}

fn witness(row: &impl StoredRow, [user, address, at]: [&'static str; 3]) -> Decoded<Option<Witness>> {
    let Some(user) = row.optional_text(user)? else { return Ok(None) };
    Ok(Some(Witness {
        database_user: user.to_owned(),
        client_address: row.optional_text(address)?.map(str::to_owned),
        recorded_at: row.optional_time(at)?.ok_or_else(|| unreadable(at))?,
    }))
}

/// Rows of the same operation, which stand together, as one.
pub(super) fn operations(rows: Vec<OperationRow>) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    for OperationRow { operation, step } in rows {
        let is_known = operations.last().is_some_and(|last| last.operation.id == operation.operation.id);
        if !is_known {
            operations.push(operation);
        }
        if let Some(last) = operations.last_mut() {
            last.steps.extend(step);
        }
    }
    for operation in &mut operations {
        operation.steps.sort_by_key(|taken| taken.step.step.stage());
    }
    operations
}
