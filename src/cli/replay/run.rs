//! `penstock replay run` and `resume`: a job, run by this process or the one that has queue and store, until it is
//! done or stopped.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::account::Policy;
use crate::cli::config::PlaceArgs;
use crate::cli::moment::now;
use crate::cli::operator::{OptionalReasonArgs, ReasonArgs, Said, operator};
use crate::cli::output::note;
use crate::cli::process::{AnyQueue, AnyStore, at_ports, beside_ports};
use crate::cli::recorded::{Intended, recorded};
use crate::cli::signals::stop_on_signal;
use crate::cli::{Exit, Misused, options, unavailable};
use crate::replay::{
    Driven, Driver, Mode, News, Progress, RESUMABLE, RebuildRefused, ReplayError, Request, Selection,
    Window, commit_rebuilt, new_job, rebuild_window,
};
use crate::settings::{Loaded, QueueKind, Settings};
use crate::sqlite::DataDir;
use crate::store::{Job, JobName, JobState, NewJob, OperatorCommand, Replays};

use super::jobs::subject_of;
use super::output::{Output, Tense, write};
use super::parse_name;
use super::plan::{misused, tell_what_is_missing};
use super::selection::{SelectionArgs, subject};
use super::told::Told;

/// How soon a process that has queue and store takes a job up.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(10);
/// Jobs among which one is looked for that comes first, the newest first.
const LOOKED_AT: usize = 1_000;
/// Between two looks at a job that another process runs.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long everything may take from a signal to the end.
const LONGEST_STOP: Duration = Duration::from_secs(20);

/// Options of `penstock replay run`.
#[derive(Args, Debug)]
pub(in crate::cli) struct RunArgs {
    /// The job's name: a to z, 0 to 9 and -; its events carry it
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: JobName,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Rebuild an empty store, which must be given with --from beginning: what was decided is there again as it was
    /// told, with its frontiers, and nobody is told again. No worker may run meanwhile
    #[arg(long)]
    no_events: bool,
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
    #[command(flatten)]
    reason: OptionalReasonArgs,
    /// How the changes are listed in the end
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let RunArgs { name, reason, selection, no_events, rate, max_errors, output, place } = args;
    let Loaded { settings, policy, .. } = place.load()?;
    let grounds = Said::from(reason).grounds_beside(&settings).await?;
    let (asked, window) = (selection.window(grounds.at), selection.window_until(&grounds));
    let selection = selection.selection()?;
    let mode = if no_events { Mode::Rebuild } else { Mode::Redecide };
    let is_all = asked == Window::from_the_beginning() && selection == Selection::default();
    if mode == Mode::Rebuild && !is_all {
        let told =
            "--no-events rebuilds all of a store: give it with --from beginning, and select nothing";
        return Err(Misused(told.to_owned()).into());
    }
    let request = Request { mode, selection, max_records_per_second: rate, max_errors };
    let policy = Arc::new(policy);
    let digest = policy.digest();
    let subject = subject(&name, &window, &request, &digest);
    let why = grounds.reason().unwrap_or_default().to_owned();
    let check = async |queue: &AnyQueue, store: &AnyStore, opened: Opened| {
        must_be_alone(&settings, mode, opened)?;
        let group = options::worker_group(&settings.queue);
        let generation = options::generation(&settings);
        let resolved = match mode {
            Mode::Rebuild => rebuild_window(queue, store, group, generation).await.map_err(refused)?,
            Mode::Redecide => window.resolve(queue, store, group, generation).await.map_err(misused)?,
        };
        tell_what_is_missing(&resolved)?;
        if store.job(&name).await.map_err(unavailable)?.is_some() {
            return Err(is_taken(&name).into());
        }
        let job = new_job(name.clone(), &request, &resolved, digest.clone(), operator(), why.clone())?;
        Ok((mode, job))
    };
    let enter = async |store: &AnyStore, job: NewJob| {
        let is_entered = store.create_job(&job, now()).await.map_err(unavailable)?;
        if is_entered { Ok(()) } else { Err(is_taken(&name).into()) }
    };
    let command = OperatorCommand::ReplayRun;
    let job = Begun { settings: &settings, policy: &policy, name: &name, output };
    job.go_on(Intended { command, subject, grounds }, check, enter).await
}

