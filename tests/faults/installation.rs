//! An installation of penstock: topics, a database, intakes, workers and loads of its own, and what is
//! known of it in the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use penstock::account::{Generation, Offset, Partition};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::checker::{Answered, Counts, DeadLetter, Event, Facts, Order, Submitted, World};
use crate::database::Database;
use crate::log::Log;
use crate::pair;
use crate::process::{Feed, Load, Role, TOKEN, keep_logs, set_up, wait_until};
use crate::servers::Servers;

/// Partitions of the submitted topic.
pub const PARTITIONS: u32 = 6;
/// The workers' consumer group.
pub const GROUP: &str = "penstock-worker";
/// The topic they read.
const SUBMITTED: &str = "accounts.submitted";
/// Lanes of a worker.
const LANES: usize = 2;
/// How long a silent worker keeps its partitions.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(8);
/// How long the client of a worker may go without polling.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(45);
/// Longest a statement works or waits for a lock, as set below.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Within which everything that was accepted must have its outcome once a fault is over.
const DRAIN_DEADLINE: Duration = Duration::from_mins(2);
/// Within which a session that a fault left in a transaction must be gone.
const IDLE_DEADLINE: Duration = Duration::from_secs(15);
/// No process may need more.
const MAX_RSS_BYTES: u64 = 200 * 1024 * 1024;

/// Which roles reach which server through its proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxied {
    #[default]
    Nothing,
    IntakesToKafka,
    WorkersToKafka,
    WorkersToPostgres,
}

/// What an installation is like.
#[derive(Clone, Debug)]
pub struct Setup {
    pub proxied: Proxied,
    pub intakes: usize,
    pub workers: usize,
    pub feed: Feed,
    /// Where the database lies.
    pub tablespace: &'static str,
    /// Further settings of every process.
    pub settings: &'static str,
}

/// Everything of one run.
pub struct Installation<'a> {
    pub servers: &'a Servers,
    pub setup: Setup,
    pub log: Log,
    pub database: Database,
    pub intakes: Vec<Role>,
    pub workers: Vec<Role>,
    pub loads: Vec<Load>,
    prefix: String,
    directory: TempDir,
    answers: Vec<Answered>,
    retries: u64,
    resends: u64,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub counts: Counts,
    pub answers: usize,
    pub retries: u64,
    pub resends: u64,
    pub drained_within: Duration,
    pub peak_rss_bytes: u64,
}

impl<'a> Installation<'a> {
    /// Makes topics and tables; nothing runs yet.
    pub async fn new(servers: &'a Servers, setup: Setup) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("faults_{}_{number}", std::process::id());
        let prefix = format!("{name}.");
        let database = servers.database(&name);
        database.create(&servers.database("postgres"), setup.tablespace).await?;
        let mut installation = Self {
            servers,
            log: Log::new(servers.brokers(false), prefix.clone()),
            database,
            intakes: Vec::new(),
            workers: Vec::new(),
            loads: Vec::new(),
            directory: tempfile::tempdir()?,
            prefix,
            answers: Vec::new(),
            retries: 0,
            resends: 0,
            setup,
        };
        installation.intakes = (0..installation.setup.intakes)
            .map(|index| installation.role("intake", index))
            .collect::<anyhow::Result<_>>()?;
        installation.workers = (0..installation.setup.workers)
            .map(|index| installation.role("worker", index))
            .collect::<anyhow::Result<_>>()?;
        let config = installation.write_config("admin", 0)?;
        set_up(&config).await?;
        Ok(installation)
    }

