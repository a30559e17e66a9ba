//! An installation of penstock: topics, a database, an intake, a worker and processes of callbacks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use sqlx::Connection;
use tempfile::TempDir;
use tokio::time::sleep;
use uuid::Uuid;

use crate::log::Log;
use crate::options::Extent;
use crate::pair::{self, ONE_BROKER};
use crate::process::{Role, TOKEN, keep_logs, set_up, wait_until};
use crate::receivers::Receiver;
use crate::servers::kafka::{TopicPrefix, brokers};
use crate::servers::postgres::Database;

/// The topic that callbacks read.
pub const RESULTS: &str = "accounts.results";
/// The consumer group of callbacks.
pub const GROUP: &str = "penstock-callbacks";
const SUBMITTED: &str = "accounts.submitted";
/// Partitions of the topics of accounts.
const PARTITIONS: u32 = 6;
/// No process of callbacks may need more.
const MAX_RSS_BYTES: u64 = 300 * 1024 * 1024;

/// A lease that is soon over once its process is killed.
pub const SHORT_LEASE: Duration = Duration::from_secs(16);
/// How often is looked for what is recorded.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A lease that also outlasts a machine that stands still for a while.
pub const LONG_LEASE: Duration = Duration::from_mins(2);

/// An endpoint's settings.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub name: &'static str,
    pub url: String,
    pub secrets: Vec<String>,
    pub event_types: Vec<&'static str>,
    pub is_ordered: bool,
    pub batch: usize,
    pub concurrency: usize,
    pub timeout: Duration,
}

impl Endpoint {
    /// An endpoint that takes every event at a receiver.
    pub fn of(receiver: &Receiver) -> Self {
        Self {
            name: receiver.name,
            url: receiver.url(),
            secrets: Vec::new(),
            event_types: Vec::new(),
            is_ordered: false,
            batch: 1,
            concurrency: 8,
            timeout: Duration::from_secs(8),
        }
    }

    fn toml(&self) -> String {
        format!(
            "{{ name = '{}', url = '{}', allow_http = true, secrets = {:?}, unsigned = {}, event_types = {:?}, \
             ordered = {}, batch = {}, concurrency = {}, timeout = '{}ms', deliver_from = 'beginning' }}",
            self.name,
            self.url,
            self.secrets,
            self.secrets.is_empty(),
            self.event_types,
            self.is_ordered,
            self.batch,
            self.concurrency,
            self.timeout.as_millis(),
        )
    }
}

/// A delivery as the store has it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub endpoint: String,
    pub event_id: Uuid,
    pub state: String,
}

/// Everything of one run.
pub struct Installation {
    pub log: Log,
    pub intake: Role,
    pub worker: Role,
    pub callbacks: Vec<Role>,
    lease: Duration,
    database: Database,
    topics: TopicPrefix,
    directory: TempDir,
}

impl Installation {
    /// Makes topics and tables, and so many processes of callbacks, of which the even ones stay members
    /// of their group while they are away; nothing runs yet. What is parked is leased for `lease`.
    pub async fn new(endpoints: &[Endpoint], processes: usize, lease: Duration) -> anyhow::Result<Self> {
        let (topics, database) = (TopicPrefix::new(), Database::create().await);
        let directory = tempfile::tempdir()?;
        let role = |kind, name: &str| Role::new(kind, directory.path().join(name));
        let name_of = |index: usize| format!("callbacks-{index}.toml");
        let installation = Self {
            log: Log::new(brokers(), topics.as_str().to_owned()),
            intake: role("intake", "intake.toml"),
            worker: role("worker", "worker.toml"),
            callbacks: (0..processes).map(|index| role("callbacks", &name_of(index))).collect(),
            lease,
            database,
            topics,
            directory,
        };
        installation.configure(endpoints)?;
        set_up(&installation.file("worker.toml")).await?;
        Ok(installation)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration of every process; those that run go on with the one they have read.
    pub fn configure(&self, endpoints: &[Endpoint]) -> anyhow::Result<()> {
        let own = format!(
            "queue.kafka.partitions = {PARTITIONS}\n\
             queue.kafka.session_timeout = '6s'\n\
             intake.listen = '127.0.0.1:0'\n\
             telemetry.log_format = 'json'\n\
             callbacks.allow_networks = ['127.0.0.0/8']\n\
             callbacks.retry_schedule = [{waits}]\n\
             callbacks.max_retry_after = '1s'\n\
             callbacks.breaker_failing_for = '2s'\n\
             callbacks.breaker_probe_interval = '2s'\n\
             callbacks.breaker_max_probe_interval = '10s'\n\
             callbacks.lease = '{lease}s'\n",
            lease = self.lease.as_secs(),
            // Longer than any run, so that nothing is given up.
            waits = "'1s', ".repeat(10) + &"'5s', ".repeat(80),
        );
        let endpoints: Vec<_> = endpoints.iter().map(Endpoint::toml).collect();
        let endpoints = format!("callbacks.endpoints = [{}]\n", endpoints.join(", "));
        let pair = pair::settings(&brokers(), self.topics.as_str(), &self.database.url(), TOKEN);
        let common = [&pair, ONE_BROKER, &own, &endpoints].concat();
        let config = |instance_id: &str| format!("{common}queue.kafka.instance_id = '{instance_id}'\n");
        std::fs::write(self.file("intake.toml"), config(""))?;
        std::fs::write(self.file("worker.toml"), config(""))?;
        for index in 0..self.callbacks.len() {
            let instance_id =
                if index.is_multiple_of(2) { format!("callbacks-{index}") } else { String::new() };
            std::fs::write(self.file(&format!("callbacks-{index}.toml")), config(&instance_id))?;
        }
        Ok(())
    }

    /// Starts what makes events of submissions.
    pub async fn start_pipeline(&mut self) -> anyhow::Result<()> {
        futures_util::try_join!(self.worker.start(), self.intake.start()).map(drop)
    }

    /// Starts every process of callbacks.
    pub async fn start_callbacks(&mut self) -> anyhow::Result<()> {
        futures_util::future::try_join_all(self.callbacks.iter_mut().map(Role::start)).await.map(drop)
    }

    /// An error when a process has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        [&mut self.intake, &mut self.worker]
            .into_iter()
            .chain(&mut self.callbacks)
            .try_for_each(Role::check)
    }

