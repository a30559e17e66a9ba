//! `penstock audit`: it balances over what penstock leaves, also while it works, and finds whatever was removed or
//! changed by other hands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Headers, Queue, Record, Topic};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tempfile::TempDir;

use crate::process::{DEADLINE, Dev, penstock, text, until};
use crate::readme::commands_marked;
use crate::receiver::Receiver;

fn account(number: &str, account: &str, action: &str, currency: &str) -> Value {
    json!({
        "communicationNumber": number, "requester": "CORE", "businessEntityExtId": "customer-1",
        "accountExtId": account, "accountNumber": "LT121000011101001000", "accountStatus": "ACTIVE",
        "currencyCode": currency, "openingDate": "2023-09-05T08:07:34.123456Z", "action": action,
        "isOtherFinInstAccount": false, "accountPurpose": "salary",
    })
}

/// What an audit says.
#[derive(Debug)]
struct Said {
    code: i32,
    /// What breaks a sum: its kind, and the number.
    findings: BTreeSet<(String, Option<String>)>,
    sums: Value,
    told: String,
}

async fn audit(config: &Path, data: &Path, arguments: &[&str]) -> Said {
    let mut command = penstock(&["audit", "--output", "ndjson", "--config"]);
    command.arg(config).args(arguments).env("PENSTOCK__DATA_DIR", data);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    let mut lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sums = lines.pop().unwrap_or_default();
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let finding = |line: &Value| (word(&line["finding"]).unwrap(), word(&line["communication_number"]));
    let findings = lines.iter().map(finding).collect();
    Said { code: output.status.code().unwrap(), findings, sums, told: format!("{said}{told}") }
}

/// An installation whose history has everything in it that there can be.
struct Installation {
    directory: TempDir,
    _receiver: Receiver,
}

impl Installation {
    fn config(&self) -> PathBuf {
        self.directory.path().join("penstock.toml")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(204, "").await;
        let settings = format!(
            "data_dir = '{}'\n[[callbacks.endpoints]]\nname = 'risk'\nurl = '{}'\nallow_http = true\nunsigned = true\n",
            directory.path().join("data").display(),
            receiver.url()
        );
        std::fs::write(directory.path().join("penstock.toml"), settings).unwrap();
        Self { directory, _receiver: receiver }
    }

    async fn dev(&self) -> Dev {
        Dev::start(&self.directory, &["--config", self.config().to_str().unwrap()]).await
    }

    /// Everything that was sent is decided, told and delivered.
    async fn until_at_rest(&self, submitted: u64) -> Said {
        until(async || {
            let said = audit(&self.config(), &self.data(), &[]).await;
            let counts = |name: &str| said.sums[name]["in_flight"].as_u64();
            said.sums["submitted"] == submitted
                && said.sums["in_flight"] == 0
                && counts("deliveries") == Some(0)
                && said.sums["dead_letters"]["found"] == 2
        })
        .await;
        audit(&self.config(), &self.data(), &["--deep"]).await
    }

