//! A store that is lost is rebuilt from the log, row for row, whatever its history was.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use crate::process::{DEADLINE, Dev, penstock, text, until};
use crate::readme::commands_marked;

/// What a rebuilt table has as the first one had it: all but ids, which are in the order of writing.
const TABLES: [(&str, &str); 4] = [
    (
        "communications",
        "number, hex(fingerprint), hex(event_id), generation, partition, log_offset, business_unit, \
      account_ext_id, business_entity_ext_id, requester",
    ),
    (
        "accounts",
        "business_unit, account_ext_id, business_entity_ext_id, generation, partition, log_offset, \
      communication_number, requester, action, account_number, account_status, account_type, currency_code, \
      opening_date, closing_date",
    ),
    (
        "rejections",
        "generation, partition, log_offset, number, verdict, hex(event_id), business_unit, \
      account_ext_id, business_entity_ext_id, requester",
    ),
    ("frontiers", "generation, partition, next_offset"),
];

async fn rows(store: &Path) -> Vec<(&'static str, Vec<String>)> {
    let mut connection = SqliteConnectOptions::new().filename(store).connect().await.unwrap();
    let mut tables = Vec::new();
    for (table, columns) in TABLES {
        let query = format!("SELECT json_array({columns}) FROM {table} ORDER BY 1");
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap();
        tables.push((table, rows));
    }
    connection.close().await.unwrap();
    tables
}

fn account(number: &str, id: u32, account_type: &str, action: &str) -> Value {
    json!({
        "communicationNumber": number, "requester": "CORE", "businessEntityExtId": format!("customer-{id}"),
        "accountExtId": format!("account-{id}"), "accountNumber": "LT121000011101001000",
        "accountStatus": "ACTIVE", "accountType": account_type, "currencyCode": "EUR",
        "openingDate": "2023-09-05T08:07:34.123456789Z", "action": action,
    })
}

struct Installation {
    directory: TempDir,
    config: String,
}

impl Installation {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("penstock.toml").to_str().unwrap().to_owned();
        Self { directory, config }
    }

    /// Account types that are on the reference list from now on.
    fn knows(&self, types: &[&str]) {
        let data = self.directory.path().join("data");
        let types: Vec<_> = types.iter().map(|it| format!("'{it}'")).collect();
        let settings = format!(
            "data_dir = '{}'\n[reference]\naccount_types = [{}]\n",
            data.display(),
            types.join(", ")
        );
        std::fs::write(&self.config, settings).unwrap();
    }

    async fn dev(&self) -> Dev {
        Dev::start(&self.directory, &["--config", &self.config]).await
    }

    async fn says(&self, arguments: &[&str]) -> Output {
        let mut command = penstock(arguments);
        let output = command.arg("--config").arg(&self.config).output();
        tokio::time::timeout(DEADLINE, output).await.unwrap().unwrap()
    }

    /// A history in which rules, and what was told by them, have changed.
    async fn with_history(&self, accounts: u32) {
        self.knows(&["current"]);
        let dev = self.dev().await;
        let batch = |from: u32, to: u32, types: &[&str]| {
            let one = |id: u32| {
                let account_type = types[id as usize % types.len()];
                account(&format!("n-{id}"), id, account_type, "CREATE")
            };
            json!({"accounts": (from..to).map(one).collect::<Vec<_>>()}).to_string()
        };
        dev.send(batch(0, accounts, &["current", "savings", "loan"])).await;
        // What is accepted now keeps what was rejected before from being accepted by the replay.
        let later = account("n-later", 1, "current", "CREATE");
        dev.send(json!({"accounts": [later]}).to_string()).await;
        dev.stop().await;
        self.knows(&["current", "savings"]);
        let dev = self.dev().await;
        let replayed =
            self.says(&["replay", "run", "completed", "--only", "rejected", "--reason", "list"]).await;
        assert!(replayed.status.success(), "{}", text(&replayed.stderr));
        // Again what is known, what is other, and what goes on.
        dev.send(batch(0, 40, &["current", "savings", "loan"])).await;
        dev.send(batch(20, 30, &["savings"])).await;
        let updates = (0..30).map(|id| account(&format!("u-{id}"), id, "savings", "UPDATE"));
        dev.send(json!({"accounts": updates.collect::<Vec<_>>()}).to_string()).await;
        dev.stop().await;
        // Rules that would have rejected what was accepted.
        self.knows(&["loan"]);
    }

    fn store(&self) -> std::path::PathBuf {
        self.directory.path().join("data/store.db")
    }

    /// How many records there are on all topics.
    async fn records(&self) -> i64 {
        let queue = self.directory.path().join("data/queue.db");
        let mut connection = SqliteConnectOptions::new().filename(queue).connect().await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM records").fetch_one(&mut connection).await.unwrap()
    }

    /// Moves the store away.
    fn lose_store(&self) -> std::path::PathBuf {
        let kept = self.directory.path().join("kept");
        std::fs::create_dir_all(&kept).unwrap();
        for ending in ["", "-wal", "-shm"] {
            let file = self.directory.path().join(format!("data/store.db{ending}"));
            if file.exists() {
                std::fs::rename(file, kept.join(format!("store.db{ending}"))).unwrap();
            }
        }
        kept.join("store.db")
    }
}

