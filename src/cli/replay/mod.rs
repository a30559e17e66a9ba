//! `penstock replay`: what was decided before, decided anew by the rules and lists of today.

mod jobs;
mod output;
mod plan;
mod run;
mod selection;
mod told;

use clap::Subcommand;

use crate::store::JobName;

use super::{Exit, runtime};

pub(super) use plan::misused;

/// What to do with a window of the log.
#[derive(Debug, Subcommand)]
pub(super) enum ReplayCommand {
    /// Show how outcomes would change if a window were decided anew; changes nothing, and runs beside the roles.
    /// Ends with 3 when an outcome would change
    #[command(
        before_help = "Example: penstock replay plan --only rejected --code A007 --since 3days --output csv"
    )]
    Plan(Box<plan::PlanArgs>),
    /// Decide a window anew, beside the roles: what was rejected and passes now is accepted and told, what was
    /// accepted stays. A process that has an embedded queue and store takes it up
    #[command(
        before_help = "Example: penstock replay run types-completed --only rejected --code A007 --reason ticket-7"
    )]
    Run(Box<run::RunArgs>),
    /// Go on with a job that was paused or failed, or whose process is gone
    #[command(before_help = "Example: penstock replay resume types-completed")]
    Resume(Box<run::ResumeArgs>),
    /// Stop a job until it is resumed; the process that runs it ends within seconds
    #[command(before_help = "Example: penstock replay pause types-completed")]
    Pause(jobs::ChangeArgs),
    /// End a job for good: what it has changed stays, the rest is left as it is
    #[command(before_help = "Example: penstock replay abort types-completed")]
    Abort(jobs::ChangeArgs),
    /// Show how far a job is and what it has changed
    #[command(before_help = "Example: penstock replay status types-completed")]
    Status(jobs::StatusArgs),
    /// List jobs, the newest first
    #[command(before_help = "Example: penstock replay list")]
    List(jobs::ListArgs),
}

/// Runs `penstock replay`.
pub(super) fn run(command: ReplayCommand) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    match command {
        ReplayCommand::Plan(args) => runtime.block_on(plan::run(*args)),
        ReplayCommand::Run(args) => runtime.block_on(run::run(*args)),
        ReplayCommand::Resume(args) => runtime.block_on(run::resume(*args)),
        ReplayCommand::Pause(args) => runtime.block_on(jobs::pause(args)),
        ReplayCommand::Abort(args) => runtime.block_on(jobs::abort(args)),
        ReplayCommand::Status(args) => runtime.block_on(jobs::status(args)),
        ReplayCommand::List(args) => runtime.block_on(jobs::list(args)),
    }
}

fn parse_name(text: &str) -> Result<JobName, String> {
    JobName::parse(text).map_err(|error| error.to_string())
}
