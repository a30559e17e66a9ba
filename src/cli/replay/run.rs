//! `penstock replay run` and `resume`: a job, run by this process until it is done or stopped.

use std::cell::{Cell, OnceCell};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::account::Policy;
use crate::cli::config::PlaceArgs;
use crate::cli::moment::now;
use crate::cli::output::{note, progress_bar, write_json};
use crate::cli::process::{AnyQueue, AnyStore, at_ports};
use crate::cli::signals::stop_on_signal;
use crate::cli::{Exit, Misused, options, unavailable};
use crate::queue::QueueError;
use crate::replay::{
    Progress, RESUMABLE, ReplayError, Request, Run, RunStep, Selection, leased_until, new_job,
};
use crate::settings::{Loaded, Settings};
use crate::store::{Job, JobName, JobState, Replays, RunnerId, StoreError};
use crate::telemetry::with_causes;

use super::output::{Output, Tense, write};
use super::plan::{misused, tell_what_is_missing};
use super::selection::SelectionArgs;
use super::{parse_name, way};

/// Between two tries while queue or store is away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often a process whose output is no terminal tells how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// How long everything may take from a signal to the end.
const LONGEST_STOP: Duration = Duration::from_secs(20);

/// Options of `penstock replay run`.
#[derive(Args, Debug)]
pub(in crate::cli) struct RunArgs {
    /// The job's name: a to z, 0 to 9 and -; its events carry it
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: JobName,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Go through at most so many records a second [default: as fast as queue and store allow]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Fail when more submissions than this cannot be read or stored [default: go on]
    #[arg(long, value_name = "COUNT")]
    max_errors: Option<u64>,
    /// How the changes are listed in the end
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Options of `penstock replay resume`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ResumeArgs {
    /// The job
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: JobName,
    /// How the changes are listed in the end
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let RunArgs { name, reason, selection, rate, max_errors, output, place } = args;
    if reason.trim().is_empty() {
        return Err(Misused("--reason must say why".to_owned()).into());
    }
    let Loaded { settings, policy, .. } = place.load()?;
    let window = selection.window(now());
    let selection = selection.selection()?;
    let request = Request { selection, max_records_per_second: rate, max_errors };
    let group = options::worker_group(&settings.queue);
    let digest = policy.digest();
    let policy = Arc::new(policy);
    at_ports(&settings, async |queue, store| {
        let resolved = window.resolve(queue, store, group, options::generation(&settings)).await;
        let resolved = resolved.map_err(misused)?;
        tell_what_is_missing(&resolved)?;
        let job = new_job(name.clone(), &request, &resolved, digest, operator(), reason)?;
        if !store.create_job(&job, now()).await.map_err(unavailable)? {
            let told = format!(
                "there is a job {name} already: `penstock replay status {name}` shows it; take another name, or \
                 `penstock replay resume {name}` if it is to go on"
            );
            return Err(Misused(told).into());
        }
        Runner::new(queue, store, &settings, &policy, name).run(output).await
    })
    .await
}

pub(super) async fn resume(args: ResumeArgs) -> anyhow::Result<Exit> {
    let ResumeArgs { name, output, place } = args;
    let Loaded { settings, policy, .. } = place.load()?;
    let digest = policy.digest();
    let policy = Arc::new(policy);
    at_ports(&settings, async |queue, store| {
        let job = find(store, &name).await?;
        if job.job.policy_digest != digest {
            let told = format!(
                "the rules and lists are others ({digest}) than those the job began with ({}): put those back, or \
                 `penstock replay abort {name}` and begin another job",
                job.job.policy_digest
            );
            return Err(Misused(told).into());
        }
        if job.state != JobState::Running
            && !store
                .move_job(&name, &RESUMABLE, JobState::Running, None, now())
                .await
                .map_err(unavailable)?
        {
            return Err(Misused(format!("the job {name} is {}", job.state.as_str())).into());
        }
        Runner::new(queue, store, &settings, &policy, name).run(output).await
    })
    .await
}

/// A job, or an error that says that there is none.
pub(super) async fn find(store: &AnyStore, name: &JobName) -> anyhow::Result<Job> {
    let job = store.job(name).await.map_err(unavailable)?;
    job.ok_or_else(|| {
        Misused(format!("there is no job {name}; `penstock replay list` shows those there are")).into()
    })
}

/// Who runs the command, and where.
fn operator() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// How a run ended without an error.
enum Ended {
    Done,
    /// This process was asked to stop.
    Asked,
}

struct Runner<'a> {
    queue: &'a AnyQueue,
    store: &'a AnyStore,
    settings: &'a Settings,
    policy: &'a Arc<Policy>,
    name: JobName,
    id: RunnerId,
}

impl<'a> Runner<'a> {
    fn new(
        queue: &'a AnyQueue,
        store: &'a AnyStore,
        settings: &'a Settings,
        policy: &'a Arc<Policy>,
        name: JobName,
    ) -> Self {
        Self { queue, store, settings, policy, name, id: RunnerId(Uuid::new_v4()) }
    }

