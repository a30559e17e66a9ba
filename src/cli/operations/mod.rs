//! `penstock operations`: what operators did, and what they ask for.

mod decide;
mod list;
mod output;
mod show;

use clap::Subcommand;

use crate::store::{Operation, OperationId, Operations};

use super::operator::unknown;
use super::process::AnyStore;
use super::{Exit, runtime, unavailable};

/// What to do with the record of what operators do.
#[derive(Debug, Subcommand)]
pub(super) enum OperationsCommand {
    /// List what operators did and asked for, the newest first
    #[command(before_help = "Example: penstock operations list --command dlq.discard --since 3days")]
    List(list::ListArgs),
    /// Show one operation: who asked for it, who decided on it, how it ended
    #[command(before_help = "Example: penstock operations show 019358f0-7d0c-7c3f-a5b2-6e0c5c1d2f3a")]
    Show(show::ShowArgs),
    /// Agree to what somebody else asked for (operations.approval); they repeat their command with --approved
    #[command(before_help = "Example: penstock operations approve 019358f0-7d0c-7c3f-a5b2-6e0c5c1d2f3a")]
    Approve(decide::ApproveArgs),
    /// Refuse what somebody asked for, or take back what one asked for oneself
    #[command(
        before_help = "Example: penstock operations refuse 019358f0-7d0c-7c3f-a5b2-6e0c5c1d2f3a --reason too-many"
    )]
    Refuse(decide::RefuseArgs),
}

/// Runs `penstock operations`.
pub(super) fn run(command: OperationsCommand) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    match command {
        OperationsCommand::List(args) => runtime.block_on(list::run(args)),
        OperationsCommand::Show(args) => runtime.block_on(show::run(args)),
        OperationsCommand::Approve(args) => runtime.block_on(decide::approve(args)),
        OperationsCommand::Refuse(args) => runtime.block_on(decide::refuse(args)),
    }
}

/// An operation, or an error that says that there is none.
async fn find(store: &AnyStore, id: OperationId) -> anyhow::Result<Operation> {
    let found = store.operation(id).await.map_err(unavailable)?;
    found.ok_or_else(|| unknown(id).into())
}
