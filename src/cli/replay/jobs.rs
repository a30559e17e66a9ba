//! `penstock replay pause`, `abort`, `status` and `list`: jobs, beside the processes that run them.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::config::PlaceArgs;
use crate::cli::moment::now;
use crate::cli::operator::{OptionalReasonArgs, Said};
use crate::cli::output::{cell, note, shown, table, write_json};
use crate::cli::process::{AnyStore, beside_store};
use crate::cli::recorded::{Intended, recorded};
use crate::cli::{Exit, Misused, unavailable};
use crate::replay::{Line, Progress};
use crate::settings::Loaded;
use crate::store::{Job, JobName, JobState, OperatorCommand, Replays};

use super::output::{Output, Tense, write};
use super::parse_name;
use super::run::find;

/// Options of `penstock replay pause` and `abort`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ChangeArgs {
    /// The job
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: JobName,
    #[command(flatten)]
    reason: OptionalReasonArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Options of `penstock replay status`.
#[derive(Args, Debug)]
pub(in crate::cli) struct StatusArgs {
    /// The job
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: JobName,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Options of `penstock replay list`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListArgs {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: u32,
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A job, for programs.
#[derive(Debug, Serialize)]
struct JobJson {
    name: String,
    state: &'static str,
    problem: Option<String>,
    operator: String,
    reason: String,
    policy_digest: String,
    created_at: String,
    changed_at: String,
    leased_until: Option<String>,
    read: u64,
    of: u64,
    selected: u64,
    changed: u64,
    rows: Vec<Line>,
}

impl JobJson {
    fn of(job: &Job, progress: &Progress) -> Self {
        let (read, of) = progress.offsets();
        Self {
            name: job.job.name.to_string(),
            state: job.state.as_str(),
            problem: job.problem.clone(),
            operator: job.job.operator.clone(),
            reason: job.job.reason.clone(),
            policy_digest: job.job.policy_digest.clone(),
            created_at: job.created_at.to_string(),
            changed_at: job.changed_at.to_string(),
            leased_until: job.runner.map(|(_, until)| until.to_string()),
            read,
            of,
            selected: progress.report.selected,
            changed: progress.report.changed(),
            rows: progress.report.lines(),
        }
    }
}

pub(super) async fn pause(args: ChangeArgs) -> anyhow::Result<Exit> {
    let from = [JobState::Running];
    change(args, OperatorCommand::ReplayPause, &from, JobState::Paused).await
}

pub(super) async fn abort(args: ChangeArgs) -> anyhow::Result<Exit> {
    let from = [JobState::Running, JobState::Paused, JobState::Failed];
    change(args, OperatorCommand::ReplayAbort, &from, JobState::Aborted).await
}

async fn change(
    args: ChangeArgs,
    command: OperatorCommand,
    from: &[JobState],
    to: JobState,
) -> anyhow::Result<Exit> {
    let ChangeArgs { name, reason, place } = args;
    let Loaded { settings, .. } = place.load()?;
    beside_store(&settings, async |store| {
        let grounds = Said::from(reason).grounds(&settings, store).await?;
        let stands = |job: &Job| Misused(format!("the job {name} is {}", job.state.as_str()));
        let job = find(store, &name).await?;
        if !from.contains(&job.state) {
            return Err(stands(&job).into());
        }
        let intended = Intended { command, subject: subject_of(&name), grounds };
        let change = async || {
            if !store.move_job(&name, from, to, None, now()).await.map_err(unavailable)? {
                return Err(stands(&find(store, &name).await?).into());
            }
            note(&format!("the job {name} is {}", to.as_str()))?;
            Ok(Exit::Ok)
        };
        Ok(recorded(&settings, store, intended, change).await?.exit())
    })
    .await
}

/// A job, for the record of what is done with it.
pub(super) fn subject_of(name: &JobName) -> Value {
    json!({ "job": name.as_str() })
}

pub(super) async fn status(args: StatusArgs) -> anyhow::Result<Exit> {
    let StatusArgs { name, json, place } = args;
    at_store(place, async |store| {
        let job = find(store, &name).await?;
        let progress = Progress::from_json(&job.job.progress)?;
        let mut out = io::stdout().lock();
        if json {
            write_json(&mut out, &JobJson::of(&job, &progress))?;
            return Ok(Exit::Ok);
        }
        let (read, of) = progress.offsets();
        writeln!(out, "{name}  {}  {read} of {of} records", job.state.as_str())?;
        if let Some(problem) = &job.problem {
            writeln!(out, "failed: {}", shown(problem))?;
        }
        let by = shown(&job.job.operator);
        writeln!(out, "begun {} by {by}: {}", job.created_at, shown(&job.job.reason))?;
        write(&mut out, Output::Table, &progress.report, &job.job.policy_digest, Tense::Does)?;
        Ok(Exit::Ok)
    })
    .await
}

pub(super) async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let ListArgs { limit, json, place } = args;
    at_store(place, async |store| {
        let mut rows = table(["job", "state", "begun", "read", "of", "changed", "by", "reason"]);
        let mut out = io::stdout().lock();
        let jobs = store.jobs(limit as usize).await.map_err(unavailable)?;
        for job in &jobs {
            let progress = Progress::from_json(&job.job.progress)?;
            if json {
                write_json(&mut out, &JobJson::of(job, &progress))?;
                continue;
            }
            let (read, of) = progress.offsets();
            rows.add_row([
                job.job.name.to_string(),
                job.state.as_str().to_owned(),
                job.created_at.to_string(),
                read.to_string(),
                of.to_string(),
                progress.report.changed().to_string(),
                cell(&job.job.operator),
                cell(&job.job.reason),
            ]);
        }
        if !json && !jobs.is_empty() {
            writeln!(out, "{rows}")?;
        }
        if jobs.is_empty() {
            note("no job was ever begun")?;
        }
        Ok(Exit::Ok)
    })
    .await
}

/// Does something at the store, beside the processes that have it.
async fn at_store(
    place: PlaceArgs,
    work: impl AsyncFnOnce(&AnyStore) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let Loaded { settings, .. } = place.load()?;
    beside_store(&settings, work).await
}
