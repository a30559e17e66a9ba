//! Deciding anew what was decided before: what is told of it, beside the processes that have queue and store.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Headers, Queue, Record, Topic};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{DEADLINE, Dev, penstock, text, until};
use crate::readme::commands_marked;
use crate::receiver::Receiver;

/// A list that lacks a type, and one that has it.
const SHORT: &str = "[reference]\naccount_types = ['CHECKING']\n";
const COMPLETE: &str = "[reference]\naccount_types = ['CHECKING', 'SAVINGS']\n";

/// An account of a type, for a unit.
fn account(number: &str, account: &str, account_type: &str, unit: &str) -> Value {
    json!({
        "communicationNumber": number, "requester": "CORE", "businessUnit": unit,
        "businessEntityExtId": "customer-1", "accountExtId": account, "accountType": account_type,
        "accountNumber": "LT121000011101001000", "accountStatus": "ACTIVE", "currencyCode": "EUR",
        "openingDate": "2023-09-05T08:07:34Z", "action": "CREATE",
    })
}

/// Two savings accounts of different units and a checking account; one of the savings accounts was sent again,
/// corrected, and accepted.
async fn send_some(dev: &Dev) {
    let batch = json!({"accounts": [
        account("n-1", "a-1", "CHECKING", "north"),
        account("n-2", "a-2", "SAVINGS", "north"),
        account("n-3", "a-3", "SAVINGS", "south"),
    ]});
    let (status, answer) = dev.send(batch.to_string()).await;
    let codes: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|it| &it["errorCode"]).collect();
    assert_eq!((status, &codes[1..]), (200, &[&json!("A007"), &json!("A007")][..]), "{answer}");
    let corrected = json!({"accounts": [account("n-3", "a-3", "CHECKING", "south")]});
    let (_, answer) = dev.send(corrected.to_string()).await;
    assert_eq!(answer["results"][0]["resultType"], "REQUEST_ACCEPTED", "{answer}");
}

/// Two accounts of types that the complete list has.
async fn send_some_typed(dev: &Dev) {
    let batch = json!({"accounts": [
        account("n-1", "a-1", "CHECKING", "north"),
        account("n-2", "a-2", "SAVINGS", "north"),
    ]});
    let (status, answer) = dev.send(batch.to_string()).await;
    assert_eq!(
        (status, &answer["results"][1]["resultType"]),
        (200, &json!("REQUEST_ACCEPTED")),
        "{answer}"
    );
}

/// Waits until workers have told so many outcomes: they say so a little after the answer.
async fn until_told(config: &Path, count: u64) {
    until(async || {
        let mut command = penstock(&["replay", "plan", "--output", "json", "--config"]);
        let output = command.arg(config).output().await.unwrap();
        serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|plan| plan["read"] == count)
    })
    .await;
}

/// Runs `replay` with a configuration; what it prints, and what it tells besides.
async fn says(config: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let mut command = penstock(&["replay"]);
    command.args(arguments).arg("--config").arg(config);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}{told}");
    (said, told)
}

struct Setup {
    directory: TempDir,
}

impl Setup {
    /// A configuration with such a list.
    fn with(&self, name: &str, list: &str) -> PathBuf {
        let data = self.directory.path().join("data");
        let config = self.directory.path().join(name);
        std::fs::write(&config, format!("data_dir = '{}'\n{list}", data.display())).unwrap();
        config
    }
}

