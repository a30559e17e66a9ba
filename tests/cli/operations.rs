//! What operators do, as its record tells it, and how somebody else approves it first.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::dlq::{SECRETS, Setup, account};
use crate::process::{DEADLINE, Dev, penstock, text};
use crate::readme::commands_marked;

/// An endpoint to which nothing is delivered while a test runs.
const ENDPOINT: &str = "
[[callbacks.endpoints]]
name = 'risk'
url = 'http://127.0.0.1:9/'
allow_http = true
unsigned = true
";

const APPROVAL: &str = "
[operations]
approval = true
";

/// Two letters that are no accounts.
const DISCARD: [&str; 8] =
    ["dlq", "discard", "--class", "not_an_account", "--since", "9000days", "--reason", "test messages"];

/// Letters, an endpoint, and further settings.
async fn setup(further: &str) -> (Setup, Dev) {
    let setup = Setup::new().await;
    let settings = std::fs::read_to_string(&setup.config).unwrap();
    std::fs::write(&setup.config, [&settings, ENDPOINT, further].concat()).unwrap();
    let dev = setup.dev().await;
    (setup, dev)
}

async fn run(config: &Path, user: &str, arguments: &[&str]) -> Output {
    let mut command = penstock(arguments);
    command.arg("--config").arg(config).env("USER", user);
    tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap()
}

/// What a command prints that ends with `code`, and what it tells besides.
async fn says(config: &Path, user: &str, arguments: &[&str], code: i32) -> (String, String) {
    let output = run(config, user, arguments).await;
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{user} {arguments:?}\n{said}{told}");
    (said, told)
}

/// The record, the newest first.
async fn listed(config: &Path, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["operations", "list", "--json"], arguments].concat();
    let (said, _) = says(config, "auditor", &arguments, 0).await;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn commands(operations: &[Value]) -> Vec<&str> {
    operations.iter().map(|it| it["command"].as_str().unwrap()).collect()
}

/// Asks for something that needs approval; the id of the request.
async fn requested(config: &Path, user: &str, arguments: &[&str]) -> String {
    let (said, told) = says(config, user, arguments, 6).await;
    let id = said.trim().to_owned();
    assert!(told.contains(&format!("penstock operations approve {id}")), "{told}");
    assert!(told.contains(&format!("--approved {id}")), "{told}");
    id
}

#[tokio::test]
async fn what_operators_do_is_recorded_with_why_and_how_it_ended() {
    let (setup, dev) = setup("").await;
    let (config, apply) = (&setup.config, &["--apply"][..]);
    let alice = async |arguments: &[&str], code| says(config, "alice", arguments, code).await;
    alice(&DISCARD, 3).await;
    alice(&["dlq", "redrive", "--class", "no_such_class", "--reason", "a try", "--apply"], 0).await;
    alice(&["callbacks", "redeliver", "--apply"], 0).await;
    assert_eq!(listed(config, &[]).await, Vec::<Value>::new(), "nothing was done");

    let redrive = ["dlq", "redrive", "--class", "not_storable", "--reason", "column widened"];
    alice(&[&redrive, apply].concat(), 0).await;
    alice(&[&DISCARD, apply].concat(), 0).await;
    alice(&["callbacks", "pause", "risk", "--reason", "a \u{1b}[1mmove"], 0).await;
    alice(&["callbacks", "pause", "risk"], 0).await;
    says(config, "bob", &["callbacks", "resume", "risk", "--now"], 0).await;
    says(config, "bob", &["callbacks", "disable", "risk", "--reason", "replaced"], 0).await;
    let out = setup.directory.path().join("letters.ndjson");
    let export = ["dlq", "export", "--out", out.to_str().unwrap(), "--reason", "ticket-8"];
    alice(&export, 0).await;
    alice(&export, 1).await;

    let operations = listed(config, &[]).await;
    let expected = [
        "dlq.export",
        "dlq.export",
        "callbacks.disable",
        "callbacks.resume",
        "callbacks.pause",
        "dlq.discard",
        "dlq.redrive",
    ];
    assert_eq!(commands(&operations), expected);
    let states: Vec<_> = operations.iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "done", "done", "done", "done", "done", "done"]);
    assert!(operations[0]["steps"][1]["note"].as_str().unwrap().contains("a new file"));
    let discarded = &operations[5];
    assert_eq!(
        (&discarded["reason"], &discarded["subject"]["letters"]),
        (&"test messages".into(), &2.into())
    );
    assert!(discarded["operator"].as_str().unwrap().starts_with("alice@"), "{discarded}");
    assert_eq!(operations[3]["subject"], json!({"endpoint": "risk", "now": true}));
    assert_eq!(operations[3]["reason"], Value::Null);

    assert_eq!(commands(&listed(config, &["--operator", "bob"]).await), expected[2..4]);
    assert_eq!(commands(&listed(config, &["--command", "dlq.discard"]).await), ["dlq.discard"]);
    assert_eq!(listed(config, &["--limit", "2"]).await.len(), 2);
    assert_eq!(listed(config, &["--until", "1h"]).await.len(), 0);
    assert_eq!(listed(config, &["--since", "1h", "--operator", "alice"]).await.len(), 5);
    let (table, told) = alice(&["operations", "list"], 0).await;
    assert!(table.contains("callbacks.pause") && table.contains("a \\u{1b}[1mmove"), "{table}");
    assert!(told.contains("7 operations"), "{told}");
    let id = discarded["id"].as_str().unwrap();
    let (page, _) = alice(&["operations", "show", id], 0).await;
    assert!(page.contains("dlq.discard  done") && page.contains("test messages"), "{page}");
    let all = [table, page, json!(operations).to_string()].concat();
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    let unknown = "019358f0-7d0c-7c3f-a5b2-6e0c5c1d2f3a";
    let (_, told) = alice(&["operations", "show", unknown], 2).await;
    assert!(told.contains(&format!("there is no operation {unknown}")), "{told}");
    alice(&["operations", "list", "--command", "dlq"], 2).await;
    dev.stop().await;
}