const REBUILD: [&str; 7] =
    ["replay", "run", "rebuilt", "--from", "beginning", "--no-events", "--reason=lost"];

#[tokio::test]
async fn a_store_is_rebuilt_row_for_row_by_what_was_told() {
    let installation = Installation::new();
    installation.with_history(120).await;
    let refused = installation.says(&REBUILD).await;
    let told = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && told.contains("the store is not empty"), "{told}");
    let selected = installation.says(&["replay", "run", "other", "--no-events", "--reason=lost"]).await;
    assert_eq!(selected.status.code(), Some(2), "{}", text(&selected.stderr));
    let kept = installation.lose_store();
    let told_before = installation.records().await;
    let [command] = commands_marked("rebuild")[..] else { panic!("one command rebuilds") };
    let (command, reason) = command.split_once("--reason ").unwrap();
    let arguments: Vec<&str> =
        command.split_whitespace().skip(1).chain(["--reason", reason.trim_matches('"')]).collect();
    let rebuilt = installation.says(&arguments).await;
    assert!(rebuilt.status.success(), "{}{}", text(&rebuilt.stdout), text(&rebuilt.stderr));
    let (before, after) = (rows(&kept).await, rows(&installation.store()).await);
    for ((table, before), (_, after)) in before.iter().zip(&after) {
        assert!(!before.is_empty(), "{table}");
        assert_eq!(before, after, "{table}");
    }
    assert_eq!(installation.records().await, told_before, "nobody is told again");
    // What was parked is lost with the store, so callbacks are told that they begin anew.
    let reread = installation.says(&["callbacks", "reread", "--apply"]).await;
    assert!(reread.status.success(), "{}", text(&reread.stderr));
    // It goes on as if nothing had happened, and everything balances.
    let dev = installation.dev().await;
    let (_, answer) =
        dev.send(json!({"accounts": [account("n-0", 0, "current", "CREATE")]}).to_string()).await;
    assert_eq!(answer["results"][0]["resultType"], "REQUEST_ACCEPTED", "{answer}");
    let beside = installation.says(&["replay", "resume", "rebuilt"]).await;
    assert_eq!(beside.status.code(), Some(2), "{}", text(&beside.stderr));
    dev.stop().await;
    let audit = installation.says(&["audit", "--deep"]).await;
    assert!(audit.status.success(), "{}{}", text(&audit.stdout), text(&audit.stderr));
}