    /// Waits until every submission has its outcome on the topic of results.
    pub async fn is_decided(&mut self, within: Duration) -> anyhow::Result<()> {
        let ends = self.log.ends(SUBMITTED).await?;
        let decided = wait_until("every submission is decided", within, async || {
            self.check()?;
            self.log.is_past("penstock-worker", SUBMITTED, &ends).await
        });
        decided.await.map(drop)
    }

    /// Waits until every event that is there now is delivered or parked, and recorded so.
    pub async fn is_taken_in(&mut self, within: Duration) -> anyhow::Result<()> {
        let ends = self.log.ends(RESULTS).await?;
        let taken_in = wait_until("every event is delivered or parked", within, async || {
            self.check()?;
            self.log.is_past(GROUP, RESULTS, &ends).await
        });
        taken_in.await.map(drop)
    }

    /// Waits until so many deliveries to an endpoint are recorded as delivered. However long that takes, it never
    /// stands still for as long as `standstill`.
    pub async fn is_delivered(
        &mut self,
        endpoint: &str,
        count: usize,
        standstill: Duration,
    ) -> anyhow::Result<()> {
        let (mut most, mut since) = (0, Instant::now());
        loop {
            self.check()?;
            let mut session = self.database.session().await;
            let found: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM deliveries WHERE endpoint = $1 AND state = 'delivered'",
            )
            .bind(endpoint)
            .fetch_one(&mut session)
            .await?;
            session.close().await?;
            let found = usize::try_from(found)?;
            if found >= count {
                return Ok(());
            }
            if found > most {
                (most, since) = (found, Instant::now());
            }
            ensure!(
                since.elapsed() < standstill,
                "nothing more was recorded for {endpoint} in {} s: {found} of {count} deliveries are",
                standstill.as_secs()
            );
            sleep(LOOK_EVERY).await;
        }
    }

    /// Every delivery that the store has.
    pub async fn stored(&self) -> anyhow::Result<Vec<Stored>> {
        let mut session = self.database.session().await;
        let rows = sqlx::query_as("SELECT endpoint, event_id, state FROM deliveries");
        let rows: Vec<(String, Uuid, String)> = rows.fetch_all(&mut session).await?;
        session.close().await?;
        let stored = |(endpoint, event_id, state)| Stored { endpoint, event_id, state };
        Ok(rows.into_iter().map(stored).collect())
    }

    /// Runs a statement; tells how many rows it wrote.
    pub async fn write(&self, statement: String) -> anyhow::Result<u64> {
        let mut session = self.database.session().await;
        let done = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut session).await?;
        session.close().await?;
        Ok(done.rows_affected())
    }

    /// The most memory that a process of callbacks ever had, in bytes; an error when that was too much.
    pub fn peak_rss_bytes(&self) -> anyhow::Result<u64> {
        let peak = self.callbacks.iter().map(|role| role.peak_rss_bytes).max().unwrap_or(0);
        ensure!(peak < MAX_RSS_BYTES, "a process of callbacks needed {peak} bytes of memory");
        Ok(peak)
    }

    /// Stops what runs and sees to it that it ends in order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let roles = [&mut self.intake, &mut self.worker].into_iter().chain(&mut self.callbacks);
        for role in roles.filter(|role| role.is_running()) {
            role.stop().await?;
        }
        Ok(())
    }

    /// Hands back what was played; the logs of what has failed are kept.
    pub fn concluded<T>(&self, played: anyhow::Result<T>, extent: &Extent) -> anyhow::Result<T> {
        if played.is_err() {
            keep_logs(self.directory.path(), &extent.logs)?;
        }
        played
    }
}