#[tokio::test]
async fn who_a_communication_is_about_is_shown_for_a_reason_that_is_recorded() {
    let (setup, dev) = setup("").await;
    let config = &setup.config;
    dev.send(format!("{{\"accounts\": [{}]}}", account("n-1"))).await;
    let alice = async |arguments: &[&str], code| says(config, "alice", arguments, code).await;
    for arguments in [
        &["show", "n-1", "--reveal"][..],
        &["show", "n-1", "--reveal", "--reason", " "],
        &["show", "n-1", "--reason", "ticket-9"],
    ] {
        let (said, told) = alice(arguments, 2).await;
        assert!(said.is_empty() && told.contains("--re"), "{arguments:?}: {said}{told}");
    }
    let (masked, _) = alice(&["show", "n-1"], 0).await;
    assert!(masked.contains("customer xxxxxxxx-9") && !masked.contains("customer-1"), "{masked}");
    assert_eq!(listed(config, &[]).await.len(), 0);

    let (page, _) = alice(&["show", "n-1", "--reveal", "--reason", "ticket-9"], 0).await;
    assert!(page.contains("account account-n-1, customer customer-1"), "{page}");
    let (json, _) = alice(&["show", "n-1", "--reveal", "--reason", "ticket-9", "--json"], 0).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["submissions"][0]["customer"], "customer-1", "{json}");
    assert_eq!(json["submissions"][0]["masked_customer"], Value::Null);
    alice(&["show", "n-9", "--reveal", "--reason", "ticket-9"], 2).await;
    let operations = listed(config, &["--command", "show.reveal"]).await;
    let states: Vec<_> = operations.iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "done", "done"], "also a look at what is not there");
    assert_eq!(operations[1]["subject"], json!({"communication_number": "n-1"}));
    assert_eq!(operations[1]["reason"], "ticket-9");
    dev.stop().await;
}