#[tokio::test]
async fn a_plan_tells_what_a_completed_list_would_change_while_dev_runs() {
    let setup = Setup { directory: tempfile::tempdir().unwrap() };
    let (short, complete) = (setup.with("short.toml", SHORT), setup.with("complete.toml", COMPLETE));
    let dev = Dev::start(&setup.directory, &["--config", short.to_str().unwrap()]).await;
    send_some(&dev).await;
    until_told(&short, 4).await;

    let plan = async |config: &Path, arguments: &[&str], code| {
        says(config, &[&["plan"], arguments].concat(), code).await.0
    };
    let changed = plan(&complete, &["--output", "csv"], 3).await;
    let lines: Vec<_> = changed.lines().map(|line| line.rsplit_once(',').unwrap().0).collect();
    let expected = [
        "change,before,after,business_unit,count",
        "changed,A007,accepted,north,1",
        "superseded,A007,A007,south,1",
        "unchanged,accepted,accepted,north,1",
        "unchanged,accepted,accepted,south,1",
    ];
    assert_eq!(lines, expected, "{changed}");
    let unchanged = plan(&short, &["--output", "json"], 0).await;
    let unchanged: Value = serde_json::from_str(&unchanged).unwrap();
    assert_eq!((&unchanged["read"], &unchanged["changed"]), (&json!(4), &json!(0)), "{unchanged}");
    assert_eq!(unchanged["totals"], json!({"unchanged": 4}));

    for (arguments, selected, code) in [
        (&["--only", "rejected"][..], 2, 3),
        (&["--code", "A007", "--business-unit", "south"], 1, 0),
        (&["--code", "A010"], 0, 0),
        (&["--business-unit", "north"], 2, 3),
        (&["--requester", "OTHER"], 0, 0),
        (&["--since", "1h"], 4, 3),
    ] {
        let json = plan(&complete, &[arguments, &["--output", "json"]].concat(), code).await;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["selected"], selected, "{arguments:?}: {json}");
        assert_ne!(json["policy_digest"], unchanged["policy_digest"]);
    }
    let table = plan(&complete, &["--only", "rejected"], 3).await;
    assert!(table.contains("1 would end otherwise"), "{table}");
    for secret in ["LT121000011101001000", "customer-1", "a-2", "n-2"] {
        assert!(!table.contains(secret) && !changed.contains(secret), "{secret} in {table}");
    }
    dev.stop().await;
    plan(&complete, &["--only", "rejected"], 3).await;
}

#[tokio::test]
async fn numbers_come_from_a_file_and_those_that_are_not_there_are_told() {
    let setup = Setup { directory: tempfile::tempdir().unwrap() };
    let (short, complete) = (setup.with("short.toml", SHORT), setup.with("complete.toml", COMPLETE));
    let dev = Dev::start(&setup.directory, &["--config", short.to_str().unwrap()]).await;
    send_some(&dev).await;
    until_told(&short, 4).await;
    let numbers = setup.directory.path().join("numbers");
    let of = numbers.to_str().unwrap();
    std::fs::write(&numbers, "n-2\n\nn-1\n").unwrap();
    let (json, _) = says(&complete, &["plan", "--numbers", of, "--output", "json"], 3).await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["selected"], 2);
    std::fs::write(&numbers, "n-2\nn-9\n").unwrap();
    let (_, told) = says(&complete, &["plan", "--numbers", of], 2).await;
    assert!(told.contains("1 of the numbers") && told.contains("n-9"), "{told}");
    dev.stop().await;
}

#[tokio::test]
async fn a_selection_that_means_nothing_is_answered_with_what_there_is() {
    let setup = Setup { directory: tempfile::tempdir().unwrap() };
    let config = setup.with("short.toml", SHORT);
    let dev = Dev::start(&setup.directory, &["--config", config.to_str().unwrap()]).await;
    let nothing = says(&config, &["plan"], 2).await.1;
    assert!(nothing.contains("no submission that workers have applied and told"), "{nothing}");
    send_some(&dev).await;
    for (arguments, expected) in [
        (&["--partition", "99"][..], "the topic has partitions 0 to 11"),
        (&["--partition", "0", "--from-offset", "4000"], "nothing lies at offset 4000"),
        (&["--since", "1h", "--until", "2h"], "ends before it begins"),
        (&["--until", "2020-01-01T00:00:00Z"], "no submission that workers have applied and told"),
        (&["--code", "A999"], "there are: O005, A001"),
        (&["--from-offset", "4"], "--partition"),
        (&["--numbers", "/nowhere/at-all"], "/nowhere/at-all"),
        (&["--since", "yesterday"], "how long ago such as 2h"),
    ] {
        let (said, told) = says(&config, &[&["plan"], arguments].concat(), 2).await;
        assert!(told.contains(expected), "{arguments:?}: {told}");
        assert!(said.is_empty(), "{arguments:?}: {said}");
    }
    dev.stop().await;
    std::fs::remove_dir_all(setup.directory.path().join("data")).unwrap();
    let (_, told) = says(&config, &["plan"], 5).await;
    assert!(told.contains("queue.db"), "{told}");
}