    /// Starts all roles, then a load for each intake.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let roles = self.intakes.iter_mut().chain(&mut self.workers);
        futures_util::future::try_join_all(roles.map(Role::start)).await?;
        for index in 0..self.intakes.len() {
            let feed = Feed { seed: self.setup.feed.seed + index as u64, ..self.setup.feed.clone() };
            let answers = self.directory.path().join(format!("answers-{index}"));
            self.loads.push(Load::start(&self.intake_url(index), &feed, answers)?);
        }
        self.progressed(Duration::from_mins(1)).await.map(drop)
    }

    /// Adds a worker and starts it.
    pub async fn add_worker(&mut self) -> anyhow::Result<()> {
        let mut worker = self.role("worker", self.workers.len())?;
        worker.start().await?;
        self.workers.push(worker);
        Ok(())
    }

    /// Address of an intake for clients.
    pub fn intake_url(&self, index: usize) -> String {
        format!("http://127.0.0.1:{}", self.servers.ports.intake(index))
    }

    /// Makes the database read-only, or writable again, also for those who use it already.
    pub async fn set_read_only(&self, is_read_only: bool) -> anyhow::Result<()> {
        let name = self.prefix.trim_end_matches('.');
        let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {is_read_only}");
        self.servers.database("postgres").run(&set).await?;
        self.database.terminate_sessions().await
    }

    /// The prefix of its topics.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL of its database.
    pub fn postgres_url(&self) -> String {
        self.servers.postgres(self.prefix.trim_end_matches('.'), false)
    }

    fn role(&self, kind: &'static str, index: usize) -> anyhow::Result<Role> {
        Ok(Role::new(kind, self.write_config(kind, index)?))
    }

    fn write_config(&self, kind: &str, index: usize) -> anyhow::Result<PathBuf> {
        let proxied = self.setup.proxied;
        let kafka_proxied = matches!(
            (proxied, kind),
            (Proxied::IntakesToKafka, "intake") | (Proxied::WorkersToKafka, "worker")
        );
        let postgres_proxied = (proxied, kind) == (Proxied::WorkersToPostgres, "worker");
        let brokers = self.servers.brokers(kafka_proxied);
        let url = self.servers.postgres(self.prefix.trim_end_matches('.'), postgres_proxied);
        let port = self.servers.ports.intake(index);
        let listen = if kind == "intake" { format!("127.0.0.1:{port}") } else { "127.0.0.1:0".into() };
        let session_timeout = SESSION_TIMEOUT.as_secs();
        let lock_timeout = LOCK_TIMEOUT.as_secs();
        let poll_timeout_ms = POLL_TIMEOUT.as_millis();
        let own = format!(
            "queue.kafka.partitions = {PARTITIONS}\n\
             queue.kafka.session_timeout = '{session_timeout}s'\n\
             queue.kafka.group = '{GROUP}'\n\
             queue.kafka.extra = {{ 'max.poll.interval.ms' = '{poll_timeout_ms}' }}\n\
             store.postgres.connect_timeout = '2s'\n\
             store.postgres.statement_timeout = '3s'\n\
             store.postgres.lock_timeout = '{lock_timeout}s'\n\
             store.postgres.idle_in_transaction_timeout = '3s'\n\
             intake.listen = '{listen}'\n\
             worker.lanes = {LANES}\n\
             worker.retry_max_backoff = '1s'\n\
             telemetry.log_format = 'json'\n\
             {}",
            self.setup.settings
        );
        let config = pair::settings(&brokers, &self.prefix, &url, TOKEN) + &own;
        let file = self.config_file(kind, index);
        std::fs::write(&file, config)?;
        Ok(file)
    }

    /// The configuration of who runs commands.
    pub fn admin_config(&self) -> PathBuf {
        self.config_file("admin", 0)
    }

    fn config_file(&self, kind: &str, index: usize) -> PathBuf {
        self.directory.path().join(format!("{kind}-{index}.toml"))
    }

    /// Has every process go by other settings: roles are restarted one after the other.
    pub async fn change_settings(&mut self, from: &str, to: &str) -> anyhow::Result<()> {
        let of_role = |kind: &'static str| move |index| (kind, index);
        let files = (0..self.intakes.len()).map(of_role("intake"));
        let files = files.chain((0..self.workers.len()).map(of_role("worker"))).chain([("admin", 0)]);
        for file in files.map(|(kind, index)| self.config_file(kind, index)) {
            let settings = std::fs::read_to_string(&file)?;
            ensure!(settings.contains(from), "{from:?} is not set");
            std::fs::write(&file, settings.replace(from, to))?;
        }
        for role in self.intakes.iter_mut().chain(&mut self.workers) {
            role.stop().await?;
            role.start().await?;
        }
        Ok(())
    }

    /// How many records there are on the submitted topic.
    pub async fn submitted(&self) -> anyhow::Result<u64> {
        Ok(self.log.ends(SUBMITTED).await?.values().map(|end| end.0).sum())
    }

    /// Waits until every load has an answer to a batch that was sent after this call.
    pub async fn progressed(&mut self, within: Duration) -> anyhow::Result<Duration> {
        let wanted: Vec<usize> =
            self.loads.iter().map(|load| load.answered() + Load::in_flight()).collect();
        let begun = Instant::now();
        let mut last = Duration::ZERO;
        for (index, wanted) in wanted.into_iter().enumerate() {
            let left = within.saturating_sub(begun.elapsed());
            wait_until("every load is answered again", left, async || {
                self.check()?;
                Ok(self.loads[index].answered() >= wanted)
            })
            .await?;
            last = begun.elapsed();
        }
        Ok(last)
    }

    /// Waits until the running workers have shared the partitions among their lanes.
    pub async fn balanced(&mut self, within: Duration) -> anyhow::Result<Duration> {
        wait_until("the workers have shared the partitions", within, async || {
            self.check()?;
            let workers = self.workers.iter().filter(|worker| worker.is_running()).count();
            self.log.is_balanced(GROUP, workers * LANES).await
        })
        .await
    }

    /// An error when a process has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.loads.iter_mut().try_for_each(Load::check)?;
        self.intakes.iter_mut().chain(&mut self.workers).try_for_each(Role::check)
    }

    /// Promise 5 at this very moment, while everything runs.
    pub async fn check_commits(&self) -> anyhow::Result<()> {
        // Read in this order, what is not done yet cannot be committed yet.
        let committed = self.log.committed(GROUP, SUBMITTED).await?;
        let facts = self.facts(committed).await?;
        World::of(&facts).and_then(|world| world.committed_is_done()).map_err(anyhow::Error::msg)
    }

    async fn facts(&self, committed: BTreeMap<Partition, Offset>) -> anyhow::Result<Facts> {
        let submitted = self.log.read(SUBMITTED).await?.into_iter();
        let stored = self.database.stored().await?;
        let events = self.log.read("accounts.results").await?.into_iter().map(Event::of);
        let dead_letters = self.log.read("accounts.dead-letter").await?.into_iter().map(DeadLetter::of);
        Ok(Facts {
            submitted: submitted.map(|record| Submitted::of(record, Generation(1))).collect(),
            stored,
            events: events.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?,
            dead_letters: dead_letters.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?,
            committed,
            answers: self.answers.clone(),
            former: self.database.former_events().await?,
        })
    }

    /// Waits until everything on the log is committed.
    pub async fn drained(&mut self) -> anyhow::Result<Duration> {
        wait_until("lag returned to 0", DRAIN_DEADLINE, async || {
            self.check()?;
            // What an intake had given to the brokers may be appended after its client has gone.
            let ends = self.log.ends(SUBMITTED).await?;
            self.log.is_past(GROUP, SUBMITTED, &ends).await
        })
        .await
    }

    /// Stops the loads, waits until all is done, and checks every promise.
    pub async fn finish(&mut self) -> anyhow::Result<Summary> {
        for load in std::mem::take(&mut self.loads) {
            let (report, answers) = load.stop().await?;
            self.retries += report.retries;
            self.resends += report.resends;
            self.answers.extend(answers);
        }
        let drained_within = self.drained().await?;
        self.check()?;
        let counts = self.verify(Order::ByAccount).await?;
        wait_until("no session is idle in a transaction", IDLE_DEADLINE, async || {
            Ok(self.database.idle_in_transaction().await? == 0)
        })
        .await?;
        let roles = self.intakes.iter().chain(&self.workers);
        let peak_rss_bytes = roles.map(|role| role.peak_rss_bytes).max().unwrap_or(0);
        ensure!(peak_rss_bytes < MAX_RSS_BYTES, "a process needed {peak_rss_bytes} bytes of memory");
        let (answers, retries, resends) = (self.answers.len(), self.retries, self.resends);
        Ok(Summary { counts, answers, retries, resends, drained_within, peak_rss_bytes })
    }

    /// Every promise about what there is, once everything has come to rest.
    pub async fn verify(&self, order: Order) -> anyhow::Result<Counts> {
        let facts = self.facts(self.log.committed(GROUP, SUBMITTED).await?).await?;
        let checked = World::of(&facts).and_then(|world| {
            world.everything_is_committed()?;
            world.committed_is_done()?;
            world.at_rest(order)
        });
        checked.map_err(anyhow::Error::msg)
    }

    /// Stops what runs and drops what was made.
    pub async fn clean_up(mut self) -> anyhow::Result<()> {
        for role in self.intakes.iter_mut().chain(&mut self.workers).filter(|role| role.is_running()) {
            role.stop().await?;
        }
        self.database
            .drop_from(&self.servers.database("postgres"))
            .await
            .context("dropping the database")
    }

    /// Ends at once whatever still runs, and drops what was made.
    pub async fn abandon(self) -> anyhow::Result<()> {
        let Self { servers, database, intakes, workers, loads, .. } = self;
        drop((intakes, workers, loads));
        database.drop_from(&servers.database("postgres")).await
    }

    /// What the processes said, for whoever looks for the cause of a failure.
    pub fn keep_logs(&self, to: &Path) -> anyhow::Result<()> {
        keep_logs(self.directory.path(), to)
    }
}