#[tokio::test]
async fn a_rebuild_that_is_killed_goes_on() {
    let installation = Installation::new();
    installation.with_history(400).await;
    let kept = installation.lose_store();
    let mut command = penstock(&REBUILD);
    command.arg("--config").arg(&installation.config).args(["--rate", "100"]);
    let mut job = command.spawn().unwrap();
    // How far it is can be looked at beside it.
    let read = async || {
        let status = installation.says(&["replay", "status", "rebuilt", "--json"]).await;
        let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["read"].as_u64().unwrap_or_default()
    };
    until(async || read().await > 50).await;
    job.kill().await.unwrap();
    let at_kill = read().await;
    assert!(at_kill < 400, "it was killed on its way");
    // Nobody decides the rest by the rules of today meanwhile.
    let mut dev = Dev::command(&installation.directory, &["--config", &installation.config]);
    let refused = tokio::time::timeout(DEADLINE, dev.output()).await.unwrap().unwrap();
    let told = text(&refused.stderr);
    assert!(refused.status.code() == Some(5) && told.contains("is being rebuilt by the job"), "{told}");
    until(async || installation.says(&["replay", "resume", "rebuilt"]).await.status.success()).await;
    for ((table, before), (_, after)) in rows(&kept).await.iter().zip(&rows(&installation.store()).await)
    {
        assert_eq!(before, after, "{table}");
    }
}

#[cfg(feature = "production-tests")]
mod moving {
    use std::collections::BTreeMap;

    use super::*;
    use crate::production::Installation as Pair;

    /// What a ledger says of numbers, but for where they stood.
    fn told(rows: Vec<(String, String, String)>) -> BTreeMap<String, (String, String)> {
        rows.into_iter().map(|(number, fingerprint, event)| (number, (fingerprint, event))).collect()
    }

    #[tokio::test]
    async fn an_embedded_installation_moves_to_kafka_and_postgresql() {
        let embedded = Installation::new();
        embedded.with_history(150).await;
        let pair = Pair::ready().await;
        let to = pair.config();
        let moved = embedded.says(&["export", "--to", to.to_str().unwrap()]).await;
        assert!(moved.status.success(), "{}", text(&moved.stderr));
        let again = embedded.says(&["export", "--to", to.to_str().unwrap()]).await;
        let told_again = text(&again.stderr);
        assert!(again.status.code() == Some(2) && told_again.contains("is not empty"), "{told_again}");
        let rebuilt = pair.run(&REBUILD).await;
        assert!(rebuilt.status.success(), "{}{}", text(&rebuilt.stdout), text(&rebuilt.stderr));

        let mut old = SqliteConnectOptions::new().filename(embedded.store()).connect().await.unwrap();
        let before: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT number, lower(hex(fingerprint)), lower(hex(event_id)) FROM communications",
        )
        .fetch_all(&mut old)
        .await
        .unwrap();
        let mut new = pair.database().session().await;
        let after: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT number, encode(fingerprint, 'hex'), replace(event_id::text, '-', '') FROM communications",
        )
        .fetch_all(&mut new)
        .await
        .unwrap();
        assert!(before.len() > 100);
        assert_eq!(told(after), told(before));
        let rejected = "SELECT number, verdict FROM rejections ORDER BY number, verdict";
        let before: Vec<(String, String)> = sqlx::query_as(rejected).fetch_all(&mut old).await.unwrap();
        let after: Vec<(String, String)> = sqlx::query_as(rejected).fetch_all(&mut new).await.unwrap();
        assert_eq!(after, before);
        let accounts = "SELECT account_ext_id, communication_number FROM accounts ORDER BY account_ext_id COLLATE \"C\"";
        let after: Vec<(String, String)> = sqlx::query_as(accounts).fetch_all(&mut new).await.unwrap();
        let accounts =
            "SELECT account_ext_id, communication_number FROM accounts ORDER BY account_ext_id";
        let before: Vec<(String, String)> = sqlx::query_as(accounts).fetch_all(&mut old).await.unwrap();
        assert_eq!(after, before);

        // Where the roles go on, what is sent again has its first outcome, and everything balances.
        let (worker, intake) = (pair.start("worker").await, pair.start("intake").await);
        for process in [&worker, &intake] {
            process.until_ready().await;
        }
        let known = json!({"accounts": [account("n-0", 0, "current", "CREATE")]}).to_string();
        let (status, answer) = intake.send(known).await;
        assert_eq!(
            (status, &answer["results"][0]["resultType"]),
            (200, &json!("REQUEST_ACCEPTED")),
            "{answer}"
        );
        intake.stop().await;
        worker.stop().await;
        let audit = pair.run(&["audit", "--deep"]).await;
        assert!(audit.status.success(), "{}{}", text(&audit.stdout), text(&audit.stderr));
    }
}