    /// Nothing runs any more.
    async fn with_history() -> Self {
        let installation = Self::new().await;
        let first = installation.dev().await;
        first.send(json!({"accounts": [account("n-1", "a-1", "CREATE", "EUR")]}).to_string()).await;
        first.stop().await;
        // What no client can send, another producer can.
        let queue =
            SqliteQueue::open(installation.data().join("queue.db"), SqliteQueueOptions::default());
        let queue = queue.await.unwrap();
        let junk = |key: &'static [u8]| Record {
            key: Bytes::from_static(key),
            value: Bytes::from_static(b"no account, no event"),
            headers: Headers::default(),
        };
        queue.publish(Topic::Submitted, vec![junk(b"/a-1")]).await.unwrap();
        queue.publish(Topic::Results, vec![junk(b"/a-2")]).await.unwrap();
        queue.close().await;
        let dev = installation.dev().await;
        let conflict = account("n-1", "a-2", "CREATE", "EUR");
        for one in [
            account("n-2", "a-1", "UPDATE", "CHF"),
            account("n-3", "a-1", "UPDATE", "XXQ"),
            account("n-1", "a-1", "CREATE", "EUR"),
            conflict,
            account("n-4", "a-3", "CREATE", "SEK"),
            account("n-5", "a-1", "UPDATE", "GBP"),
        ] {
            dev.send(json!({"accounts": [one]}).to_string()).await;
        }
        let said = installation.until_at_rest(8).await;
        assert_eq!((said.code, said.findings.len()), (0, 0), "{}", said.told);
        let sums = &said.sums;
        let counted = |name: &str| sums[name].as_u64().unwrap();
        let counts = ["accepted", "rejected", "repeated", "dead", "in_flight", "accounts"].map(counted);
        assert_eq!(counts, [4, 2, 1, 1, 0, 2], "{sums}");
        assert_eq!(sums["results"], json!({"due": 6, "found": 6, "in_flight": 0, "not_kept": 0}));
        assert_eq!(sums["deliveries"], json!({"due": 6, "found": 6, "in_flight": 0, "not_kept": 0}));
        assert_eq!(sums["dead_letters"], json!({"due": 2, "found": 2, "in_flight": 0, "not_kept": 0}));
        assert_eq!(sums["balance"], true);
        dev.stop().await;
        installation
    }

    /// A copy of what was left in which a statement has changed something.
    async fn changed(&self, file: &str, statement: &str) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.data()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        let options = SqliteConnectOptions::new().filename(copy.path().join(file));
        let mut connection = options.connect().await.unwrap();
        let statement = AssertSqlSafe(statement.to_owned());
        let changed = connection.execute(sqlx::raw_sql(statement)).await.unwrap().rows_affected();
        assert_eq!(changed, 1, "one row is changed");
        connection.close().await.unwrap();
        copy
    }
}

const STORE: &str = "store.db";
const QUEUE: &str = "queue.db";

/// A condition on records of the queue that have all of these texts in their headers, or their values.
fn having(texts: &[&str]) -> String {
    let has = |text: &&str| {
        format!(
            "(instr(headers, CAST('{text}' AS BLOB)) > 0 OR instr(value, CAST('{text}' AS BLOB)) > 0)"
        )
    };
    texts.iter().map(has).collect::<Vec<_>>().join(" AND ")
}

/// Something that is changed by hand, and what an audit finds of it: kinds, with numbers where there are any.
struct Case {
    file: &'static str,
    /// Names in braces stand for conditions on records.
    statement: &'static str,
    findings: &'static [(&'static str, &'static str)],
}

const fn case(
    file: &'static str,
    statement: &'static str,
    findings: &'static [(&'static str, &'static str)],
) -> Case {
    Case { file, statement, findings }
}