pub(super) async fn resume(args: ResumeArgs) -> anyhow::Result<Exit> {
    let ResumeArgs { name, reason, output, place } = args;
    let Loaded { settings, policy, .. } = place.load()?;
    let grounds = Said::from(reason).grounds_beside(&settings).await?;
    let policy = Arc::new(policy);
    let digest = policy.digest();
    let check = async |_: &AnyQueue, store: &AnyStore, opened: Opened| {
        let job = find(store, &name).await?;
        if job.job.policy_digest != digest {
            let told = format!(
                "the rules and lists are others ({digest}) than those the job began with ({}): put those back, or \
                 `penstock replay abort {name}` and begin another job",
                job.job.policy_digest
            );
            return Err(Misused(told).into());
        }
        let mode = Request::of(&job)?.mode;
        must_be_alone(&settings, mode, opened)?;
        if job.state == JobState::Running || RESUMABLE.contains(&job.state) {
            return Ok((mode, job));
        }
        Err(Misused(format!("the job {name} is {}", job.state.as_str())).into())
    };
    let enter = async |store: &AnyStore, job: Job| {
        let is_running = job.state == JobState::Running;
        let resumed = store.move_job(&name, &RESUMABLE, JobState::Running, None, now());
        if is_running || resumed.await.map_err(unavailable)? {
            return Ok(());
        }
        let job = find(store, &name).await?;
        Err(Misused(format!("the job {name} is {}", job.state.as_str())).into())
    };
    let (command, subject) = (OperatorCommand::ReplayResume, subject_of(&name));
    let job = Begun { settings: &settings, policy: &policy, name: &name, output };
    job.go_on(Intended { command, subject, grounds }, check, enter).await
}

fn is_taken(name: &JobName) -> Misused {
    Misused(format!(
        "there is a job {name} already: `penstock replay status {name}` shows it; take another name, or `penstock \
         replay resume {name}` if it is to go on"
    ))
}

/// Where queue and store are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    /// By this process alone, or beside others that may have them too.
    Here,
    /// Beside the one process that has them.
    Beside,
}

/// A store is rebuilt while no other process of an embedded one works on it.
fn must_be_alone(settings: &Settings, mode: Mode, opened: Opened) -> Result<(), Misused> {
    if mode == Mode::Rebuild && opened == Opened::Beside {
        return Err(Misused(format!(
            "a store is rebuilt while nobody has it: stop the process that has {}",
            settings.data_dir.display()
        )));
    }
    Ok(())
}

fn refused(error: RebuildRefused) -> anyhow::Error {
    match error {
        RebuildRefused::Queue(_) | RebuildRefused::Store(_) => unavailable(error),
        RebuildRefused::Deleted { .. }
        | RebuildRefused::NotEmpty
        | RebuildRefused::NotBegun
        | RebuildRefused::NothingThere => Misused(error.to_string()).into(),
    }
}

/// A job, or an error that says that there is none.
pub(super) async fn find(store: &AnyStore, name: &JobName) -> anyhow::Result<Job> {
    let job = store.job(name).await.map_err(unavailable)?;
    job.ok_or_else(|| {
        Misused(format!("there is no job {name}; `penstock replay list` shows those there are")).into()
    })
}

/// A job that is to go on, here or in the process that has queue and store.
struct Begun<'a> {
    settings: &'a Settings,
    policy: &'a Arc<Policy>,
    name: &'a JobName,
    output: Output,
}

