//! Dead letters as their operators meet them: listed, put back by the worker that runs, left for good.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use penstock::account::{Offset, Partition, Timestamp};
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Headers, Queue, Received, Record, Topic, dead_letter};
use penstock::sqlite::queue_file;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{DEADLINE, Dev, penstock, text};
use crate::readme::commands_marked;

/// What no list may show.
pub(crate) const SECRETS: [&str; 3] = ["LT121000011101001000", "customer-1", "Jane Roe"];

pub(crate) fn account(number: &str) -> String {
    json!({
        "communicationNumber": number, "requester": "CORE", "businessEntityExtId": "customer-1",
        "accountExtId": format!("account-{number}"), "accountNumber": "LT121000011101001000",
        "accountStatus": "ACTIVE", "currencyCode": "EUR", "openingDate": "2023-09-05T08:07:34Z",
        "action": "CREATE",
    })
    .to_string()
}

fn letter(offset: u64, value: &str, class: &'static str, reason: &str) -> Record {
    let mut headers = Headers::default();
    headers.push("own-header", "kept");
    // As the intake does it, so that what is put back stands behind whatever else was sent of the account.
    let account: Value = serde_json::from_str(value).unwrap_or_default();
    let key = account["accountExtId"].as_str().map_or(format!("/{offset}"), |id| format!("/{id}"));
    let record = Record { key: Bytes::from(key), value: Bytes::from(value.to_owned()), headers };
    let appended_at = Timestamp::from_unix_millis(1_700_000_000_000);
    let received = Received { partition: Partition(1), offset: Offset(offset), appended_at, record };
    dead_letter(&received, Topic::Submitted, class, reason)
}

/// A data directory whose queue has letters, and the configuration that names it.
pub(crate) struct Setup {
    pub(crate) directory: TempDir,
    pub(crate) config: PathBuf,
}

impl Setup {
    /// Two accounts that could not be stored once, and two texts that never were accounts.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let queue = SqliteQueue::open(queue_file(&data), SqliteQueueOptions::default()).await.unwrap();
        let letters = vec![
            letter(3, &account("n-1"), "not_storable", "column too narrow"),
            letter(4, &account("n-2"), "not_storable", "column too narrow"),
            letter(5, "Jane Roe, 17", "not_an_account", "expected value at line 1 column 1"),
            letter(
                6,
                "{\"requester\": \"Jane Roe\"}",
                "not_an_account",
                "expected value at line 2 column 7",
            ),
        ];
        queue.publish(Topic::DeadLetter, letters).await.unwrap();
        queue.close().await;
        let config = directory.path().join("penstock.toml");
        std::fs::write(&config, format!("data_dir = '{}'\n", data.display())).unwrap();
        Self { directory, config }
    }

    /// Appends a submission, as a producer does while nobody works.
    async fn submit(&self, account: Value) {
        let data = self.directory.path().join("data");
        let queue = SqliteQueue::open(queue_file(&data), SqliteQueueOptions::default()).await.unwrap();
        let key = format!("/{}", account["accountExtId"].as_str().unwrap());
        let record = Record {
            key: Bytes::from(key),
            value: Bytes::from(account.to_string()),
            headers: Headers::default(),
        };
        queue.publish(Topic::Submitted, vec![record]).await.unwrap();
        queue.close().await;
    }

    pub(crate) async fn dev(&self) -> Dev {
        Dev::start(&self.directory, &["--config", self.config.to_str().unwrap()]).await
    }

    /// Runs `dlq`; what it prints, and what it tells besides.
    async fn says(&self, arguments: &[&str], code: i32) -> (String, String) {
        let mut command = penstock(&["dlq"]);
        command.args(arguments).arg("--config").arg(&self.config);
        let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        let (said, told) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}{told}");
        (said, told)
    }

    /// Runs `dlq` with JSON lines; these.
    async fn lines(&self, arguments: &[&str], code: i32) -> Vec<Value> {
        let (said, _) = self.says(&[arguments, &["--output", "json"]].concat(), code).await;
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn letters_are_listed_by_what_they_have_in_common_and_masked() {
    let setup = Setup::new().await;
    let dev = setup.dev().await;
    let (table, told) = setup.says(&["list"], 3).await;
    assert!(
        table.contains("not_storable") && table.contains("expected value at line # column #"),
        "{table}"
    );
    assert!(told.contains("4 letters"), "{told}");
    let groups = setup.lines(&["list", "--class", "not_an_account"], 3).await;
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!((&groups[0]["letters"], &groups[0]["state"]), (&json!(2), &json!("open")));
    assert_eq!(groups[0]["from"], "accounts.submitted");
    let each = setup.lines(&["list", "--each", "--why", "expected value at line 9 column 9"], 3).await;
    assert_eq!(each.len(), 2, "{each:?}");
    assert_eq!(each[0]["state"], "open");
    assert_eq!(setup.lines(&["list", "--from", "results"], 0).await.len(), 0);
    assert_eq!(setup.lines(&["list", "--until", "1h"], 0).await.len(), 0);
    let (_, told) = setup.says(&["list", "--each", "--limit", "1"], 3).await;
    assert!(told.contains("1 of 4 letters"), "{told}");

    let mut shown = table;
    for letter in setup.lines(&["list", "--each"], 3).await {
        let place = letter["letter"].as_str().unwrap().to_owned();
        shown.push_str(&setup.says(&["show", &place], 0).await.0);
        let (json, _) = setup.says(&["show", &place, "--json"], 0).await;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["headers"], json!(["xxx-xxxxxx"]));
        assert!(json["origin"].as_str().unwrap().starts_with("accounts.submitted 1/"), "{json}");
        shown.push_str(&json.to_string());
    }
    assert!(shown.contains("accountNumber") && shown.contains("xx999999999999999999"), "{shown}");
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    dev.stop().await;
}

