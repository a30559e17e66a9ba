//! The commands by which operators look at deliveries and change how they go on, beside the process that
//! delivers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use standardwebhooks::Webhook;
use tempfile::TempDir;

use crate::process::{DEADLINE, Dev, example_batch, penstock, text, until};
use crate::receiver::Receiver;

/// Within which running processes follow: the commands say 3 seconds, where processors are free.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(12);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A configuration with one endpoint, `risk`, at a receiver, and a data directory.
struct Setup {
    directory: TempDir,
    receiver: Receiver,
}

impl Setup {
    /// Deliveries that failed are tried again after the waits of the schedule.
    async fn new(schedule: &str) -> Self {
        let setup = Self {
            directory: tempfile::tempdir().unwrap(),
            receiver: Receiver::start(200, "thank you").await,
        };
        let endpoint = setup.endpoint();
        let settings = format!(
            "data_dir = '{}'\n[callbacks]\nretry_schedule = {schedule}\nendpoints = [{endpoint}]\n",
            setup.data().display(),
        );
        std::fs::write(setup.config(), settings).unwrap();
        setup
    }

    /// One whose first two deliveries have failed and are in `state`; its receiver is well again.
    async fn with_failures(schedule: &str, state: &str) -> (Self, Dev) {
        let setup = Self::new(schedule).await;
        setup.receiver.answers(500, "no");
        let dev = setup.dev().await;
        assert_eq!(dev.send(example_batch()).await.0, 200);
        setup.until_in_state(state, 2).await;
        setup.receiver.answers(200, "");
        (setup, dev)
    }

    fn endpoint(&self) -> String {
        let url = self.receiver.url();
        format!("{{ name = 'risk', url = '{url}', allow_http = true, secrets = ['{SECRET}'] }}")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("penstock.toml")
    }

    async fn dev(&self) -> Dev {
        Dev::start(&self.directory, &["--config", self.config().to_str().unwrap()]).await
    }

    /// Runs a command to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        run_with(&self.config(), arguments).await
    }

    /// Data and messages of a command that ends with `code`.
    async fn says(&self, arguments: &[&str], code: i32) -> (String, String) {
        says_with(&self.config(), arguments, code).await
    }

    /// Objects that a command prints as JSON lines.
    async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        json_with(&self.config(), arguments).await
    }

    /// Deliveries in this state.
    async fn in_state(&self, state: &str) -> Vec<Value> {
        self.json(&["list", "--state", state, "--limit", "1000"]).await
    }

    /// Waits until so many deliveries are in this state.
    async fn until_in_state(&self, state: &str, count: usize) {
        until(async || self.in_state(state).await.len() == count).await;
    }
}

async fn run_with(config: &Path, arguments: &[&str]) -> Output {
    let mut command = penstock(&["callbacks"]);
    command.args(arguments).arg("--config").arg(config);
    tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap()
}

async fn says_with(config: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let output = run_with(config, arguments).await;
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}{told}");
    let acts = |c: char| c.is_control() && c != '\n';
    assert!(!said.contains(acts) && !told.contains(acts), "{said:?}{told:?}");
    (said, told)
}