const CASES: &[Case] = &[
    case(
        STORE,
        "DELETE FROM communications WHERE number = 'n-2'",
        &[("no_outcome", "n-2"), ("result_without_outcome", "n-2")],
    ),
    case(
        STORE,
        "UPDATE communications SET fingerprint = zeroblob(32) WHERE number = 'n-2'",
        &[("row_altered", "n-2")],
    ),
    case(
        STORE,
        "UPDATE communications SET event_id = zeroblob(16) WHERE number = 'n-2'",
        &[("row_altered", "n-2")],
    ),
    case(
        STORE,
        "UPDATE communications SET requester = 'OTHER' WHERE number = 'n-2'",
        &[("row_altered", "n-2")],
    ),
    case(
        STORE,
        "UPDATE communications SET log_offset = log_offset + 1000 WHERE number = 'n-2'",
        &[("no_outcome", "n-2"), ("result_without_outcome", "n-2")],
    ),
    case(
        STORE,
        "INSERT INTO communications SELECT id + 100, 'n-9', fingerprint, event_id, generation, partition, 1, \
             business_unit, account_ext_id, business_entity_ext_id, requester \
             FROM communications WHERE number = 'n-2'",
        &[("row_without_record", "n-9")],
    ),
    case(
        STORE,
        "DELETE FROM rejections WHERE number = 'n-3'",
        &[("no_outcome", "n-3"), ("result_without_outcome", "n-3")],
    ),
    case(
        STORE,
        "UPDATE rejections SET account_ext_id = 'a-7' WHERE number = 'n-3'",
        &[("row_altered", "n-3")],
    ),
    case(
        STORE,
        "UPDATE rejections SET verdict = 'A002' WHERE number = 'n-3'",
        &[("result_missing", "n-3"), ("result_without_outcome", "n-3"), ("row_altered", "n-3")],
    ),
    case(
        STORE,
        "UPDATE rejections SET verdict = 'whatever' WHERE number = 'n-3'",
        &[("result_without_outcome", "n-3"), ("row_altered", "n-3")],
    ),
    case(
        STORE,
        "INSERT INTO rejections SELECT 100, generation, partition, log_offset, number, 'A001', event_id, \
             business_unit, account_ext_id, business_entity_ext_id, requester \
             FROM communications WHERE number = 'n-2'",
        &[("two_outcomes", "n-2")],
    ),
    case(STORE, "DELETE FROM deliveries WHERE number = 'n-2'", &[("delivery_missing", "n-2")]),
    case(
        STORE,
        "UPDATE deliveries SET data = replace(data, 'CORE', 'core') WHERE number = 'n-2'",
        &[("delivery_altered", "n-2")],
    ),
    case(
        STORE,
        "UPDATE deliveries SET data = 'broken' WHERE number = 'n-2'",
        &[("delivery_altered", "n-2")],
    ),
    case(
        STORE,
        "INSERT INTO deliveries (endpoint, event_id, account, number, is_ordered, state, recorded_at, failures, \
             attempts, attributes, data) SELECT endpoint, zeroblob(16), account, 'n-2', 0, 'delivered', \
             recorded_at, 0, 1, \
             '[[[\"specversion\",\"1.0\"],[\"id\",\"00000000-0000-0000-0000-000000000000\"],[\"source\",\"n-2\"],\
             [\"type\",\"x\"],[\"time\",\"2020-01-01T00:00:00Z\"]],[]]', '{}' FROM deliveries WHERE number = 'n-2'",
        &[("delivery_without_result", "n-2")],
    ),
    case(
        STORE,
        "UPDATE accounts SET currency_code = 'USD' WHERE account_ext_id = 'a-1'",
        &[("account_altered", "n-5")],
    ),
    case(
        STORE,
        "UPDATE accounts SET opening_date = '2023-09-05T08:07:34.123457Z' WHERE account_ext_id = 'a-1'",
        &[("account_altered", "n-5")],
    ),
    case(
        STORE,
        "UPDATE accounts SET account_status = 'GONE' WHERE account_ext_id = 'a-1'",
        &[("account_altered", "n-5")],
    ),
    case(STORE, "DELETE FROM accounts WHERE account_ext_id = 'a-3'", &[("account_missing", "n-4")]),
    case(
        STORE,
        "UPDATE accounts SET log_offset = (SELECT log_offset FROM communications WHERE number = 'n-2') \
             WHERE account_ext_id = 'a-1'",
        &[("account_stale", "n-5")],
    ),
    case(
        STORE,
        "INSERT INTO accounts SELECT id + 100, business_unit, 'a-8', business_entity_ext_id, generation, \
             partition, 1, communication_number, requester, action, account_number, account_status, account_type, \
             account_purpose, bank_title, bic, currency_code, is_other_fin_inst_account, opening_date, closing_date, \
             suspension_reasons FROM accounts WHERE account_ext_id = 'a-1'",
        &[("account_without_submission", "n-5")],
    ),
    case(
        QUEUE,
        "UPDATE records SET value = CAST('else' AS BLOB) WHERE {result}",
        &[("letter_missing", ""), ("result_missing", "n-2")],
    ),
    case(
        QUEUE,
        "UPDATE records SET value = CAST(replace(CAST(value AS TEXT), 'CORE', 'core') AS BLOB) WHERE {result}",
        &[("delivery_altered", "n-2"), ("result_altered", "n-2")],
    ),
    case(QUEUE, "UPDATE records SET headers = zeroblob(0) WHERE {letter}", &[("no_outcome", "")]),
    case(
        QUEUE,
        "UPDATE records SET value = CAST('else' AS BLOB) WHERE {letter}",
        &[("letter_altered", "")],
    ),
    case(
        QUEUE,
        "UPDATE records SET headers = zeroblob(0) WHERE {result_letter}",
        &[("letter_missing", "")],
    ),
];

