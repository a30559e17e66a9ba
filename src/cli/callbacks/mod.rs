//! `penstock callbacks`: the role, and the commands by which operators look at deliveries and change
//! how they go on.
//!
//! The commands work on the store, beside the processes that use it; those follow what is changed there.
//! Only `test-send` sends anything itself.

mod change;
mod discard;
mod endpoints;
mod list;
mod output;
mod redeliver;
mod reread;
mod selection;
mod show;
mod test_send;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::settings::{Loaded, Settings, SettingsError};
use crate::store::StoreError;
use crate::store::postgres::ServerError;

use super::config::ConfigFile;
use super::moment::now;
use super::process::AnyStore;
use super::role::{self, RoleArgs};
use super::{Exit, Misused, runtime};
use change::{Change, ChangeArgs};

/// Options of `penstock callbacks`.
#[derive(Args, Debug)]
pub(super) struct CallbacksArgs {
    #[command(flatten)]
    role: RoleArgs,
    /// What to do; without one, and with an option of `run`, the role runs
    #[command(subcommand)]
    command: Option<CallbacksCommand>,
}

#[derive(Debug, Subcommand)]
enum CallbacksCommand {
    /// Run the role: bring result events to the endpoints of the configuration
    #[command(before_help = "Example: penstock callbacks run --config penstock.toml")]
    Run(RoleArgs),
    /// List deliveries, those first that were parked or ended last
    #[command(before_help = "Example: penstock callbacks list --state exhausted --since 1day")]
    List(list::ListArgs),
    /// List the endpoints: whether they are in use, what is delivered, and what is due
    #[command(before_help = "Example: penstock callbacks endpoints --config penstock.toml")]
    Endpoints(endpoints::EndpointsArgs),
    /// Show a delivery with its attempts
    #[command(
        before_help = "Example: penstock callbacks show risk 8f3cbb5e-6b0e-5d0e-9c39-0d4f5e6a7b8c"
    )]
    Show(show::ShowArgs),
    /// Deliver again what was given up, or now what is parked; shows what it would do when that is more
    /// than one delivery
    #[command(
        before_help = "Example: penstock callbacks redeliver --endpoint risk --since 1day --apply"
    )]
    Redeliver(redeliver::RedeliverArgs),
    /// Go through accounts.results again from its beginning, so that endpoints get what their start lets them
    /// have and is not recorded; shows what it would do without --apply. Processes of callbacks must be stopped
    #[command(before_help = "Example: penstock callbacks reread --config penstock.toml --apply")]
    Reread(reread::RereadArgs),
    /// Give up what is parked or waits for an endpoint; shows what it would do without --apply. `redeliver` takes
    /// it up again while it is kept
    #[command(
        before_help = "Example: penstock callbacks discard --endpoint old-risk --reason replaced --apply"
    )]
    Discard(discard::DiscardArgs),
    /// Send nothing to an endpoint for now: its events are parked
    #[command(before_help = "Example: penstock callbacks pause risk --reason maintenance")]
    Pause(ChangeArgs),
    /// Send to an endpoint again, also when its breaker is open: what failed before goes out as it is due
    #[command(before_help = "Example: penstock callbacks resume risk")]
    Resume(change::ResumeArgs),
    /// Send nothing to an endpoint any more: what comes until it is resumed is not kept for it
    #[command(before_help = "Example: penstock callbacks disable risk --reason replaced")]
    Disable(ChangeArgs),
    /// Send a signed test event to an endpoint, as the role would; fails unless it is acknowledged
    #[command(before_help = "Example: penstock callbacks test-send risk --config penstock.toml")]
    TestSend(test_send::TestSendArgs),
}

/// Options of every command that works on the store.
#[derive(Args, Clone, Debug)]
struct StoreArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Directory of an embedded store [default: ./penstock-data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

impl StoreArgs {
    fn settings(self) -> Result<Settings, SettingsError> {
        let mut sources = self.config.sources();
        let data_dir = self.data_dir.map(|path| ("data_dir", "--data-dir", path.display().to_string()));
        sources.options.extend(data_dir);
        Ok(Loaded::from(sources)?.settings)
    }
}

/// Runs `penstock callbacks`.
pub(super) fn run(args: CallbacksArgs) -> anyhow::Result<Exit> {
    match args.command {
        Some(_) if args.role.has_address() => {
            let what = "--admin-listen belongs to `penstock callbacks run`";
            Err(Misused(what.to_owned()).into())
        }
        Some(CallbacksCommand::Run(role)) => role::callbacks(role),
        Some(command) => runtime()?.block_on(carry_out(command)),
        // Whoever typed the noun to see what there is does not want to join a group in production.
        None if args.role.is_bare() => {
            let what = "nothing is named to be done: `penstock callbacks run` runs the role, and \
                        `penstock callbacks --help` lists the commands";
            Err(Misused(what.to_owned()).into())
        }
        None => role::callbacks(args.role),
    }
}

async fn carry_out(command: CallbacksCommand) -> anyhow::Result<Exit> {
    match command {
        CallbacksCommand::Run(_) => Ok(Exit::Ok),
        CallbacksCommand::List(args) => list::run(args).await,
        CallbacksCommand::Endpoints(args) => endpoints::run(args).await,
        CallbacksCommand::Show(args) => show::run(args).await,
        CallbacksCommand::Redeliver(args) => redeliver::run(args).await,
        CallbacksCommand::Reread(args) => reread::run(args).await,
        CallbacksCommand::Discard(args) => discard::run(args).await,
        CallbacksCommand::Pause(args) => change::run(args, Change::Pause).await,
        CallbacksCommand::Resume(args) => change::resume(args).await,
        CallbacksCommand::Disable(args) => change::run(args, Change::Disable).await,
        CallbacksCommand::TestSend(args) => test_send::run(args).await,
    }
}

/// Does something at the store that the settings name.
async fn at_store(
    args: StoreArgs,
    work: impl AsyncFnOnce(&Settings, &AnyStore) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let settings = args.settings()?;
    let store = AnyStore::open_beside(&settings).await.map_err(super::unavailable)?;
    let done = work(&settings, &store).await;
    store.close().await;
    done
}

/// What the store did not do. A question that takes the server too long has an answer when it is narrower.
fn unavailable(error: StoreError) -> anyhow::Error {
    if took_too_long(&error) {
        let told = "the store did not find that in time; narrow it with --since, --until or --endpoint";
        return super::Unavailable(told.to_owned()).into();
    }
    super::unavailable(error)
}

/// Whether the server has ended a statement by its own limit of time.
fn took_too_long(error: &StoreError) -> bool {
    let (StoreError::Unavailable { cause, .. }
    | StoreError::Poison { cause, .. }
    | StoreError::Broken { cause, .. }) = error;
    cause.downcast_ref::<ServerError>().is_some_and(|server| server.sqlstate == "57014")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_takes_too_long_is_answered_with_what_narrows_it() {
        let unavailable_with = |sqlstate: &str| {
            let cause = ServerError { sqlstate: sqlstate.to_owned(), message: None, place: None };
            unavailable(StoreError::Unavailable { action: "a test", cause: Box::new(cause) }).to_string()
        };
        assert!(unavailable_with("57014").contains("--since"), "{}", unavailable_with("57014"));
        assert!(unavailable_with("57P01").contains("57P01"));
    }
}
