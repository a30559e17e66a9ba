//! `penstock operations approve` and `refuse`: whether what somebody asked for is done.

use std::io;

use clap::Args;

use crate::cli::config::PlaceArgs;
use crate::cli::moment::now;
use crate::cli::operator::{by, parse_operation, parse_reason};
use crate::cli::output::{note, shown};
use crate::cli::process::{AnyStore, beside_store};
use crate::cli::{Exit, Misused, unavailable};
use crate::store::{NewStep, Operation, OperationId, Operations, Stage, Step};

use super::find;
use super::output::write_text;

/// Options of `penstock operations approve`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ApproveArgs {
    /// The id that the command printed
    #[arg(value_name = "ID", value_parser = parse_operation)]
    id: OperationId,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Options of `penstock operations refuse`.
#[derive(Args, Debug)]
pub(in crate::cli) struct RefuseArgs {
    /// The id that the command printed
    #[arg(value_name = "ID", value_parser = parse_operation)]
    id: OperationId,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn approve(args: ApproveArgs) -> anyhow::Result<Exit> {
    let ApproveArgs { id, reason, place } = args;
    let settings = place.load()?.settings;
    let found = beside_store(&settings, async |store| decide(store, id, Step::Approved, reason).await);
    let found = found.await?;
    write_text(&mut io::stdout().lock(), &found)?;
    let ttl = settings.operations.approval_ttl;
    let (asked_by, command) = (shown(&found.operation.by.operator), found.operation.command);
    note(&format!("approved: {asked_by} repeats {command} with --approved {id} within {ttl}"))?;
    if let Some(user) = same_database_user(&found) {
        note(&format!(
            "note: both came by the database user {}: the server does not know them for two people",
            shown(user)
        ))?;
    }
    Ok(Exit::Ok)
}

pub(super) async fn refuse(args: RefuseArgs) -> anyhow::Result<Exit> {
    let RefuseArgs { id, reason, place } = args;
    let settings = place.load()?.settings;
    let refuse = async |store: &AnyStore| decide(store, id, Step::Refused, Some(reason)).await;
    let found = beside_store(&settings, refuse).await?;
    write_text(&mut io::stdout().lock(), &found)?;
    note("refused: it is not done")?;
    Ok(Exit::Ok)
}

/// Enters a decision, unless there is one or it is not this operator's to make; tells how the operation stands then.
async fn decide(
    store: &AnyStore,
    id: OperationId,
    step: Step,
    note: Option<String>,
) -> anyhow::Result<Operation> {
    let (found, by) = (find(store, id).await?, by());
    let refused = |why: &dyn std::fmt::Display| Misused(format!("{id}: {why}"));
    found.may_be_decided(step, &by).map_err(|why| refused(&why))?;
    let decision = NewStep { step, by, note, taken_at: now() };
    if store.take_operation_step(id, &decision).await.map_err(unavailable)? {
        return find(store, id).await;
    }
    Err(refused(&"somebody else decided on it at the same moment").into())
}

/// The database user by whom both came, who asked and who approved.
fn same_database_user(found: &Operation) -> Option<&str> {
    let approval = found.at(Stage::Decision)?.witness.as_ref()?;
    let asked = found.witness.as_ref()?;
    (asked.database_user == approval.database_user).then_some(asked.database_user.as_str())
}