#[tokio::test]
async fn what_needs_approval_is_done_once_and_as_somebody_else_approved_it() {
    let (setup, dev) = setup(APPROVAL).await;
    let config = &setup.config;
    let apply = [&DISCARD[..], &["--apply"]].concat();
    says(config, "alice", &DISCARD, 3).await;
    assert_eq!(listed(config, &[]).await.len(), 0, "a dry run asks for nothing");
    let id = requested(config, "alice", &apply).await;
    let open = async || {
        let arguments = ["dlq", "list", "--state", "open", "--each", "--output", "json"];
        says(config, "auditor", &arguments, 3).await.0.lines().count()
    };
    assert_eq!(open().await, 4, "nothing is done");
    let approved = [&apply[..], &["--approved", &id]].concat();
    let refused = async |user: &str, arguments: &[&str], why: &str| {
        let (_, told) = says(config, user, arguments, 2).await;
        assert!(told.contains(why), "{user} {arguments:?}: {told}");
    };
    refused("alice", &approved, "nobody has approved it yet").await;
    refused("alice", &["operations", "approve", &id], "somebody else must approve it").await;
    let (page, told) = says(config, "bob", &["operations", "approve", &id], 0).await;
    assert!(page.contains("dlq.discard  approved") && told.contains("--approved"), "{page}{told}");
    refused("carol", &["operations", "refuse", &id, "--reason", "no"], "decided on it already").await;

    refused("bob", &approved, "must be somebody else").await;
    let other =
        ["dlq", "discard", "--class", "not_storable", "--reason", "x", "--apply", "--approved", &id];
    refused("alice", &other, "about something else").await;
    refused("alice", &["callbacks", "pause", "risk", "--approved", &id], "it is for dlq.discard").await;
    assert_eq!(open().await, 4, "nothing is done");
    says(config, "alice", &approved, 0).await;
    assert_eq!(open().await, 2);
    let (_, told) = says(config, "alice", &approved, 0).await;
    assert!(told.contains("no letter is selected"), "{told}");

    let operations = listed(config, &["--command", "dlq.discard"]).await;
    assert_eq!(operations.len(), 1, "{operations:?}");
    let steps = operations[0]["steps"].as_array().unwrap();
    let by =
        |name: &str| steps.iter().find(|it| it["step"] == name).unwrap()["operator"].as_str().unwrap();
    assert!(by("approved").starts_with("bob@") && by("begun").starts_with("alice@"), "{steps:?}");
    assert_eq!(commands(&listed(config, &["--operator", "bob"]).await), ["dlq.discard"]);
    dev.stop().await;
}

#[tokio::test]
async fn an_approval_is_used_by_one_process_and_a_refusal_by_none() {
    let (setup, dev) = setup(APPROVAL).await;
    let config = &setup.config;
    let resume = ["callbacks", "resume", "risk"];
    let id = requested(config, "alice", &resume).await;
    says(config, "bob", &["operations", "approve", &id, "--reason", "seen"], 0).await;
    let approved = [&resume[..], &["--approved", &id]].concat();
    let racing = (0..4).map(|_| run(config, "alice", &approved));
    let ended = futures_util::future::join_all(racing).await;
    let codes: Vec<_> = ended.iter().map(|output| output.status.code().unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 2).count(), 3, "{codes:?}");
    let (_, told) = says(config, "alice", &approved, 2).await;
    assert!(told.contains("it was used already"), "{told}");

    let pause = ["callbacks", "pause", "risk", "--reason", "a move"];
    let id = requested(config, "alice", &pause).await;
    says(config, "bob", &["operations", "refuse", &id], 2).await;
    says(config, "bob", &["operations", "refuse", &id, "--reason", "not today"], 0).await;
    let (_, told) = says(config, "alice", &[&pause[..], &["--approved", &id]].concat(), 2).await;
    assert!(told.contains("refused it: not today"), "{told}");
    let unknown = ["callbacks", "pause", "risk", "--approved", "019358f0-7d0c-7c3f-a5b2-6e0c5c1d2f3a"];
    let (_, told) = says(config, "alice", &unknown, 2).await;
    assert!(told.contains("there is no operation"), "{told}");
    let (endpoints, _) = says(config, "auditor", &["callbacks", "endpoints", "--json"], 0).await;
    let endpoints: Value = serde_json::from_str(&endpoints).unwrap();
    assert_eq!(endpoints["availability"], "active");

    let reveal = ["show", "n-1", "--reveal", "--reason", "ticket-9"];
    let id = requested(config, "alice", &reveal).await;
    says(config, "alice", &["operations", "refuse", &id, "--reason", "a mistake"], 0).await;
    dev.stop().await;
}

#[tokio::test]
async fn the_commands_of_the_readme_work() {
    let (setup, dev) = setup(APPROVAL).await;
    let config = &setup.config;
    let id = requested(config, "alice", &["callbacks", "pause", "risk"]).await;
    for command in commands_marked("operations") {
        let command = command.replace("ID", &id);
        let arguments: Vec<_> = command.split(' ').skip(1).collect();
        says(config, "bob", &arguments, 0).await;
    }
    assert_eq!(listed(config, &[]).await[0]["state"], "approved");
    dev.stop().await;
}

