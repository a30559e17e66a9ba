//! The servers that are broken here: three Kafka nodes and a PostgreSQL of their own, and proxies in
//! front of them. All listen on the loopback.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use crate::database::Database;
use crate::proxy::{Proxy, Toxic};

/// Nodes of the Kafka cluster.
pub const NODES: u16 = 3;
/// Longest time a script may take; three nodes start side by side on a slow machine.
const SCRIPT_DEADLINE: Duration = Duration::from_mins(4);

/// Which ports are whose, from a first one on.
#[derive(Clone, Copy, Debug)]
pub struct Ports(pub u16);

impl Ports {
    fn kafka(self) -> u16 {
        self.0
    }

    /// Kafka's listeners behind the proxies; deploy/local/kafka.sh places them so.
    fn kafka_behind_proxies(self) -> u16 {
        self.0 + 6
    }

    fn kafka_proxies(self) -> u16 {
        self.0 + 20
    }

    fn postgres(self) -> u16 {
        self.0 + 30
    }

    fn postgres_proxy(self) -> u16 {
        self.0 + 31
    }

    /// Of an intake, for clients.
    pub fn intake(self, index: usize) -> u16 {
        self.0 + 40 + u16::try_from(index).unwrap_or(0)
    }
}

/// The servers and the way to them.
pub struct Servers {
    pub ports: Ports,
    directory: PathBuf,
    keep: bool,
    /// As `postgres://user:password@host:port/`, without a database.
    postgres_url: String,
    kafka_proxies: Vec<Proxy>,
    postgres_proxy: Proxy,
}

impl Servers {
    /// Starts what does not run in `directory` yet.
    pub async fn start(directory: PathBuf, ports: Ports, keep: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let mut kafka_proxies = Vec::new();
        for node in 0..NODES {
            let (port, upstream) = (ports.kafka_proxies() + node, ports.kafka_behind_proxies() + node);
            kafka_proxies.push(Proxy::start(port, upstream).await?);
        }
        let postgres_proxy = Proxy::start(ports.postgres_proxy(), ports.postgres()).await?;
        let mut servers =
            Self { ports, directory, keep, postgres_url: String::new(), kafka_proxies, postgres_proxy };
        servers.start_kafka().await?;
        let url = servers.start_postgres().await?;
        url.trim_end_matches("postgres").clone_into(&mut servers.postgres_url);
        Ok(servers)
    }

    /// The brokers' addresses, or those of the proxies in front of them.
    pub fn brokers(&self, proxied: bool) -> String {
        let (first, step) =
            if proxied { (self.ports.kafka_proxies(), 1) } else { (self.ports.kafka(), 2) };
        (0..NODES).map(|node| format!("127.0.0.1:{}", first + step * node)).collect::<Vec<_>>().join(",")
    }

    /// The URL of a database, or of the proxy in front of it.
    pub fn postgres(&self, database: &str, proxied: bool) -> String {
        let url = format!("{}{database}", self.postgres_url);
        if !proxied {
            return url;
        }
        let (port, proxy) = (self.ports.postgres(), self.ports.postgres_proxy());
        url.replace(&format!(":{port}/"), &format!(":{proxy}/"))
    }

    /// What every connection through the brokers' proxies suffers from.
    pub fn poison_kafka(&self, toxic: Toxic) {
        self.kafka_proxies.iter().for_each(|proxy| proxy.set(toxic));
    }

    /// What every connection through PostgreSQL's proxy suffers from.
    pub fn poison_postgres(&self, toxic: Toxic) {
        self.postgres_proxy.set(toxic);
    }

    /// Starts the nodes that do not run.
    pub async fn start_kafka(&self) -> anyhow::Result<()> {
        let (port, proxies) = (self.ports.kafka().to_string(), self.ports.kafka_proxies().to_string());
        let arguments = ["--nodes", "3", "--port", &port, "--proxied", &proxies];
        self.kafka("start", &arguments).await.map(drop)
    }

    /// Sends a signal to a node, counted from 1: KILL, TERM, STOP or CONT.
    pub async fn signal_kafka(&self, node: u16, signal: &str) -> anyhow::Result<()> {
        let node = node.to_string();
        self.kafka("signal", &["--node", &node, "--signal", signal]).await.map(drop)
    }

    async fn kafka(&self, command: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut script = script("kafka.sh");
        script.arg(command).arg("--dir").arg(self.directory.join("kafka")).args(arguments);
        // Three nodes share a machine with everything else.
        run(script.env("PENSTOCK_KAFKA_HEAP", "384m")).await
    }

    /// Starts PostgreSQL; returns its URL.
    pub async fn start_postgres(&self) -> anyhow::Result<String> {
        self.postgres_script("start").await
    }

    /// Does one of: crash, backup, restore.
    pub async fn postgres_script(&self, command: &str) -> anyhow::Result<String> {
        let mut script = script("postgres.sh");
        script
            .arg(command)
            .env("PENSTOCK_POSTGRES_DIR", self.directory.join("postgres"))
            .env("PENSTOCK_POSTGRES_PORT", self.ports.postgres().to_string());
        run(&mut script).await
    }

    /// A database as its owner sees it.
    pub fn database(&self, name: &str) -> Database {
        Database::new(self.postgres(name, false), name.to_owned())
    }

    /// Where a small filesystem may be put for PostgreSQL.
    pub fn small_filesystem(&self) -> PathBuf {
        self.directory.join("small")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local");
        let stop = |script: &str| {
            let mut command = std::process::Command::new(scripts.join(script));
            command.arg("stop").env("PENSTOCK_POSTGRES_DIR", self.directory.join("postgres"));
            command
        };
        // Nothing can be done about one that does not stop; the script says why on stderr.
        let _ = stop("postgres.sh").status();
        let _ = stop("kafka.sh").arg("--dir").arg(self.directory.join("kafka")).status();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn script(name: &str) -> Command {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local").join(name));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end; returns what it printed.
pub async fn run(command: &mut Command) -> anyhow::Result<String> {
    // A server that it starts keeps no pipe of ours open: each script gives its servers files.
    let child = command.spawn().with_context(|| format!("{command:?} cannot be started"))?;
    let Ok(ended) = tokio::time::timeout(SCRIPT_DEADLINE, child.wait_with_output()).await else {
        bail!("{command:?} took longer than {SCRIPT_DEADLINE:?}");
    };
    let output = ended?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "{command:?}: {}: {complaint}", output.status);
    Ok(said)
}