impl Begun<'_> {
    /// Checks that the job can go on, enters it and sees it to its end, all of it in the operators' record. A queue and
    /// a store that only one process can have are left to the one that has them.
    async fn go_on<J>(
        &self,
        intended: Intended,
        check: impl AsyncFnOnce(&AnyQueue, &AnyStore, Opened) -> anyhow::Result<(Mode, J)>,
        enter: impl AsyncFnOnce(&AnyStore, J) -> anyhow::Result<()>,
    ) -> anyhow::Result<Exit> {
        let stop = stop_on_signal(LONGEST_STOP).context("listening for signals")?;
        let settings = self.settings;
        let is_embedded = settings.queue.kind == QueueKind::Sqlite;
        if is_embedded && DataDir::is_in_use(&settings.data_dir) {
            return beside_ports(settings, async |queue, store| {
                let (_, job) = check(queue, store, Opened::Beside).await?;
                let follow = async || {
                    enter(store, job).await?;
                    Followed { begun: self, store, told: Told::new() }.follow(&stop).await
                };
                Ok(recorded(settings, store, intended, follow).await?.exit())
            })
            .await;
        }
        at_ports(settings, async |queue, store| {
            let (mode, job) = check(queue, store, Opened::Here).await?;
            let drive = async || {
                enter(store, job).await?;
                self.drive(queue, store, mode, &stop).await
            };
            Ok(recorded(settings, store, intended, drive).await?.exit())
        })
        .await
    }

    /// Runs the job to its end; what is away is waited for.
    async fn drive(
        &self,
        queue: &AnyQueue,
        store: &AnyStore,
        mode: Mode,
        stop: &CancellationToken,
    ) -> anyhow::Result<Exit> {
        let way = options::replay_way(self.settings, self.policy, store, Selection::default());
        let prefix = self.settings.events.type_prefix.clone();
        let driver = Driver::new(queue.clone(), way, prefix, self.name.clone());
        let told = Told::new();
        let ended = driver.drive(stop, |news| match news {
            News::Progress(progress) => told.tell(progress),
            News::Away(error) => Told::away(error),
        });
        let ended = ended.await;
        told.clear();
        match ended {
            Ok(ended) => {
                if mode == Mode::Rebuild && ended == Driven::Done {
                    let settings = self.settings;
                    let group = options::worker_group(&settings.queue);
                    let committed = commit_rebuilt(queue, store, group, options::generation(settings));
                    committed.await.map_err(refused)?;
                }
                self.write_report(store).await?;
                self.left(store, ended).await
            }
            Err(error) => Err(self.failed(store, error).await),
        }
    }

    async fn write_report(&self, store: &AnyStore) -> anyhow::Result<()> {
        let job = find(store, self.name).await?;
        let report = Progress::from_json(&job.job.progress)?.report;
        write(&mut io::stdout().lock(), self.output, &report, &job.job.policy_digest, Tense::Does)
    }

    /// A job that this process was asked to leave is paused: nobody goes on with it unasked.
    async fn left(&self, store: &AnyStore, ended: Driven) -> anyhow::Result<Exit> {
        if ended == Driven::Done {
            return Ok(Exit::Ok);
        }
        let name = self.name;
        let from = [JobState::Running];
        store.move_job(name, &from, JobState::Paused, None, now()).await.map_err(unavailable)?;
        note(&format!("stopped; `penstock replay resume {name}` goes on from here"))?;
        Ok(Exit::Failure)
    }

    async fn failed(&self, store: &AnyStore, error: ReplayError) -> anyhow::Error {
        let name = self.name;
        match error {
            ReplayError::Stopped(state) => stopped(name, state),
            ReplayError::NotOurs => self.held_by(store).await,
            error => anyhow::Error::from(error).context(has_failed(name)),
        }
    }

    async fn held_by(&self, store: &AnyStore) -> anyhow::Error {
        let name = self.name;
        match find(store, name).await {
            Ok(Job { state: JobState::Running, runner: Some((_, until)), .. }) => anyhow!(
                "another process runs the job {name}, or did so until lately: if it is gone, try again after {until}; \
                 to stop it, `penstock replay pause {name}`"
            ),
            Ok(job) => anyhow!("the job {name} is {}", job.state.as_str()),
            Err(error) => error,
        }
    }
}