async fn json_with(config: &Path, arguments: &[&str]) -> Vec<Value> {
    let (said, _) = says_with(config, &[arguments, &["--json"]].concat(), 0).await;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The published example under another number; one of its two accounts is accepted.
fn batch(number: &str) -> String {
    example_batch().replace("1b1e1c23-f62f-4338-90b9-8d54993dd2cd", number)
}

#[tokio::test]
async fn deliveries_are_listed_and_shown_while_dev_delivers() {
    let setup = Setup::new("['1h']").await;
    setup.receiver.answers(500, "\u{1b}[2Jnot today\r\n");
    let dev = setup.dev().await;
    assert_eq!(dev.send(batch("n-\\u001b[31m-1")).await.0, 200);
    setup.until_in_state("parked", 2).await;
    assert_eq!(dev.send(batch("n-2")).await.0, 200);
    setup.until_in_state("parked", 4).await;

    let listed = setup.json(&["list"]).await;
    let first = &listed[0];
    assert_eq!((&first["endpoint"], &first["state"]), (&"risk".into(), &"parked".into()), "{first}");
    assert_eq!((&first["attempts"], &first["communication_number"]), (&1.into(), &"n-2".into()));
    assert_eq!(first["last_attempt"]["status"], 500);
    assert!(first["due_at"].as_str() > first["recorded_at"].as_str(), "{first}");
    let of = async |arguments: &[&str]| setup.json(&[&["list"], arguments].concat()).await.len();
    let id = first["event_id"].as_str().unwrap();
    assert_eq!(of(&["--event-id", id]).await, 1);
    assert_eq!(of(&["--number", "n-2", "--endpoint", "risk", "--state", "parked"]).await, 2);
    assert_eq!(of(&["--number", "n-\u{1b}[31m-1"]).await, 2, "JSON means the number as it was sent");
    assert_eq!((of(&["--since", "1h"]).await, of(&["--until", "1h"]).await), (4, 0));
    let since = listed[1]["recorded_at"].as_str().unwrap();
    assert_eq!(of(&["--since", since, "--number", "n-2"]).await, 2);

    let (table, told) = setup.says(&["list", "--limit", "1"], 0).await;
    assert!(table.contains(id) && table.contains("n-2"), "{table}");
    assert_eq!(told.trim(), "the last 1; --limit shows more, --count how many there are");
    let (_, told) = setup.says(&["list", "--limit", "1", "--count"], 0).await;
    assert_eq!(told.trim(), "the last 1 of 4 deliveries; --limit shows more");
    let (table, _) = setup.says(&["list"], 0).await;
    assert!(table.contains("n-\\u{1b}[31m-1"), "{table}");

    let (shown, _) = setup.says(&["show", "risk", id], 0).await;
    for part in ["parked", "next attempt", "attempts      1", " ms  500  ", "[2Jnot today"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    let shown = &setup.json(&["show", "risk", id]).await[0];
    assert_eq!(shown["kept_attempts"], Value::from(vec![first["last_attempt"].clone()]));
    let none = "00000000-0000-0000-0000-000000000000";
    let (_, told) = setup.says(&["show", "risk", none], 1).await;
    assert!(told.contains("no delivery of"), "{told}");
    dev.stop().await;
    assert_eq!(of(&[]).await, 4, "also while nobody has the data directory");
}

#[tokio::test]
async fn what_was_given_up_is_delivered_again_on_demand() {
    let (setup, dev) = Setup::with_failures("['1ms']", "exhausted").await;

    let (table, told) = setup.says(&["redeliver", "--endpoint", "risk"], 3).await;
    assert!(
        told.contains("2 exhausted deliveries would be due now") && told.contains("--apply"),
        "{told}"
    );
    assert_eq!(table.matches("exhausted").count(), 2, "{table}");
    assert_eq!(setup.in_state("exhausted").await.len(), 2, "a dry run changes nothing");
    let (_, told) = setup.says(&["redeliver", "--endpoint", "risk", "--apply"], 0).await;
    assert_eq!(told.trim(), "2 deliveries are due now");
    setup.until_in_state("delivered", 2).await;
    assert_eq!(setup.receiver.arrivals().len(), 6);

    let delivered = setup.in_state("delivered").await;
    assert_eq!(delivered[0]["attempts"], 3);
    let id = delivered[0]["event_id"].as_str().unwrap();
    let (_, told) = setup.says(&["redeliver", "--event-id", id], 0).await;
    assert!(told.contains("no exhausted delivery is selected"), "{told}");
    assert!(told.contains("--state delivered takes 1 delivery"), "{told}");
    setup.says(&["redeliver", "--event-id", id, "--state", "delivered"], 0).await;
    until(async || setup.receiver.arrivals().len() == 7).await;
    assert_eq!(setup.receiver.arrivals()[6].header("ce-id"), id, "one needs no --apply");
    setup.until_in_state("delivered", 2).await;
    dev.stop().await;
    let settings = std::fs::read_to_string(setup.config()).unwrap();
    std::fs::write(setup.config(), settings.replace("'risk'", "'other'")).unwrap();
    let (_, told) = setup.says(&["redeliver", "--state", "delivered", "--apply"], 0).await;
    assert!(told.contains("risk is not configured: nobody sends the 2 deliveries parked"), "{told}");
}

#[tokio::test]
async fn what_is_parked_until_later_goes_out_at_once_on_demand() {
    let (setup, dev) = Setup::with_failures("['1h']", "parked").await;
    let arguments = ["redeliver", "--state", "parked", "--limit", "1"];
    let (_, told) = setup.says(&arguments, 0).await;
    assert_eq!(told.trim(), "1 delivery is due now");
    setup.until_in_state("delivered", 1).await;
    assert_eq!(setup.in_state("parked").await.len(), 1);
    dev.stop().await;
}

#[tokio::test]
async fn what_is_parked_is_discarded_on_demand_and_taken_up_again() {
    let (setup, dev) = Setup::with_failures("['1h']", "parked").await;
    let (_, told) = setup.says(&["discard"], 2).await;
    assert!(told.contains("--endpoint"), "{told}");
    let (table, told) = setup.says(&["discard", "--endpoint", "risk"], 3).await;
    assert_eq!(table.matches("parked").count(), 2, "{table}");
    assert!(told.contains("2 deliveries would be given up") && told.contains("--apply"), "{told}");
    assert_eq!(setup.in_state("parked").await.len(), 2, "a dry run changes nothing");
    let arguments =
        ["discard", "--endpoint", "risk", "--reason", "no \u{1b}[1mlonger needed", "--apply"];
    let (_, told) = setup.says(&arguments, 0).await;
    assert!(told.contains("2 deliveries given up"), "{told}");
    let given_up = setup.in_state("exhausted").await;
    assert_eq!(given_up.len(), 2);
    assert_eq!(given_up[0]["reason"], "discarded: no \\u{1b}[1mlonger needed");
    assert!(given_up[0]["since"].as_str() > given_up[0]["recorded_at"].as_str(), "{}", given_up[0]);
    let id = given_up[0]["event_id"].as_str().unwrap();
    assert!(setup.says(&["show", "risk", id], 0).await.0.contains("discarded: no"));
    let (_, told) = setup.says(&["discard", "--endpoint", "risk", "--apply"], 0).await;
    assert!(told.contains("nothing that is selected"), "{told}");
    setup.says(&["redeliver", "--endpoint", "risk", "--apply"], 0).await;
    setup.until_in_state("delivered", 2).await;
    dev.stop().await;
}

#[tokio::test]
async fn resuming_says_what_becomes_of_what_is_parked_and_has_it_go_out_on_demand() {
    let (setup, dev) = Setup::with_failures("['1h']", "parked").await;
    setup.says(&["pause", "risk"], 0).await;
    let (_, told) = setup.says(&["resume", "risk"], 0).await;
    assert!(told.contains("2 deliveries parked: each goes out when it is due"), "{told}");
    assert!(told.contains("--now"), "{told}");
    assert_eq!(setup.in_state("parked").await.len(), 2);
    let (_, told) = setup.says(&["resume", "risk", "--now"], 0).await;
    assert!(told.contains("2 deliveries"), "{told}");
    setup.until_in_state("delivered", 2).await;
    dev.stop().await;
}

/// Waits until the metrics say whether `risk` is in use; how long that took.
async fn follows(process: &Dev, is_active: bool) -> Duration {
    let begun = Instant::now();
    let line =
        format!("penstock_callbacks_endpoint_active{{endpoint=\"risk\"}} {}", u8::from(is_active));
    until(async || process.get(&format!("{}/metrics", process.admin)).await.1.contains(&line)).await;
    begun.elapsed()
}

/// Waits until so many events of an endpoint have ended so.
async fn counted(process: &Dev, endpoint: &str, state: &str, count: usize) {
    let line = format!("{{endpoint=\"{endpoint}\",state=\"{state}\"}} {count}");
    until(async || process.get(&format!("{}/metrics", process.admin)).await.1.contains(&line)).await;
}

#[tokio::test]
async fn a_running_process_follows_when_an_endpoint_is_paused_resumed_and_disabled() {
    let setup = Setup::new("['1h']").await;
    let dev = setup.dev().await;
    follows(&dev, true).await;
    for (command, state, kept) in [("pause", "paused", 2), ("disable", "disabled", 0)] {
        let before = setup.receiver.arrivals().len();
        let (_, told) = setup.says(&[command, "risk", "--reason", "a \u{1b}[1mmove"], 0).await;
        assert!(told.contains(&format!("risk is {state}; running processes follow within 3 seconds")));
        assert!(follows(&dev, false).await < FOLLOWED_WITHIN);
        assert_eq!(dev.send(batch(state)).await.0, 200);
        if kept == 0 {
            counted(&dev, "risk", "skipped", 2).await;
        }
        setup.until_in_state("parked", kept).await;
        assert_eq!(setup.receiver.arrivals().len(), before, "nothing is sent");

        let endpoints = setup.json(&["endpoints"]).await;
        assert_eq!(endpoints[0]["availability"], state);
        assert_eq!(endpoints[0]["reason"], "a \u{1b}[1mmove");
        assert_eq!(endpoints[0]["deliveries"]["parked"].as_u64().unwrap_or(0), kept as u64);
        let (table, _) = setup.says(&["endpoints"], 0).await;
        assert!(table.contains(state) && table.contains("a \\u{1b}[1mmove"), "{table}");
        let (_, told) = setup.says(&[command, "risk"], 0).await;
        assert!(told.contains("already"), "{told}");

        setup.says(&["resume", "risk"], 0).await;
        assert!(follows(&dev, true).await < FOLLOWED_WITHIN);
        until(async || setup.receiver.arrivals().len() == before + kept).await;
        setup.until_in_state("parked", 0).await;
    }
    dev.stop().await;
}

/// Numbers of the communications that the receiver has got, by the endpoints of the configuration.
async fn delivered(setup: &Setup, endpoint: &str) -> usize {
    setup.json(&["list", "--endpoint", endpoint, "--state", "delivered", "--limit", "1000"]).await.len()
}

#[tokio::test]
async fn an_endpoint_gets_what_its_start_lets_it_have_and_older_events_on_demand() {
    let setup = Setup::new("['1h']").await;
    let dev = setup.dev().await;
    assert_eq!(dev.send(batch("n-1")).await.0, 200);
    until(async || delivered(&setup, "risk").await == 2).await;
    dev.stop().await;

    // One comes too late for everything, the other asks for what was there before it.
    let further = |name: &str, from: &str| {
        let own = format!("name = '{name}', deliver_from = '{from}'");
        setup.endpoint().replace("name = 'risk'", &own)
    };
    let endpoints =
        [setup.endpoint(), further("late", "2100-01-01T00:00:00Z"), further("all", "beginning")];
    let settings = std::fs::read_to_string(setup.config()).unwrap();
    let settings = settings.replace(&setup.endpoint(), &endpoints.join(", "));
    std::fs::write(setup.config(), settings).unwrap();
    let dev = setup.dev().await;
    assert_eq!(dev.send(batch("n-2")).await.0, 200);
    until(async || delivered(&setup, "all").await == 2).await;
    counted(&dev, "late", "early", 2).await;
    dev.stop().await;

    let (_, told) = setup.says(&["reread"], 3).await;
    assert!(told.contains("up to 4 events would be gone through again"), "{told}");
    let (_, told) = setup.says(&["reread", "--apply"], 0).await;
    assert!(told.contains("up to 4 events"), "{told}");
    let dev = setup.dev().await;
    until(async || delivered(&setup, "all").await == 4).await;
    assert_eq!(delivered(&setup, "late").await, 0);
    assert_eq!(setup.receiver.arrivals().len(), 8, "nothing that is recorded is sent again");
    let known = setup.json(&["endpoints"]).await;
    assert!(known.iter().all(|endpoint| endpoint["known_since"].is_string()), "{known:?}");
    dev.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_paused_until_it_is_resumed() {
    let setup = Setup::new("['1h']").await;
    setup.receiver.answers(410, "moved away");
    let dev = setup.dev().await;
    assert_eq!(dev.send(example_batch()).await.0, 200);
    follows(&dev, false).await;
    assert!(dev.log().contains("penstock callbacks resume"), "{}", dev.log());
    assert_eq!(setup.json(&["endpoints"]).await[0]["reason"], "it answered 410 Gone");
    setup.receiver.answers(200, "");
    setup.says(&["resume", "risk"], 0).await;
    setup.until_in_state("delivered", 2).await;
    dev.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_configured_is_answered_with_those_that_are() {
    let setup = Setup::new("['1ms']").await;
    setup.dev().await.stop().await;
    for arguments in [
        &["pause", "rsik"][..],
        &["resume", "rsik"],
        &["disable", "rsik"],
        &["test-send", "rsik"],
        &["redeliver", "--endpoint", "rsik"],
    ] {
        let (said, told) = setup.says(arguments, 2).await;
        assert!(told.contains("did you mean risk? There are: risk"), "{arguments:?}: {told}");
        assert!(said.is_empty());
    }
    let (_, told) = setup.says(&["list", "--endpoint", "rsik"], 0).await;
    assert!(told.contains("note: no endpoint rsik is configured; did you mean risk?"), "{told}");
}

#[tokio::test]
async fn a_test_event_is_sent_signed_and_recorded_nowhere() {
    let setup = Setup::new("['1ms']").await;
    setup.receiver.answers(202, "\u{1b}[31mgot it");
    let (said, _) = setup.says(&["test-send", "risk"], 0).await;
    for part in ["(penstock.test)", "status    202", " ms", "[31mgot it"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let sent = &setup.receiver.arrivals()[0];
    assert_eq!((sent.header("ce-type"), sent.header("ce-specversion")), ("penstock.test", "1.0"));
    Webhook::new(SECRET).unwrap().verify(&sent.body, &sent.headers).unwrap();
    assert!(said.contains(sent.header("ce-id")));

    let json = &setup.json(&["test-send", "risk"]).await[0];
    assert_eq!((&json["is_acknowledged"], &json["status"]), (&true.into(), &202.into()));
    assert!(!setup.data().exists(), "no store is needed, and none is made");
}

#[tokio::test]
async fn a_test_event_that_is_not_acknowledged_is_a_failure() {
    let setup = Setup::new("['1ms']").await;
    setup.receiver.answers(500, "out of order");
    let (said, told) = setup.says(&["test-send", "risk"], 1).await;
    assert!(said.contains("status    500") && said.contains("out of order"), "{said}");
    assert_eq!(told.trim(), "error: risk answered 500, which acknowledges nothing");

    let settings = std::fs::read_to_string(setup.config()).unwrap();
    let refused = settings.replace(&setup.receiver.url(), "http://10.0.0.1/events");
    std::fs::write(setup.config(), refused).unwrap();
    let (said, told) = setup.says(&["test-send", "risk"], 1).await;
    assert!(said.contains("no answer"), "{said}");
    assert!(told.contains("gave no answer") && told.contains("10.0.0.1"), "{told}");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_made_by_looking_at_it() {
    let setup = Setup::new("['1ms']").await;
    for arguments in [&["list"][..], &["endpoints"], &["redeliver"], &["pause", "risk"]] {
        let (_, told) = setup.says(arguments, 5).await;
        assert!(told.contains("does not exist") && told.contains("penstock dev"), "{told}");
    }
    assert!(!setup.data().exists());
}

#[tokio::test]
async fn options_of_the_role_do_not_go_with_a_command() {
    let mixed = crate::process::run(&["callbacks", "--admin-listen", "127.0.0.1:0", "list"]).await;
    assert_eq!(mixed.status.code(), Some(2), "{}", text(&mixed.stderr));
    // The embedded pair has no use for the role.
    let setup = Setup::new("['1ms']").await;
    let (_, told) = setup.says(&["run"], 4).await;
    assert!(told.contains("queue.kind") && told.contains("penstock dev"), "{told}");
}

#[tokio::test]
async fn the_noun_alone_joins_nothing() {
    let mut command = penstock(&["callbacks"]);
    command.env("PENSTOCK_CONFIG", "/nowhere/penstock.toml");
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("penstock callbacks run") && told.contains("--help"), "{told}");
}

/// Commands write to a file that another process writes to all the time: neither loses anything.
#[tokio::test]
async fn commands_and_a_process_under_load_do_not_get_in_each_others_way() {
    let setup = Setup::new("['1s', '1s', '1s']").await;
    let dev = setup.dev().await;
    let items = 6_000;
    let mut load = penstock(&["load", "--url", &dev.url, "--repeat", "0", "--seed", "7", "--items"]);
    let load = tokio::spawn(load.arg(items.to_string()).output());
    while !load.is_finished() {
        for command in ["pause", "resume"] {
            setup.says(&[command, "risk"], 0).await;
            setup.says(&["list"], 0).await;
        }
        let again = ["redeliver", "--state", "delivered", "--limit", "20", "--apply"];
        setup.says(&again, 0).await;
    }
    let load = load.await.unwrap().unwrap();
    assert!(load.status.success(), "{}{}", text(&load.stdout), text(&load.stderr));
    until(async || {
        let deliveries = &setup.json(&["endpoints"]).await[0]["deliveries"];
        deliveries["delivered"] == items && deliveries["parked"] == 0
    })
    .await;
    let arrived: BTreeSet<String> =
        setup.receiver.arrivals().iter().map(|arrival| arrival.header("ce-id").to_owned()).collect();
    assert_eq!(arrived.len(), items);
    dev.stop().await;
    crate::audit::audit(&setup.data()).await;
}

#[tokio::test]
async fn the_commands_of_the_readme_do_what_it_says() {
    let (setup, dev) = Setup::with_failures("['1ms']", "exhausted").await;
    let event = setup.in_state("exhausted").await[0]["event_id"].as_str().unwrap().to_owned();
    let commands = crate::readme::commands_marked("callbacks");
    assert_eq!(commands.len(), 9);
    for command in commands {
        let arguments = command.strip_prefix("penstock callbacks ").unwrap();
        let arguments = arguments.replace("EVENT", &event).replace('"', "");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let output = setup.run(&arguments).await;
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        if command.contains(" redeliver ") {
            setup.until_in_state("delivered", 2).await;
        }
    }
    assert_eq!(setup.json(&["endpoints"]).await[0]["availability"], "disabled");
    dev.stop().await;
}

#[cfg(feature = "production-tests")]
#[tokio::test]
async fn processes_of_the_production_pair_follow_too() {
    let installation = crate::production::Installation::ready().await;
    let receiver = Receiver::start(500, "no").await;
    let settings = std::fs::read_to_string(installation.config()).unwrap();
    let url = receiver.url();
    let callbacks = format!(
        "[callbacks]\nretry_schedule = ['1ms']\nallow_networks = ['127.0.0.1']\n\
         endpoints = [{{ name = 'risk', url = '{url}', allow_http = true, secrets = ['{SECRET}'] }}]\n"
    );
    std::fs::write(installation.config(), settings + &callbacks).unwrap();
    let worker = installation.start("worker").await;
    let intake = installation.start("intake").await;
    let deliverers = [installation.start("callbacks").await, installation.start("callbacks").await];
    let config = installation.config();
    let in_state = async |state: &str| json_with(&config, &["list", "--state", state]).await.len();

    assert_eq!(intake.send(batch("n-1")).await.0, 200);
    until(async || in_state("exhausted").await == 2).await;
    receiver.answers(200, "");
    says_with(&config, &["redeliver"], 3).await;
    says_with(&config, &["redeliver", "--apply"], 0).await;
    until(async || in_state("delivered").await == 2).await;

    says_with(&config, &["pause", "risk"], 0).await;
    for deliverer in &deliverers {
        assert!(follows(deliverer, false).await < FOLLOWED_WITHIN);
    }
    let before = receiver.arrivals().len();
    assert_eq!(intake.send(batch("n-2")).await.0, 200);
    until(async || in_state("parked").await == 2).await;
    assert_eq!(receiver.arrivals().len(), before, "neither sends");
    let endpoints = json_with(&config, &["endpoints"]).await;
    assert_eq!(endpoints[0]["availability"], "paused");
    says_with(&config, &["resume", "risk"], 0).await;
    until(async || in_state("delivered").await == 4).await;
    says_with(&config, &["test-send", "risk"], 0).await;
    assert_eq!(in_state("delivered").await, 4, "a test is recorded nowhere");
    for process in deliverers.into_iter().chain([intake, worker]) {
        process.stop().await;
    }
}