/// The statement of a case, with its conditions.
fn statement(case: &Case) -> String {
    let letter = |class| having(&["penstock-dead-letter-class", class]);
    case.statement
        .replace("{result}", &having(&["ce_source", "n-2", "REQUEST_ACCEPTED"]))
        .replace("{letter}", &letter("not_an_account"))
        .replace("{result_letter}", &letter("not_an_event"))
}

#[tokio::test]
async fn whatever_is_removed_or_changed_by_hand_is_found() {
    let installation = Installation::with_history().await;
    for case in CASES {
        let statement = statement(case);
        let copy = installation.changed(case.file, &statement).await;
        let said = audit(&installation.config(), copy.path(), &["--deep"]).await;
        let number = |number: &str| Some(number.to_owned()).filter(|it| !it.is_empty());
        let expected: BTreeSet<_> =
            case.findings.iter().map(|(kind, of)| ((*kind).to_owned(), number(of))).collect();
        assert_eq!(said.findings, expected, "{statement}\n{}", said.told);
        assert_eq!((said.code, &said.sums["balance"]), (3, &json!(false)), "{statement}\n{}", said.told);
    }
}

#[tokio::test]
async fn what_came_of_a_record_is_found_when_another_is_in_its_place() {
    let installation = Installation::with_history().await;
    let submitted = having(&["communicationNumber", "n-2", "accountNumber"]);
    let replace = "UPDATE records SET value = CAST('else' AS BLOB)";
    let copy = installation.changed(QUEUE, &format!("{replace} WHERE {submitted}")).await;
    let said = audit(&installation.config(), copy.path(), &["--deep"]).await;
    let n2 = Some("n-2".to_owned());
    for expected in [("row_without_record", n2.clone()), ("no_outcome", None)] {
        let expected = (expected.0.to_owned(), expected.1);
        assert!(said.findings.contains(&expected), "{}", said.told);
    }
}