    /// Runs the job to its end; what is away is waited for.
    async fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let stop = stop_on_signal(LONGEST_STOP).context("listening for signals")?;
        let told = Told::new();
        let mut is_away = false;
        let ended = loop {
            match self.go_on(&stop, &told).await {
                Ok(ended) => break ended,
                Err(error) if may_come_back(&error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        let error = with_causes(&error);
                        note(&format!("{error}; the job goes on when that is there again"))?;
                    }
                    if stop.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await.is_none() {
                        break Ended::Asked;
                    }
                }
                Err(error) => return Err(self.failed(error).await),
            }
        };
        told.clear();
        let job = find(self.store, &self.name).await?;
        let progress = Progress::from_json(&job.job.progress)?;
        write(&mut io::stdout().lock(), output, &progress.report, &job.job.policy_digest, Tense::Does)?;
        match ended {
            Ended::Done => Ok(Exit::Ok),
            Ended::Asked => {
                let name = &self.name;
                note(&format!("stopped; `penstock replay resume {name}` goes on from here"))?;
                Ok(Exit::Failure)
            }
        }
    }

    async fn go_on(&self, stop: &CancellationToken, told: &Told) -> Result<Ended, ReplayError> {
        let now = now();
        if !self.store.lease_job(&self.name, self.id, now, leased_until(now)).await? {
            return Err(ReplayError::NotOurs);
        }
        let Some(job) = self.store.job(&self.name).await? else { return Err(ReplayError::NotOurs) };
        let way = way(self.settings, self.policy, self.store, Selection::default());
        let prefix = self.settings.events.type_prefix.clone();
        let going_on = Run::go_on(self.queue, way, &job, self.id, prefix);
        let Some(run) = stop.run_until_cancelled(going_on).await else { return Ok(Ended::Asked) };
        let mut run = run?;
        loop {
            // Dropping a step loses nothing: what it wrote is told by whoever goes on.
            let Some(taken) = stop.run_until_cancelled(run.step(Instant::now())).await else {
                run.leave().await?;
                return Ok(Ended::Asked);
            };
            told.tell(run.progress());
            match taken? {
                RunStep::Done => return Ok(Ended::Done),
                RunStep::Progress(pause) => {
                    if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        run.leave().await?;
                        return Ok(Ended::Asked);
                    }
                }
            }
        }
    }

    /// Notes why the job failed, if it is this process's to say so.
    async fn failed(&self, error: ReplayError) -> anyhow::Error {
        let name = &self.name;
        match error {
            ReplayError::Stopped(state) => {
                let then = if state == JobState::Paused {
                    format!("; `penstock replay resume {name}` goes on")
                } else {
                    String::new()
                };
                anyhow!("the job {name} was {} by an operator{then}", state.as_str())
            }
            ReplayError::NotOurs => self.held_by().await,
            error => {
                let problem = with_causes(&error).to_string();
                let moved = self
                    .store
                    .move_job(name, &[JobState::Running], JobState::Failed, Some(&problem), now())
                    .await;
                let error = anyhow::Error::from(error);
                match moved {
                    Ok(_) => error.context(format!(
                        "the job {name} has failed; once that is mended, `penstock replay resume {name}` goes on"
                    )),
                    Err(_) => error,
                }
            }
        }
    }

    async fn held_by(&self) -> anyhow::Error {
        let name = &self.name;
        match find(self.store, name).await {
            Ok(Job { state: JobState::Running, runner: Some((_, until)), .. }) => anyhow!(
                "another process runs the job {name}, or did so until lately: if it is gone, try again after {until}; \
                 to stop it, `penstock replay pause {name}`"
            ),
            Ok(job) => anyhow!("the job {name} is {}", job.state.as_str()),
            Err(error) => error,
        }
    }
}

/// Whether the same may work later.
fn may_come_back(error: &ReplayError) -> bool {
    matches!(
        error,
        ReplayError::Queue(QueueError::Unavailable { .. } | QueueError::Overloaded)
            | ReplayError::Store(StoreError::Unavailable { .. })
    )
}

/// How far a job is, for programs.
#[derive(Serialize)]
struct ProgressJson {
    read: u64,
    of: u64,
    changed: u64,
    records_per_second: u64,
    left_seconds: Option<u64>,
}

/// Tells how far a job is: by a bar on a terminal, by lines of JSON elsewhere.
struct Told {
    bar: ProgressBar,
    begun_at: Instant,
    last_at: Cell<Instant>,
    read_before: OnceCell<u64>,
}

impl Told {
    fn new() -> Self {
        let now = Instant::now();
        let read_before = OnceCell::new();
        Self { bar: progress_bar(0, "records"), begun_at: now, last_at: now.into(), read_before }
    }

    fn tell(&self, progress: &Progress) {
        let (read, of) = progress.offsets();
        self.bar.set_length(of);
        self.bar.set_position(read);
        let before = *self.read_before.get_or_init(|| read);
        if io::stderr().is_terminal() || self.last_at.get().elapsed() < TOLD_EVERY {
            return;
        }
        self.last_at.set(Instant::now());
        let seconds = self.begun_at.elapsed().as_secs().max(1);
        let records_per_second = (read - before) / seconds;
        let json = ProgressJson {
            read,
            of,
            changed: progress.report.changed(),
            records_per_second,
            left_seconds: (of - read).checked_div(records_per_second),
        };
        // Nobody may be listening.
        let _ = write_json(&mut io::stderr().lock(), &json);
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