/// On a server that itself knows who enters rows, by users with rights of their own.
#[cfg(feature = "production-tests")]
mod on_postgresql {
    use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

    use super::*;
    use crate::servers::postgres::Database;

    const RIGHTS: &str = "SELECT ON _sqlx_migrations, deliveries, delivery_attempts";
    const OF_ENDPOINTS: &str = "SELECT, INSERT, UPDATE ON endpoints";
    const OF_THE_RECORD: &str = "SELECT, INSERT ON operations, operation_steps";

    struct Installation {
        directory: tempfile::TempDir,
        database: Database,
    }

    impl Installation {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let installation = Self { directory, database: Database::create().await };
            let config = installation.config("owner", &installation.database.url());
            says(&config, "owner", &["migrate"], 0).await;
            installation
        }

        fn config(&self, name: &str, url: &str) -> std::path::PathBuf {
            let config = self.directory.path().join(format!("{name}.toml"));
            let store = format!(
                "store.kind = 'postgres'\nstore.postgres.url = '{url}'\nstore.postgres.connect_timeout = '1m'\n"
            );
            std::fs::write(&config, [&store, APPROVAL, ENDPOINT].concat()).unwrap();
            config
        }

        /// The configuration of a database user of this name with these rights.
        async fn user(&self, name: &str, rights: &[&str]) -> (String, std::path::PathBuf) {
            let user = format!("penstock_{name}_{}", std::process::id());
            let mut owner = self.database.session().await;
            let make = format!("DROP ROLE IF EXISTS {user}; CREATE ROLE {user} LOGIN PASSWORD 'theirs'");
            owner.execute(AssertSqlSafe(make)).await.unwrap();
            for rights in rights {
                owner.execute(AssertSqlSafe(format!("GRANT {rights} TO {user}"))).await.unwrap();
            }
            let url = self.database.connect_options().username(&user).password("theirs");
            let config = self.config(name, url.to_url_lossy().as_ref());
            (user, config)
        }

        async fn remove(&self, user: &str) {
            let mut owner = self.database.session().await;
            let drop = format!("DROP OWNED BY {user}; DROP ROLE {user}");
            owner.execute(AssertSqlSafe(drop)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_comes_by_the_same_database_user_is_told_of_and_nothing_is_done_without_a_record() {
        let installation = Installation::new().await;
        let rights = [RIGHTS, OF_ENDPOINTS, OF_THE_RECORD];
        let (shared, config) = installation.user("shared", &rights).await;
        let (own, other) = installation.user("own", &rights).await;
        let pause = ["callbacks", "pause", "risk", "--reason", "a move"];
        let id = requested(&config, "alice", &pause).await;
        let (page, told) = says(&config, "bob", &["operations", "approve", &id], 0).await;
        assert!(page.contains(&format!("by the database user {shared} from 127.0.0.1")), "{page}");
        assert!(told.contains(&format!("both came by the database user {shared}")), "{told}");
        says(&config, "alice", &[&pause[..], &["--approved", &id]].concat(), 0).await;

        let resume = ["callbacks", "resume", "risk"];
        let id = requested(&config, "alice", &resume).await;
        let (_, told) = says(&other, "bob", &["operations", "approve", &id], 0).await;
        assert!(!told.contains("both came"), "{told}");
        says(&config, "alice", &[&resume[..], &["--approved", &id]].concat(), 0).await;
        let found = &listed(&other, &["--limit", "1"]).await[0];
        assert_eq!((&found["state"], &found["database_user"]), (&json!("done"), &json!(shared)));
        assert_eq!(found["steps"][0]["database_user"], json!(own));

        let (unrecorded, config) = installation.user("unrecorded", &[RIGHTS, OF_ENDPOINTS]).await;
        let settings = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, settings.replace("approval = true", "approval = false")).unwrap();
        let (_, told) = says(&config, "alice", &pause, 5).await;
        assert!(told.contains("recording what an operator does"), "{told}");
        let (endpoints, _) = says(&config, "auditor", &["callbacks", "endpoints", "--json"], 0).await;
        assert!(endpoints.contains("\"availability\":\"active\""), "{endpoints}");
        for user in [shared, own, unrecorded] {
            installation.remove(&user).await;
        }
    }
}