#[tokio::test]
async fn a_run_accepts_what_passes_now_and_tells_that_alone() {
    let setup = Setup { directory: tempfile::tempdir().unwrap() };
    let receiver = Receiver::start(200, "").await;
    let endpoint = format!(
        "[[callbacks.endpoints]]\nname = 'risk'\nurl = '{}'\nallow_http = true\nunsigned = true\n",
        receiver.url()
    );
    let short = setup.with("short.toml", &[SHORT, &endpoint].concat());
    let complete = setup.with("complete.toml", &[COMPLETE, &endpoint].concat());
    let dev = Dev::start(&setup.directory, &["--config", short.to_str().unwrap()]).await;
    send_some(&dev).await;
    until(async || receiver.arrivals().len() == 4).await;
    let run = ["run", "types-completed", "--only", "rejected", "--reason", "ticket-7"];
    dev.stop().await;

    let (said, _) = says(&complete, &run, 0).await;
    assert!(said.contains("2 of 4 records read are selected, 1 end otherwise"), "{said}");
    let (_, told) = says(&complete, &run, 2).await;
    assert!(told.contains("there is a job types-completed already"), "{told}");
    let (_, told) = says(&complete, &["resume", "types-completed"], 2).await;
    assert!(told.contains("is completed"), "{told}");
    let (unchanged, _) = says(&complete, &["plan", "--output", "json"], 0).await;
    let unchanged: Value = serde_json::from_str(&unchanged).unwrap();
    assert_eq!(unchanged["totals"], json!({"superseded": 1, "unchanged": 3}));

    let dev = Dev::start(&setup.directory, &["--config", complete.to_str().unwrap()]).await;
    until(async || receiver.arrivals().len() == 5).await;
    let last = receiver.arrivals().pop().unwrap();
    assert_eq!(last.header("ce-source"), "n-2");
    assert_eq!(last.header("ce-type"), "penstock.account.accepted");
    assert_eq!(last.header("ce-replay"), "types-completed");
    let again = json!({"accounts": [account("n-2", "a-2", "SAVINGS", "north")]});
    let (_, answer) = dev.send(again.to_string()).await;
    assert_eq!(answer["results"][0]["resultType"], "REQUEST_ACCEPTED", "{answer}");
    let mut show = penstock(&["show", "n-2", "--json", "--config"]);
    let shown = show.arg(&complete).output().await.unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let replays = &shown["submissions"][0]["replays"];
    assert_eq!((&replays[0]["job"], replays.as_array().unwrap().len()), (&json!("types-completed"), 1));
    assert_eq!((&replays[0]["before"], &replays[0]["after"]), (&json!("A007"), &json!("accepted")));
    let page = penstock(&["show", "n-2", "--config"]).arg(&complete).output().await.unwrap();
    let page = text(&page.stdout);
    assert!(page.contains("  replay types-completed changed A007 to accepted"), "{page}");
    let (status, _) = says(&complete, &["status", "types-completed", "--json"], 0).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["state"], &status["changed"]), (&json!("completed"), &json!(1)), "{status}");
    assert_eq!(
        (&status["reason"], &status["read"], &status["of"]),
        (&json!("ticket-7"), &json!(4), &json!(4))
    );
    let (jobs, _) = says(&complete, &["list"], 0).await;
    assert!(jobs.contains("types-completed") && jobs.contains("ticket-7"), "{jobs}");
    let (_, told) = says(&complete, &["status", "unknown"], 2).await;
    assert!(told.contains("there is no job unknown"), "{told}");
    dev.stop().await;
    assert_eq!(receiver.arrivals().len(), 5, "a resubmission is told nobody");
}

#[tokio::test]
async fn a_run_stops_at_more_errors_than_it_may_have() {
    let setup = Setup { directory: tempfile::tempdir().unwrap() };
    let config = setup.with("complete.toml", COMPLETE);
    let dev = Dev::start(&setup.directory, &["--config", config.to_str().unwrap()]).await;
    send_some_typed(&dev).await;
    dev.stop().await;
    let queue = setup.directory.path().join("data/queue.db");
    let queue = SqliteQueue::open(queue, SqliteQueueOptions::default()).await.unwrap();
    let no_account = |key: &'static [u8]| Record {
        key: Bytes::from_static(key),
        value: Bytes::from_static(b"no account"),
        headers: Headers::default(),
    };
    queue.publish(Topic::Submitted, vec![no_account(b"/a-1"), no_account(b"/a-2")]).await.unwrap();
    queue.close().await;
    let dev = Dev::start(&setup.directory, &["--config", config.to_str().unwrap()]).await;
    until_told(&config, 4).await;
    dev.stop().await;

    let run = |name, most| ["run", name, "--reason", "test", "--max-errors", most];
    let (_, told) = says(&config, &run("too-many", "1"), 1).await;
    assert!(
        told.contains("2 submissions could not be gone through, more than --max-errors 1"),
        "{told}"
    );
    let (status, _) = says(&config, &["status", "too-many", "--json"], 0).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["state"], "failed", "{status}");
    let (said, _) = says(&config, &run("enough", "2"), 0).await;
    assert!(said.contains("0 end otherwise"), "{said}");
    let (_, told) = says(&config, &["abort", "too-many", "--reason", "no use"], 0).await;
    assert!(!told.contains("error"), "{told}");
    let (status, _) = says(&config, &["status", "too-many", "--json"], 0).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["state"], "aborted", "{status}");
    let mut list = penstock(&["operations", "list", "--json", "--command", "replay.abort", "--config"]);
    let listed = text(&list.arg(&config).output().await.unwrap().stdout);
    assert!(listed.contains("too-many") && listed.contains("no use"), "{listed}");
}

