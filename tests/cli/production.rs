//! The roles as processes of their own over a real Apache Kafka and PostgreSQL.

use std::path::PathBuf;
use std::process::Output;

use sqlx::{AssertSqlSafe, Executor};
use tempfile::TempDir;

use crate::contract::Contract;
use crate::pair::{self, ONE_BROKER};
use crate::process::{DEADLINE, Dev, example_batch, penstock, text, until};
use crate::readme::commands_marked;
use crate::servers::kafka::{TopicPrefix, brokers};
use crate::servers::pooler::Pooler;
use crate::servers::postgres::Database;

/// An installation of its own: topics, a database, a configuration.
pub(crate) struct Installation {
    directory: TempDir,
    topics: TopicPrefix,
    database: Database,
}

impl Installation {
    pub(crate) async fn new() -> Self {
        let installation = Self {
            directory: tempfile::tempdir().unwrap(),
            topics: TopicPrefix::new(),
            database: Database::create().await,
        };
        let url = installation.database.url();
        installation.configure(&url, "");
        installation
    }

    /// One with topics and schema in place.
    pub(crate) async fn ready() -> Self {
        let installation = Self::new().await;
        installation.prepare().await;
        installation
    }

    /// Puts topics and schema in place.
    pub(crate) async fn prepare(&self) {
        for arguments in [&["topics", "apply"][..], &["migrate"]] {
            let output = self.run(arguments).await;
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        }
    }

    pub(crate) fn topics(&self) -> &TopicPrefix {
        &self.topics
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Writes the configuration, with further settings.
    pub(crate) fn configure(&self, url: &str, further: &str) {
        let pair = pair::settings(&brokers(), self.topics.as_str(), url, "dev");
        std::fs::write(self.config(), [&pair, ONE_BROKER, further].concat()).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("penstock.toml")
    }

    fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = penstock(arguments);
        command.arg("--config").arg(self.config());
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        tokio::time::timeout(DEADLINE, output).await.unwrap().unwrap()
    }

    /// Starts a role.
    pub(crate) async fn start(&self, role: &str) -> Dev {
        let mut command = self.command(&[role, "--admin-listen", "127.0.0.1:0"]);
        if role == "intake" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Dev::spawn(self.directory.path().join(format!("{role}.log")), command).await
    }

    /// What a role says that does not start, with this exit code.
    async fn refusal(&self, role: &str, code: i32) -> String {
        let listen = if role == "intake" { &["--listen", "127.0.0.1:0"][..] } else { &[] };
        let output = self.run(&[&[role, "--admin-listen", "127.0.0.1:0"], listen].concat()).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{role}: {said}");
        assert!(output.stdout.is_empty(), "{role} said that it serves");
        said
    }
}

#[tokio::test]
async fn the_contract_holds_on_kafka_and_postgresql() {
    let installation = Installation::ready().await;
    let worker = installation.start("worker").await;
    let intake = installation.start("intake").await;
    for process in [&worker, &intake] {
        process.until_ready().await;
    }
    Contract::holds_at(&intake.url).await;
    let (_, metrics) = worker.get(&format!("{}/metrics", worker.admin)).await;
    assert!(metrics.contains("penstock_worker_outcomes_total{code=\"accepted\"}"), "{metrics}");
    intake.stop().await;
    worker.stop().await;
}