#[tokio::test]
async fn the_commands_of_the_readme_audit() {
    let installation = Installation::with_history().await;
    for command in commands_marked("audit") {
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        let mut command = penstock(&arguments);
        let output = command.arg("--config").arg(installation.config()).output().await.unwrap();
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        if arguments.contains(&"--number") {
            assert!(output.status.code() == Some(2) && told.contains("has nothing of"), "{told}");
        } else {
            assert!(output.status.success(), "{told}");
        }
        if arguments == ["audit"] {
            assert!(told.ends_with("in equals out\n"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_batch_and_a_part_of_the_log_are_audited_by_themselves() {
    let installation = Installation::with_history().await;
    let (config, data) = (installation.config(), installation.data());
    let shown = penstock(&["show", "n-4", "--json", "--config"]).arg(&config).output().await.unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let submission = &shown["submissions"][0];
    let (batch, received) =
        (submission["record"]["batch"].as_str().unwrap(), submission["record"]["appended_at"].as_str());
    let coordinates: Vec<u64> = submission["coordinates"]
        .as_str()
        .unwrap()
        .split('/')
        .map(|part| part.parse().unwrap())
        .collect();
    let [_, partition, offset] = coordinates[..] else { panic!("{coordinates:?}") };
    let (partition, from, to) = (partition.to_string(), offset.to_string(), (offset + 1).to_string());
    for arguments in [
        &["--batch", batch][..],
        &["--partition", &partition, "--from-offset", &from, "--to-offset", &to],
    ] {
        let said = audit(&config, &data, arguments).await;
        let sums = (&said.sums["submitted"], &said.sums["accepted"]);
        assert_eq!((said.code, sums), (0, (&json!(1), &json!(1))), "{arguments:?} {}", said.told);
    }
    let since = audit(&config, &data, &["--since", received.unwrap()]).await;
    let until = audit(&config, &data, &["--until", received.unwrap()]).await;
    let submitted = |said: &Said| said.sums["submitted"].as_u64().unwrap();
    assert_eq!((since.code, until.code), (0, 0), "{}{}", since.told, until.told);
    assert!(submitted(&since) > 0 && submitted(&until) > 0);
    assert_eq!(submitted(&since) + submitted(&until), 8, "each is on one side");

    let gone = installation.changed(STORE, "DELETE FROM communications WHERE number = 'n-4'").await;
    let said = audit(&config, gone.path(), &["--batch", batch]).await;
    let numbers: BTreeSet<_> = said.findings.iter().filter_map(|(_, number)| number.clone()).collect();
    assert_eq!((said.code, numbers), (3, BTreeSet::from(["n-4".to_owned()])), "{}", said.told);
}

#[tokio::test]
async fn a_digest_is_verified_until_a_record_or_an_outcome_is_another() {
    let installation = Installation::with_history().await;
    let file = |name: &str| installation.directory.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (file("first.digest"), file("second.digest"));
    let (config, data) = (installation.config(), installation.data());
    let says = async |data: &Path, arguments: &[&str], code: i32| {
        let mut command = penstock(arguments);
        command.arg("--config").arg(&config).env("PENSTOCK__DATA_DIR", data);
        let output = command.output().await.unwrap();
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        told
    };
    let told = says(&data, &["audit", "--digest", &first], 0).await;
    assert!(told.contains("its SHA-256 is "), "{told}");
    assert!(says(&data, &["audit", "--digest", &first], 2).await.contains("the file exists"));
    let told = says(&data, &["audit", "verify", &first], 0).await;
    assert!(told.contains("8 records and their outcomes are those of "), "{told}");

    let dev = installation.dev().await;
    dev.send(json!({"accounts": [account("n-6", "a-4", "CREATE", "EUR")]}).to_string()).await;
    dev.stop().await;
    let told = says(&data, &["audit", "--digest", &second, "--previous", &first], 0).await;
    assert!(told.contains("1 = 1 accepted"), "it begins where the first ended: {told}");
    let told = says(&data, &["audit", "verify", &second, "--previous", &first], 0).await;
    assert!(told.contains("1 records and their outcomes are those of "), "{told}");
    let told = says(&data, &["audit", "verify", &second, "--previous", &second], 3).await;
    assert!(told.contains("does not name") && told.contains("does not begin where"), "{told}");
    let told = says(&data, &["audit", "verify", config.to_str().unwrap()], 2).await;
    assert!(told.contains("no digest of an audit"), "{told}");
    says(&data, &["audit", "verify", &first], 0).await;
    let nowhere = file("never.digest");
    says(&data, &["audit", "--digest", &nowhere, "--scratch", "/nowhere/at/all"], 5).await;
    assert!(!Path::new(&nowhere).exists(), "what is not finished is not there");
    for statement in [
        "UPDATE rejections SET verdict = 'A002' WHERE number = 'n-3'",
        "DELETE FROM communications WHERE number = 'n-2'",
    ] {
        let copy = installation.changed(STORE, statement).await;
        let told = says(copy.path(), &["audit", "verify", &first], 3).await;
        assert!(told.contains("a record or an outcome between offset 0 and offset "), "{told}");
    }
    let submitted = having(&["communicationNumber", "n-2", "accountNumber"]);
    let other = format!(
        "UPDATE records SET value = CAST(replace(CAST(value AS TEXT), 'salary', 'bonus') AS BLOB) WHERE {submitted}"
    );
    let copy = installation.changed(QUEUE, &other).await;
    says(copy.path(), &["audit", "verify", &first], 3).await;
}

#[tokio::test]
async fn dead_letters_that_are_no_longer_kept_excuse_no_submission() {
    let installation = Installation::with_history().await;
    let copy = installation.changed(STORE, "DELETE FROM communications WHERE number = 'n-2'").await;
    // As if the beginning of the topic were deleted: one of its partitions begins later.
    let queue = SqliteConnectOptions::new().filename(copy.path().join(QUEUE));
    let mut connection = queue.connect().await.unwrap();
    let letter = having(&["penstock-dead-letter-class", "not_an_account"]);
    let moved = format!("UPDATE records SET position = position + 1 WHERE {letter}");
    let moved = connection.execute(sqlx::raw_sql(AssertSqlSafe(moved))).await.unwrap().rows_affected();
    assert_eq!(moved, 1);
    connection.close().await.unwrap();
    let said = audit(&installation.config(), copy.path(), &[]).await;
    let missing = ("no_outcome".to_owned(), Some("n-2".to_owned()));
    assert!(said.code == 3 && said.findings.contains(&missing), "{}", said.told);
}

#[tokio::test]
async fn a_log_with_a_hole_is_not_audited() {
    let installation = Installation::with_history().await;
    let submitted = having(&["communicationNumber", "n-2", "accountNumber"]);
    let copy = installation.changed(QUEUE, &format!("DELETE FROM records WHERE {submitted}")).await;
    let said = audit(&installation.config(), copy.path(), &[]).await;
    let hole = "accounts.submitted has no record at partition 0, offset 2";
    assert!(said.code == 5 && said.told.contains(hole), "{}", said.told);
}

#[tokio::test]
async fn one_number_or_one_batch_is_audited_alone() {
    let installation = Installation::with_history().await;
    let (config, data) = (installation.config(), installation.data());
    let said = audit(&config, &data, &["--number", "n-1"]).await;
    let sums = &said.sums;
    let counts = [&sums["submitted"], &sums["accepted"], &sums["rejected"], &sums["repeated"]];
    assert_eq!((said.code, counts), (0, [&json!(3), &json!(1), &json!(1), &json!(1)]), "{}", said.told);
    for (arguments, told) in [
        (&["--number", "n-99"][..], "nothing of the number \"n-99\""),
        (&["--number", "n-1", "--number", "n-99", "--deep"], "nothing of the number \"n-99\""),
        (&["--batch", "00000000-0000-0000-0000-000000000000"], "nothing of the batch"),
        (&["--partition", "99"], "there is no partition 99"),
        (&["--since", "1h", "--until", "2h"], "ends before it begins"),
    ] {
        let said = audit(&config, &data, arguments).await;
        assert!(said.code == 2 && said.told.contains(told), "{arguments:?}: {}", said.told);
    }
    let nowhere = audit(&config, &data, &["--scratch", "/nowhere/at/all"]).await;
    assert!(nowhere.code == 5 && nowhere.told.contains("/nowhere/at/all"), "{}", nowhere.told);
}

#[tokio::test]
async fn it_balances_while_penstock_works() {
    let installation = Installation::new().await;
    let dev = installation.dev().await;
    let mut load = penstock(&["load", "--items", "6000", "--repeat", "5%", "--conflict", "2%"]);
    load.args(["--url", &dev.url, "--batch-size", "50"]);
    let load = tokio::spawn(async move { load.output().await.unwrap() });
    let mut audits = 0;
    let mut in_flight = 0;
    while !load.is_finished() || audits < 3 {
        let said = audit(&installation.config(), &installation.data(), &["--deep"]).await;
        assert_eq!((said.code, said.findings.len()), (0, 0), "{}", said.told);
        in_flight += said.sums["in_flight"].as_u64().unwrap();
        in_flight += said.sums["deliveries"]["in_flight"].as_u64().unwrap();
        audits += 1;
    }
    let load = load.await.unwrap();
    assert!(load.status.success(), "{}", text(&load.stderr));
    assert!(in_flight > 0, "no audit met anything on its way");
    dev.stop().await;
}
