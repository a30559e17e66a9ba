//! penstock on the servers of a run, as an operator installs it: a database and topics of its own,
//! and each role as a process.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use penstock::queue::kafka::KafkaQueueOptions;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::pair::{self, ONE_BROKER};
use crate::servers::Servers;
use crate::support::process::{Role, command, run};
use crate::topic::{PARTITIONS, Topic};

/// What the load shows at the door.
pub(crate) const TOKEN: &str = "benchmark";

/// One installation.
pub(crate) struct Installation {
    name: String,
    folder: PathBuf,
    config: PathBuf,
    database: PgConnectOptions,
    brokers: String,
}

impl Installation {
    /// Makes database, configuration, schema and topics; `name` is a word of its own.
    pub(crate) async fn create(servers: &Servers, folder: &Path, name: &str) -> Self {
        let database = servers.create_database(name).await;
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        let config = folder.join("penstock.toml");
        fs::write(&config, settings(name, servers.brokers(), &database)).unwrap();
        let installation = Self {
            name: name.to_owned(),
            folder,
            config,
            database,
            brokers: servers.brokers().to_owned(),
        };
        run(&mut installation.command(&["migrate"]));
        run(&mut installation.command(&["topics", "apply"]));
        installation
    }

    /// Starts an intake.
    pub(crate) fn intake(&self) -> Role {
        self.role("intake", &["url", "admin"])
    }

    /// Starts a worker.
    pub(crate) fn worker(&self) -> Role {
        self.role("worker", &["admin"])
    }

    /// Starts callbacks to the endpoints that were added.
    pub(crate) fn callbacks(&self) -> Role {
        self.role("callbacks", &["admin"])
    }

    /// Puts something else in its configuration.
    pub(crate) fn change_settings(&self, from: &str, to: &str) {
        let settings = fs::read_to_string(&self.config).unwrap();
        assert!(settings.contains(from), "{settings}");
        fs::write(&self.config, settings.replace(from, to)).unwrap();
    }

    /// Adds sections to its configuration.
    pub(crate) fn add_settings(&self, sections: &str) {
        let mut file = File::options().append(true).open(&self.config).unwrap();
        file.write_all(sections.as_bytes()).unwrap();
    }

    fn role(&self, role: &str, words: &[&str]) -> Role {
        let log =
            File::options().create(true).append(true).open(self.folder.join(format!("{role}.log")));
        let mut command = self.command(&[role]);
        command.stderr(Stdio::from(log.unwrap()));
        Role::start(command, words)
    }

    /// A command of its operators.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = command(words);
        command.arg("--config").arg(&self.config);
        command
    }

    /// Its queue, for whoever publishes to it himself.
    pub(crate) fn queue_options(&self) -> KafkaQueueOptions {
        KafkaQueueOptions {
            brokers: self.brokers.clone(),
            topic_prefix: format!("{}.", self.name),
            ..KafkaQueueOptions::default()
        }
    }

    /// One of its topics.
    pub(crate) fn topic(&self, name: &str) -> Topic {
        Topic::new(&self.brokers, &format!("{}.{name}", self.name))
    }

    /// Its database.
    pub(crate) fn database(&self) -> &PgConnectOptions {
        &self.database
    }

    /// Removes its database. Its topics go with the broker.
    pub(crate) async fn remove(self, servers: &Servers) {
        servers.drop_database(&self.name).await;
    }
}

/// The defaults, but for names and addresses.
fn settings(name: &str, brokers: &str, database: &PgConnectOptions) -> String {
    let url = database.to_url_lossy();
    let pair = pair::settings(brokers, &format!("{name}."), url.as_str(), TOKEN);
    format!("{pair}{ONE_BROKER}queue.kafka.partitions = {PARTITIONS}\nintake.listen = '127.0.0.1:0'\n")
}