fn stopped(name: &JobName, state: JobState) -> anyhow::Error {
    let then = if state == JobState::Paused {
        format!("; `penstock replay resume {name}` goes on")
    } else {
        String::new()
    };
    anyhow!("the job {name} was {} by an operator{then}", state.as_str())
}

fn has_failed(name: &JobName) -> String {
    format!("the job {name} has failed; once that is mended, `penstock replay resume {name}` goes on")
}

/// A job that the process runs which has queue and store.
struct Followed<'a> {
    begun: &'a Begun<'a>,
    store: &'a AnyStore,
    told: Told,
}

impl Followed<'_> {
    /// Tells how far the job is until it ends.
    async fn follow(&self, stop: &CancellationToken) -> anyhow::Result<Exit> {
        let mut alone_since = Instant::now();
        let mut waits_behind = None;
        loop {
            let job = find(self.store, self.begun.name).await?;
            self.told.tell(&Progress::from_json(&job.job.progress)?);
            if let Some(ended) = self.ended(&job).await {
                self.told.clear();
                return ended;
            }
            match self.runs(&job).await? {
                Some(name) => {
                    alone_since = Instant::now();
                    if name != *self.begun.name
                        && waits_behind.replace(name.clone()) != Some(name.clone())
                    {
                        note(&format!("the job waits behind {name}, which runs now"))?;
                    }
                }
                None if alone_since.elapsed() > TAKEN_UP_WITHIN => return self.left_alone().await,
                None => {}
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                return self.asked_to_stop();
            }
        }
    }

    /// What a job that has ended comes to.
    async fn ended(&self, job: &Job) -> Option<anyhow::Result<Exit>> {
        let name = self.begun.name;
        match job.state {
            JobState::Running => None,
            JobState::Completed => Some(self.begun.write_report(self.store).await.map(|()| Exit::Ok)),
            JobState::Failed => {
                let problem = job.problem.clone().unwrap_or_default();
                Some(Err(anyhow!(problem).context(has_failed(name))))
            }
            state @ (JobState::Paused | JobState::Aborted) => Some(Err(stopped(name, state))),
        }
    }

    /// The job that somebody runs now: this one, or another that comes first.
    async fn runs(&self, job: &Job) -> anyhow::Result<Option<JobName>> {
        let now = now();
        let is_run = |job: &Job| {
            job.state == JobState::Running && job.runner.is_some_and(|(_, until)| until > now)
        };
        if is_run(job) {
            return Ok(Some(job.job.name.clone()));
        }
        let jobs = self.store.jobs(LOOKED_AT).await.map_err(unavailable)?;
        Ok(jobs.into_iter().find(is_run).map(|job| job.job.name))
    }

    /// Nobody runs the job: it is paused, so that nobody does unasked.
    async fn left_alone(&self) -> anyhow::Result<Exit> {
        self.told.clear();
        let (name, from) = (self.begun.name, [JobState::Running]);
        let paused = self.store.move_job(name, &from, JobState::Paused, None, now()).await;
        paused.map_err(unavailable)?;
        let data_dir = &self.begun.settings.data_dir;
        let why = if DataDir::is_in_use(data_dir) {
            format!(
                "the process that has {} goes by other rules or lists, or takes no jobs up; restart it with this \
                 configuration",
                data_dir.display()
            )
        } else {
            format!("no process has {} any more", data_dir.display())
        };
        Err(anyhow!(
            "nobody runs the job {name}: {why}; it is paused, `penstock replay resume {name}` goes on"
        ))
    }

    fn asked_to_stop(&self) -> anyhow::Result<Exit> {
        self.told.clear();
        let name = self.begun.name;
        note(&format!(
            "the job goes on in the process that has queue and store; `penstock replay status {name}` tells how far \
             it is, `penstock replay pause {name}` stops it"
        ))?;
        Ok(Exit::Failure)
    }
}