/// One session of the server for all processes, and no prepared statements that are followed.
#[tokio::test]
async fn the_contract_holds_behind_a_pooler_in_transaction_mode_also_after_restarts() {
    let installation = Installation::ready().await;
    let pooler = Pooler::start(1);
    let url = pooler.url(installation.database.name());
    installation.configure(&url, "store.postgres.statement_cache = 0");
    for _ in 0..2 {
        let worker = installation.start("worker").await;
        let intake = installation.start("intake").await;
        for process in [&worker, &intake] {
            process.until_ready().await;
        }
        let doctor = installation.run(&["doctor"]).await;
        assert!(doctor.status.success(), "{}{}", text(&doctor.stdout), text(&doctor.stderr));
        assert_eq!(outcome(&intake).await, "O005");
        intake.stop().await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn roles_whose_store_is_away_are_not_ready() {
    let installation = Installation::ready().await;
    let pooler = Pooler::start(4);
    let endpoint = "[[callbacks.endpoints]]\nname = 'risk'\nurl = 'http://127.0.0.1:9/'\nallow_http = true\n\
                    unsigned = true\n";
    let further = format!("store.postgres.statement_cache = 0\n{endpoint}");
    installation.configure(&pooler.url(installation.database.name()), &further);
    let (worker, callbacks) =
        (installation.start("worker").await, installation.start("callbacks").await);
    for process in [&worker, &callbacks] {
        process.until_ready().await;
    }
    drop(pooler);
    for process in [&worker, &callbacks] {
        until(async || process.readiness().await == 503).await;
    }
    for process in [worker, callbacks] {
        process.stop().await;
    }
}

/// What became of the example's second account. A worker that has just started may take longer to it than an
/// answer waits; sent again, it has the same outcome.
async fn outcome(intake: &Dev) -> serde_json::Value {
    let decided = async {
        loop {
            let code = intake.send(example_batch()).await.1["results"][1]["errorCode"].take();
            if !code.is_null() {
                return code;
            }
        }
    };
    tokio::time::timeout(DEADLINE, decided).await.expect("it is decided in time")
}

#[tokio::test]
async fn the_commands_of_the_readme_set_an_installation_up() {
    let installation = Installation::new().await;
    let mut processes = Vec::new();
    for command in commands_marked("production") {
        let words: Vec<&str> = command.trim_end_matches(" &").split_whitespace().collect();
        assert_eq!(words[0], "penstock");
        let config = words.iter().position(|word| *word == "--config").unwrap();
        assert_eq!(words[config + 1], "deploy/local/penstock.toml");
        let arguments = &words[1..config];
        if command.ends_with('&') {
            processes.push(installation.start(arguments[0]).await);
            continue;
        }
        let output = installation.run(arguments).await;
        let expected = if arguments == ["topics", "plan"] { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{command}: {}", text(&output.stderr));
    }
    let intake = processes.pop().unwrap();
    assert_eq!(outcome(&intake).await, "O005");
    intake.stop().await;
    processes.pop().unwrap().stop().await;
}

#[tokio::test]
async fn the_local_configuration_is_usable() {
    let output =
        crate::process::run(&["config", "check", "--config", "deploy/local/penstock.toml"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[tokio::test]
async fn what_an_intake_took_without_a_worker_is_decided_by_the_next_one() {
    let installation = Installation::ready().await;
    let intake = installation.start("intake").await;
    let client = reqwest::Client::new();
    let send = async |prefer: &str| {
        let request = client.post(format!("{}/amlyze-ws-rest/batch-accounts", intake.url));
        let request = request.header("content-type", "application/json").header("prefer", prefer);
        let response = request.bearer_auth("dev").body(example_batch()).send().await.unwrap();
        response.headers()["penstock-pending"].to_str().unwrap().to_owned()
    };
    assert_eq!(send("respond-async").await, "2");
    let worker = installation.start("worker").await;
    assert_eq!(send("wait=30").await, "0", "worker: {}\nintake: {}", worker.log(), intake.log());
    let mut session = installation.database.session().await;
    let accepted: i64 =
        sqlx::query_scalar("SELECT count(*) FROM communications").fetch_one(&mut session).await.unwrap();
    assert_eq!(accepted, 1, "its two accounts share a number");
    intake.stop().await;
    worker.stop().await;
}

#[tokio::test]
async fn an_intake_accepts_without_its_store() {
    let installation = Installation::ready().await;
    installation.configure("postgres://penstock:planted@127.0.0.1:1/penstock", "");
    let intake = installation.start("intake").await;
    let answer = intake.send(example_batch()).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let request =
        reqwest::Client::new().post(format!("{}/amlyze-ws-rest/validate-batch-accounts", intake.url));
    let request = request.header("content-type", "application/json").bearer_auth("dev");
    let response = request.body(example_batch()).send().await.unwrap();
    assert_eq!(response.status(), 503);
    let log = intake.log();
    assert!(log.contains("until the store is there") && !log.contains("planted"), "{log}");
    intake.stop().await;
}

#[tokio::test]
async fn topics_are_planned_and_made_and_then_need_no_change() {
    let installation = Installation::new().await;
    let planned = installation.run(&["topics", "plan"]).await;
    assert_eq!(planned.status.code(), Some(3), "{}", text(&planned.stderr));
    assert_eq!(text(&planned.stdout).lines().count(), 4);
    let applied = installation.run(&["topics", "apply"]).await;
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    assert_eq!(text(&applied.stdout), text(&planned.stdout));
    let planned = installation.run(&["topics", "plan"]).await;
    assert_eq!(planned.status.code(), Some(0), "{}", text(&planned.stdout));
    assert!(text(&planned.stderr).contains("need no change"));
}

#[tokio::test]
async fn settings_of_a_topic_that_are_none_of_ours_are_kept() {
    let installation = Installation::new().await;
    let settings = [("cleanup.policy", "compact"), ("segment.ms", "3600000")];
    installation.topics.create("accounts.submitted", 12, &settings).await;
    let applied = installation.run(&["topics", "apply"]).await;
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let said = text(&applied.stdout);
    assert!(said.contains("accounts.submitted: cleanup.policy compact -> delete"), "{said}");
    let kept = installation.topics.setting("accounts.submitted", "segment.ms").await;
    assert_eq!(kept.as_deref(), Some("3600000"));
}

#[tokio::test]
async fn the_doctor_finds_a_ready_installation_well() {
    let installation = Installation::ready().await;
    let output = installation.run(&["doctor"]).await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    for part in ["kafka: brokers", "kafka: write", "postgres: schema: up to date", "postgres: rights"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    for topic in ["submitted", "results", "dead-letter", "replies"] {
        assert_eq!(
            installation.topics.records(&format!("accounts.{topic}")),
            0,
            "{topic} is left alone"
        );
    }
    let json = installation.run(&["doctor", "--output", "ndjson"]).await;
    let lines = text(&json.stdout);
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[tokio::test]
async fn a_topic_that_was_created_anew_is_seen_by_the_doctor_and_by_frontiers() {
    const TOPIC: &str = "accounts.submitted";
    let installation = Installation::ready().await;
    let (worker, intake) = (installation.start("worker").await, installation.start("intake").await);
    assert_eq!(outcome(&intake).await, "O005");
    worker.stop().await;
    let says = async |command: &str, code: i32, parts: &[&str]| {
        let output = installation.run(&[command]).await;
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{command}: {said}{}", text(&output.stderr));
        for part in parts {
            assert!(said.contains(part), "{command}: no {part:?} in {said}");
        }
    };
    says("doctor", 0, &["fits what the topic holds"]).await;
    says("frontiers", 0, &[]).await;

    let before = installation.topics.records(TOPIC);
    intake.stop().await;
    installation.topics.delete(TOPIC).await;
    until(async || installation.run(&["topics", "apply"]).await.status.success()).await;
    let recreated =
        ["of accounts.submitted up to offset", "was deleted and created anew", "queue.generation"];
    says("doctor", 3, &[&["WRONG"][..], &recreated].concat()).await;
    says("frontiers", 3, &[&["refused:"][..], &recreated].concat()).await;

    // Filled again, its end shows nothing.
    let intake = installation.start("intake").await;
    while installation.topics.records(TOPIC) < before {
        let _ = intake.send(example_batch()).await;
    }
    intake.stop().await;
    let refilled = ["of accounts.submitted is applied up to", "the group has committed nothing of it"];
    says("doctor", 0, &[&["WARNING"][..], &refilled].concat()).await;
    says("frontiers", 3, &[&["in doubt:"][..], &refilled].concat()).await;
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let installation = Installation::new().await;
    let output = installation.run(&["doctor"]).await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("penstock topics apply") && said.contains("penstock migrate"), "{said}");
}

#[tokio::test]
async fn roles_refuse_what_is_missing_and_say_how_to_mend_it() {
    let installation = Installation::new().await;
    for role in ["worker", "intake"] {
        let refused = installation.refusal(role, 5).await;
        assert!(refused.contains("accounts.submitted does not exist"), "{refused}");
        assert!(refused.contains("`penstock topics apply`"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    assert!(installation.run(&["topics", "apply"]).await.status.success());
    for role in ["worker", "intake"] {
        let refused = installation.refusal(role, 5).await;
        assert!(
            refused.contains("has version 0") && refused.contains("`penstock migrate`"),
            "{refused}"
        );
    }
    assert!(installation.run(&["migrate"]).await.status.success());
    installation.configure(&installation.database.url(), "queue.kafka.partitions = 24");
    for role in ["worker", "intake"] {
        let refused = installation.refusal(role, 5).await;
        assert!(
            refused.contains("has 12 partitions") && refused.contains("24 are expected"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_being_shown() {
    let installation = Installation::ready().await;
    let role = format!("penstock_test_{}", std::process::id());
    let mut session = installation.database.session().await;
    let statement = format!("CREATE ROLE {role} LOGIN PASSWORD 'right'");
    session.execute(AssertSqlSafe(statement)).await.unwrap();
    let options = installation.database.connect_options().username(&role).password("planted");
    installation.configure(sqlx::ConnectOptions::to_url_lossy(&options).as_str(), "");
    for process in ["worker", "intake"] {
        let refused = installation.refusal(process, 5).await;
        assert!(refused.contains("check the user, password"), "{refused}");
        assert!(!refused.contains("planted"), "{refused}");
    }
    session.execute(AssertSqlSafe(format!("DROP ROLE {role}"))).await.unwrap();
}

#[tokio::test]
async fn brokers_that_are_not_there_are_named() {
    let installation = Installation::new().await;
    let settings = std::fs::read_to_string(installation.config()).unwrap();
    std::fs::write(installation.config(), settings.replace(&brokers(), "127.0.0.1:1")).unwrap();
    let refused = installation.refusal("worker", 5).await;
    assert!(refused.contains("no Kafka broker answers at 127.0.0.1:1"), "{refused}");
}