#[tokio::test]
async fn the_commands_of_the_readme_work() {
    let setup = Setup { directory: tempfile::tempdir().unwrap() };
    let (short, complete) = (setup.with("short.toml", SHORT), setup.with("complete.toml", COMPLETE));
    let dev = Dev::start(&setup.directory, &["--config", short.to_str().unwrap()]).await;
    send_some(&dev).await;
    dev.stop().await;
    let run = async |command: &str, code| {
        let arguments: Vec<_> = command.strip_prefix("penstock replay ").unwrap().split(' ').collect();
        says(&complete, &arguments, code).await
    };
    for command in commands_marked("replay plan") {
        run(command, 3).await;
    }
    for command in commands_marked("replay run") {
        run(command, 0).await;
    }
    for command in commands_marked("replay plan") {
        run(command, 0).await;
    }
}

#[tokio::test]
async fn a_job_runs_in_the_process_that_has_queue_and_store() {
    let setup = Setup { directory: tempfile::tempdir().unwrap() };
    let (short, complete) = (setup.with("short.toml", SHORT), setup.with("complete.toml", COMPLETE));
    let dev = Dev::start(&setup.directory, &["--config", short.to_str().unwrap()]).await;
    send_some(&dev).await;
    until_told(&short, 4).await;
    let run = |name| ["run", name, "--only", "rejected", "--reason", "ticket-7"];
    let (_, told) = says(&complete, &run("by-other-lists"), 1).await;
    assert!(told.contains("goes by other rules or lists") && told.contains("it is paused"), "{told}");
    let (said, _) = says(&short, &run("by-the-same-lists"), 0).await;
    assert!(said.contains("0 end otherwise"), "{said}");
    dev.stop().await;

    let dev = Dev::start(&setup.directory, &["--config", complete.to_str().unwrap()]).await;
    let (said, _) = says(&complete, &run("types-completed"), 0).await;
    assert!(said.contains("2 of 4 records read are selected, 1 end otherwise"), "{said}");
    let (_, told) = says(&complete, &run("types-completed"), 2).await;
    assert!(told.contains("there is a job types-completed already"), "{told}");
    let slow = ["run", "slow", "--rate", "1", "--reason", "test", "--max-errors", "0"];
    let mut command = penstock(&["replay"]);
    command.args(slow).arg("--config").arg(&complete).kill_on_drop(true);
    command.stderr(std::process::Stdio::piped());
    let followed = command.spawn().unwrap();
    let state = async || {
        let mut command = penstock(&["replay", "status", "slow", "--json", "--config"]);
        let output = command.arg(&complete).output().await.unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    until(async || !state().await["leased_until"].is_null()).await;
    says(&complete, &["pause", "slow"], 0).await;
    let ended = tokio::time::timeout(DEADLINE, followed.wait_with_output()).await.unwrap().unwrap();
    let told = text(&ended.stderr);
    assert!(told.contains("was paused by an operator"), "{told}");
    let (said, _) = says(&complete, &["resume", "slow"], 0).await;
    assert!(said.contains("0 end otherwise"), "{said}");
    assert_eq!(state().await["state"], "completed");
    dev.stop().await;
}

#[tokio::test]
async fn a_job_is_paused_resumed_and_aborted() {
    let setup = Setup { directory: tempfile::tempdir().unwrap() };
    let (short, complete) = (setup.with("short.toml", SHORT), setup.with("complete.toml", COMPLETE));
    let dev = Dev::start(&setup.directory, &["--config", short.to_str().unwrap()]).await;
    send_some(&dev).await;
    dev.stop().await;
    let mut command = penstock(&["replay", "run", "slow", "--reason", "test", "--rate", "1"]);
    command.arg("--config").arg(&complete).kill_on_drop(true);
    command.stderr(std::process::Stdio::piped());
    let running = command.spawn().unwrap();
    let state = async || {
        let mut command = penstock(&["replay", "status", "slow", "--json", "--config"]);
        let output = command.arg(&complete).output().await.unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        status["state"].as_str().unwrap_or_default().to_owned()
    };
    until(async || state().await == "running").await;
    says(&complete, &["pause", "slow"], 0).await;
    let ended = tokio::time::timeout(DEADLINE, running.wait_with_output()).await.unwrap().unwrap();
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains("was paused by an operator; `penstock replay resume slow` goes on"), "{told}");

    let (_, told) = says(&short, &["resume", "slow"], 2).await;
    assert!(told.contains("the rules and lists are others"), "{told}");
    let (said, _) = says(&complete, &["resume", "slow"], 0).await;
    assert!(said.contains("1 end otherwise"), "{said}");
    assert_eq!(state().await, "completed");
    let (_, told) = says(&complete, &["abort", "slow"], 2).await;
    assert!(told.contains("is completed"), "{told}");
    let (_, told) = says(&complete, &["run", "No Name", "--reason", "x"], 2).await;
    assert!(told.contains("a to z, 0 to 9 and -"), "{told}");
    let (_, told) = says(&complete, &["run", "another", "--reason", " "], 2).await;
    assert!(told.contains("must say why"), "{told}");

    let mut list = penstock(&["operations", "list", "--json", "--config"]);
    let listed = text(&list.arg(&complete).output().await.unwrap().stdout);
    let operations: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = operations.iter().map(|it| (&it["command"], &it["state"])).collect();
    let expected = [("replay.resume", "done"), ("replay.pause", "done"), ("replay.run", "failed")]
        .map(|it| json!(it));
    assert_eq!(told.iter().map(|it| json!(it)).collect::<Vec<_>>(), expected, "{listed}");
    let run = &operations[2];
    assert_eq!((&run["subject"]["job"], &run["reason"]), (&json!("slow"), &json!("test")));
    let problem = run["steps"][1]["note"].as_str().unwrap();
    assert!(problem.contains("was paused by an operator"), "{problem}");
}

