//! The real servers of a run: one Apache Kafka broker and one PostgreSQL on loopback, started for it
//! and stopped after it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use crate::support::process::{Usage, run};

/// The broker's heap: it never needs half of it, so that collecting does not show.
const KAFKA_HEAP: &str = "1g";
/// What a database of this size is usually given. Every commit stays synchronous, with `fsync`.
const POSTGRES_OPTIONS: &str = "-c shared_buffers=1GB -c max_wal_size=8GB -c checkpoint_timeout=15min";

/// Both servers; stopped and removed when dropped.
pub(crate) struct Servers {
    folder: PathBuf,
    brokers: String,
    postgres: PgConnectOptions,
}

impl Servers {
    /// Starts both with their data in `folder`; the broker takes `port` and the next one, the database
    /// the one after.
    pub(crate) fn start(folder: &Path, port: u16) -> Self {
        let folder = folder.to_path_buf();
        let brokers = run(kafka(&folder, "start").args(["--nodes", "1", "--port", &port.to_string()]));
        let postgres = run(postgres(&folder, "start")
            .env("PENSTOCK_POSTGRES_PORT", (port + 2).to_string())
            .env("PENSTOCK_POSTGRES_OPTIONS", POSTGRES_OPTIONS));
        let postgres = postgres.trim().parse().unwrap();
        Self { folder, brokers: brokers.trim().to_owned(), postgres }
    }

    /// How they are set, in words.
    pub(crate) fn settings() -> [String; 2] {
        [
            format!(
                "Apache Kafka: one broker, -Xmx{KAFKA_HEAP}, otherwise as deploy/local/kafka.sh sets it"
            ),
            format!("PostgreSQL: {POSTGRES_OPTIONS}, otherwise as deploy/local/postgres.sh sets it"),
        ]
    }

    /// The broker's address.
    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// An empty database of its own.
    pub(crate) async fn create_database(&self, name: &str) -> PgConnectOptions {
        self.execute(format!("CREATE DATABASE {name}")).await;
        self.postgres.clone().database(name)
    }

    /// Removes a database, whoever is connected.
    pub(crate) async fn drop_database(&self, name: &str) {
        self.execute(format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }

    /// Writes everything out, so that no measurement pays for what came before it.
    pub(crate) async fn settle(&self) {
        self.execute("CHECKPOINT".to_owned()).await;
    }

    async fn execute(&self, statement: String) {
        let mut connection: PgConnection = self.postgres.connect().await.unwrap();
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }

    /// Processor time of the broker so far.
    pub(crate) fn kafka_cpu(&self) -> Duration {
        Usage::of(first_number(&self.folder.join("kafka/node-1/pid"))).cpu
    }

    /// Processor time of the database so far, all its processes together.
    pub(crate) fn postgres_cpu(&self) -> Duration {
        Usage::cpu_of_family(first_number(&self.folder.join("postgres/data/postmaster.pid")))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for mut stop in [kafka(&self.folder, "stop"), postgres(&self.folder, "stop")] {
            // Whatever went wrong before is the news.
            let _ = stop.status();
        }
    }
}

fn first_number(file: &Path) -> u32 {
    let text = std::fs::read_to_string(file).unwrap();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap()
}

fn script(name: &str, command: &str) -> Command {
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local").join(name));
    script.arg(command);
    script
}

fn kafka(folder: &Path, command: &str) -> Command {
    let mut script = script("kafka.sh", command);
    script.arg("--dir").arg(folder.join("kafka")).env("PENSTOCK_KAFKA_HEAP", KAFKA_HEAP);
    script
}

fn postgres(folder: &Path, command: &str) -> Command {
    let mut script = script("postgres.sh", command);
    script.env("PENSTOCK_POSTGRES_DIR", folder.join("postgres"));
    script
}