#[tokio::test]
async fn letters_are_put_back_by_the_worker_that_runs_and_end() {
    let setup = Setup::new().await;
    let dev = setup.dev().await;
    let redrive = ["redrive", "--class", "not_storable", "--reason", "column widened"];
    let (table, told) = setup.says(&redrive, 3).await;
    assert!(table.contains("column too narrow") && told.contains("nothing is changed"), "{table}{told}");
    assert_eq!(setup.lines(&["list", "--state", "requested"], 0).await.len(), 0);

    let applied = [&redrive[..], &["--apply"]].concat();
    let ended = setup.lines(&applied, 0).await;
    let outcomes: Vec<_> = ended.iter().map(|letter| letter["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["accepted", "accepted"]);
    let (_, answer) = dev.send(format!("{{\"accounts\": [{}]}}", account("n-1"))).await;
    assert_eq!(answer["results"][0]["resultType"], "REQUEST_ACCEPTED", "as it was decided: {answer}");

    let (_, told) = setup.says(&applied, 0).await;
    assert!(told.contains("no letter is selected"), "{told}");
    let place = ended[0]["letter"].as_str().unwrap();
    let (_, told) = setup.says(&["redrive", place, "--reason", "again", "--apply"], 2).await;
    assert!(told.contains("1 letter that cannot be put back") && told.contains(place), "{told}");
    let (shown, _) = setup.says(&["show", place], 0).await;
    assert!(shown.contains("redriven") && shown.contains("column widened"), "{shown}");

    let hopeless = ["redrive", "--class", "not_an_account", "--reason", "a try", "--apply"];
    let (_, told) = setup.says(&hopeless, 0).await;
    assert!(told.contains("2 letters cannot be put back: it is still no account"), "{told}");
    dev.stop().await;
}

#[tokio::test]
async fn a_letter_never_replaces_a_newer_state_of_its_account() {
    let setup = Setup::new().await;
    let dev = setup.dev().await;
    let newer = |old: &str, number: &str| {
        let mut newer: Value = serde_json::from_str(&account(old)).unwrap();
        newer["communicationNumber"] = json!(number);
        newer
    };
    let send = async |dev: &Dev, account: Value| {
        let (_, answer) = dev.send(json!({"accounts": [account]}).to_string()).await;
        assert_eq!(answer["results"][0]["resultType"], "REQUEST_ACCEPTED", "{answer}");
    };
    send(&dev, newer("n-1", "n-3")).await;
    let redrive = ["redrive", "--class", "not_storable", "--reason", "column widened"];
    let (table, told) = setup.says(&redrive, 3).await;
    assert!(told.contains("1 letter cannot be put back: a newer submission"), "{table}{told}");
    assert!(told.contains("1 letter would be put back"), "{told}");
    dev.stop().await;

    // Asked for while nothing is newer, and overtaken before a worker is there.
    let asked = [&redrive[..], &["--apply", "--wait", "1s"]].concat();
    setup.says(&asked, 1).await;
    setup.submit(newer("n-2", "n-4")).await;
    let dev = setup.dev().await;
    crate::process::until(async || {
        let (said, _) = setup.says(&["list", "--state", "redriven", "--output", "json"], 0).await;
        said.contains("\"letters\":1")
    })
    .await;
    let show = async |number: &str| {
        let mut command = penstock(&["show", number, "--json", "--config"]);
        let output = command.arg(&setup.config).output().await.unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()["submissions"][0].clone()
    };
    // What creates an account that is there by now breaks that rule first.
    crate::process::until(async || show("n-2").await["outcome"] == "A009").await;
    assert_eq!(show("n-4").await["is_account_state"], true);
    dev.stop().await;
}

#[tokio::test]
async fn without_a_worker_letters_wait_for_one() {
    let setup = Setup::new().await;
    let dev = setup.dev().await;
    dev.stop().await;
    let redrive =
        ["redrive", "--class", "not_storable", "--reason", "ticket-7", "--apply", "--wait", "1s"];
    let (table, told) = setup.says(&redrive, 1).await;
    assert!(
        table.contains("not put back yet") && told.contains("is a worker running?"),
        "{table}{told}"
    );
    assert_eq!(setup.lines(&["list", "--state", "requested"], 3).await[0]["letters"], 2);
    let dev = setup.dev().await;
    crate::process::until(async || {
        let (said, _) = setup.says(&["list", "--state", "redriven", "--output", "json"], 0).await;
        said.contains("\"letters\":2")
    })
    .await;
    dev.stop().await;
}

#[tokio::test]
async fn letters_are_discarded_and_taken_up_again() {
    let setup = Setup::new().await;
    let dev = setup.dev().await;
    let (_, told) =
        setup.says(&["discard", "--class", "not_an_account", "--reason", "test messages"], 3).await;
    assert!(told.contains("2 letters would be discarded"), "{told}");
    let (_, told) =
        setup.says(&["discard", "--class", "not_an_account", "--reason", " ", "--apply"], 2).await;
    assert!(told.contains("must say why"), "{told}");
    let discard = ["discard", "--class", "not_an_account", "--reason", "test messages", "--apply"];
    let (_, told) = setup.says(&discard, 0).await;
    assert!(told.contains("2 letters discarded"), "{told}");
    assert_eq!(setup.lines(&["list"], 3).await.len(), 1, "the others");
    let discarded = setup.lines(&["list", "--state", "discarded", "--each"], 0).await;
    assert_eq!(discarded[0]["decision"]["reason"], "test messages", "{discarded:?}");
    let again = ["redrive", "--class", "not_an_account", "--reason", "a try"];
    let (_, told) = setup.says(&again, 0).await;
    assert!(told.contains("no letter is selected"), "{told}");
    let storable = ["discard", "--class", "not_storable", "--reason", "a mistake", "--apply"];
    setup.says(&storable, 0).await;
    let redrive = ["redrive", "--class", "not_storable", "--reason", "taken back", "--apply"];
    let (_, told) = setup.says(&redrive, 0).await;
    assert!(told.contains("no letter is selected"), "{told}");
    let ended = setup.lines(&[&redrive[..], &["--discarded"]].concat(), 0).await;
    assert_eq!(ended.len(), 2, "{ended:?}");
    dev.stop().await;
}

#[tokio::test]
async fn letters_are_exported_with_all_that_was_in_them() {
    let setup = Setup::new().await;
    let dev = setup.dev().await;
    dev.stop().await;
    let out = setup.directory.path().join("letters.ndjson");
    let export = ["export", "--class", "not_an_account", "--out", out.to_str().unwrap()];
    setup.says(&export, 0).await;
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let lines = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let values: Vec<_> = lines.iter().map(|line| line["value"].as_str().unwrap()).collect();
    assert!(values.contains(&"SmFuZSBSb2UsIDE3"), "in Base64: {values:?}");
    assert_eq!(lines[0]["headers"], json!([["own-header", "a2VwdA=="]]));
    let (_, told) = setup.says(&export, 1).await;
    assert!(told.contains("a new file"), "{told}");
    let (said, _) = setup.says(&["export", "--out", "-"], 0).await;
    assert_eq!(said.lines().count(), 4);
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let setup = Setup::new().await;
    let dev = setup.dev().await;
    let (_, told) = setup.says(&["show", "0/999999"], 2).await;
    assert!(told.contains("holds no letter 0/999999"), "{told}");
    let (_, told) = setup.says(&["show", "x"], 2).await;
    assert!(told.contains("such as 3/117"), "{told}");
    let (_, told) = setup.says(&["discard", "0/999999", "--reason", "none", "--apply"], 2).await;
    assert!(told.contains("1 letter that cannot be discarded: 0/999999"), "{told}");
    let (_, told) = setup.says(&["redrive", "--reason", "x", "--wait", "500000years"], 2).await;
    assert!(told.contains("a day at most"), "{told}");
    dev.stop().await;
}

#[tokio::test]
async fn the_commands_of_the_readme_work() {
    let setup = Setup::new().await;
    let dev = setup.dev().await;
    for (command, code) in commands_marked("dlq").into_iter().zip([3, 3, 0, 0, 0]) {
        let arguments: Vec<_> = command.strip_prefix("penstock dlq ").unwrap().split(' ').collect();
        setup.says(&arguments, code).await;
    }
    dev.stop().await;
}

#[cfg(feature = "production-tests")]
#[tokio::test]
async fn the_same_holds_on_kafka_and_postgresql() {
    use penstock::queue::kafka::{KafkaQueue, KafkaQueueOptions};
    use penstock::telemetry::Metrics;

    let installation = crate::production::Installation::ready().await;
    let options = KafkaQueueOptions {
        topic_prefix: installation.topics().as_str().to_owned(),
        brokers: crate::servers::kafka::brokers(),
        ..KafkaQueueOptions::default()
    };
    let queue = KafkaQueue::open(options, Metrics::disabled()).await.unwrap();
    let setup = Setup { directory: tempfile::tempdir().unwrap(), config: installation.config() };
    let letters = vec![
        letter(3, &account("n-1"), "not_storable", "column too narrow"),
        letter(4, &account("n-2"), "not_storable", "column too narrow"),
    ];
    queue.publish(Topic::DeadLetter, letters).await.unwrap();
    let rubbish = Record {
        key: Bytes::from_static(b"/a"),
        value: Bytes::from_static(b"Jane Roe"),
        headers: Headers::default(),
    };
    queue.publish(Topic::Submitted, vec![rubbish]).await.unwrap();
    let worker = installation.start("worker").await;
    worker.until_ready().await;
    crate::process::until(async || setup.lines(&["list", "--each"], 3).await.len() == 3).await;

    let redrive = ["redrive", "--class", "not_storable", "--reason", "column widened", "--apply"];
    let ended = setup.lines(&redrive, 0).await;
    assert!(ended.len() == 2 && ended.iter().all(|it| it["outcome"] == "accepted"), "{ended:?}");
    let hopeless = ["redrive", "--class", "not_an_account", "--reason", "a try", "--apply"];
    let (_, told) = setup.says(&hopeless, 0).await;
    assert!(told.contains("1 letter cannot be put back: it is still no account"), "{told}");
    let discard = ["discard", "--class", "not_an_account", "--reason", "no account", "--apply"];
    setup.says(&discard, 0).await;
    setup.says(&["list"], 0).await;
    worker.stop().await;
    queue.close().await;
}