#[cfg(feature = "production-tests")]
#[tokio::test]
async fn a_plan_tells_the_same_on_kafka_and_postgresql() {
    let installation = crate::production::Installation::ready().await;
    let url = installation.database().url();
    installation.configure(&url, SHORT);
    let worker = installation.start("worker").await;
    let intake = installation.start("intake").await;
    for process in [&worker, &intake] {
        process.until_ready().await;
    }
    let probes = Cell::new(0);
    until(async || {
        probes.set(probes.get() + 1);
        let probe = json!({"accounts": [account("n-1", "a-1", "CHECKING", "north")]});
        intake.send(probe.to_string()).await.1["results"][0]["resultType"] == "REQUEST_ACCEPTED"
            && worker.get(&format!("{}/metrics", worker.admin)).await.1.contains("code=\"accepted\"")
    })
    .await;
    send_some(&intake).await;
    until_told(&installation.config(), probes.get() + 4).await;
    let plan = ["plan", "--output", "json", "--only", "rejected"];
    let (json, _) = says(&installation.config(), &plan, 0).await;
    let totals = |json: &str| serde_json::from_str::<Value>(json).unwrap()["totals"].clone();
    assert_eq!(totals(&json), json!({"unchanged": 2}));
    installation.configure(&url, COMPLETE);
    let (json, _) = says(&installation.config(), &plan, 3).await;
    assert_eq!(totals(&json), json!({"changed": 1, "superseded": 1}));
    let run = ["run", "types-completed", "--only", "rejected", "--reason", "test", "--output", "json"];
    let (json, _) = says(&installation.config(), &run, 0).await;
    assert_eq!(totals(&json), json!({"changed": 1, "superseded": 1}), "beside the roles");
    let (json, _) = says(&installation.config(), &plan, 0).await;
    assert_eq!(totals(&json), json!({"superseded": 1}));
    intake.stop().await;
    worker.stop().await;
}
