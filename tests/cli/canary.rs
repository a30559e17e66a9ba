//! Account numbers, names and tokens show up in no log line, metric or error answer.

use serde_json::{Value, json};

use crate::process::{Dev, text};

/// Values nobody would write by chance, by the field they are planted in.
const CANARIES: [(&str, &str); 7] = [
    ("accountExtId", "CANARY-EXT-7f31"),
    ("accountNumber", "LT121000011101001000CANARY"),
    ("businessEntityExtId", "CANARY-CUSTOMER-55d0"),
    ("bankTitle", "CANARY Bank of Hidden Names"),
    ("accountPurpose", "CANARY purpose 0b6e"),
    ("suspensionReasons", "CANARY suspicion 91aa"),
    ("bic", "CANARYXX"),
];

fn account(number: &str) -> Value {
    json!({
        "communicationNumber": number,
        "requester": "core",
        "accountExtId": "CANARY-EXT-7f31",
        "accountNumber": "LT121000011101001000CANARY",
        "businessEntityExtId": "CANARY-CUSTOMER-55d0",
        "bankTitle": "CANARY Bank of Hidden Names",
        "accountPurpose": "CANARY purpose 0b6e",
        "bic": "CANARYXX",
        "accountStatus": "ACTIVE",
        "currencyCode": "EUR",
        "openingDate": "2024-01-01T00:00:00Z",
    })
}

/// Good accounts, one for every way to be refused, and bodies that break in the middle of a value.
fn batches() -> Vec<String> {
    let with = |number: &str, field: &str, value: Value| {
        let mut account = account(number);
        account[field] = value;
        account
    };
    let rejected = json!({ "accounts": [
        account("n1"),
        with("n1", "bankTitle", json!("CANARY Bank of Hidden Names, other")),
        with("n2", "currencyCode", json!("QQQ")),
        with("n3", "suspensionReasons", json!("CANARY suspicion 91aa")),
        with("n4", "action", json!("UPDATE")),
        with("n5", "businessEntityExtId", json!("CANARY-CUSTOMER-55d0-other")),
    ] });
    let refused = [
        ("accountNumber", json!(["LT121000011101001000CANARY"])),
        ("accountStatus", json!("CANARY suspicion 91aa")),
        ("openingDate", json!("CANARY purpose 0b6e")),
        ("businessEntityExtId", json!("CANARY-CUSTOMER-55d0".repeat(20))),
        ("accountExtId", json!("CANARY-EXT-7f31\u{0}")),
        ("communicationNumber", json!({ "CANARY purpose 0b6e": 1 })),
    ];
    let mut all = vec![json!({ "accounts": [account("n1")] }).to_string(), rejected.to_string()];
    all.extend(
        refused.map(|(field, value)| json!({ "accounts": [with("n9", field, value)] }).to_string()),
    );
    let whole = json!({ "accounts": [account("n9")] }).to_string();
    all.push(whole[..whole.find("Hidden").unwrap()].to_owned());
    all.push(whole.replace("CANARY Bank", "CANARY \\q Bank"));
    all.push("\"CANARY purpose 0b6e\"".to_owned());
    all
}

fn assert_clean(what: &str, text: &str) {
    for (field, canary) in CANARIES {
        assert!(!text.contains(canary), "the {field} shows up in {what}: {text}");
    }
    assert!(!text.contains("CANARY"), "a part of a planted value shows up in {what}: {text}");
}

#[tokio::test]
async fn planted_values_show_up_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("penstock.toml");
    std::fs::write(&config, "[telemetry]\nlog_level = 'trace'\nlog_format = 'json'\n").unwrap();
    let secret = "CANARY-token-of-nobody";
    let mut dev =
        Dev::start(&directory, &["--config", config.to_str().unwrap(), "--token", "dev"]).await;

    let mut refused = 0;
    for batch in batches() {
        let (status, answer) = dev.send(batch).await;
        if status != 200 {
            refused += 1;
            assert_clean("an error answer", &answer.to_string());
        }
    }
    assert_eq!(refused, 9, "every body that breaks the schema is refused");
    let whole = account("n1").to_string();
    let others = [
        // A wrong token, a refused account, and values where no value belongs.
        ("batch-accounts", secret, "application/json", "{}".to_owned(), 401),
        ("account", "dev", "application/json", whole.replace("\"ACTIVE\"", "\"CANARY\""), 400),
        ("validate-batch-accounts", "dev", "application/json", whole.clone(), 400),
        ("batch-accounts", "dev", "text/CANARY", whole, 415),
    ];
    for (path, token, content_type, body, expected) in others.clone() {
        let request = reqwest::Client::new()
            .post(format!("{}/amlyze-ws-rest/{path}", dev.url))
            .header("content-type", content_type)
            .header("prefer", "wait=CANARY")
            .bearer_auth(token)
            .body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
        assert_clean(path, &response.text().await.unwrap());
    }
    // The answer says which path is not there; the log does not.
    assert_eq!(dev.get(&format!("{}/accounts/CANARY-EXT-7f31?iban=CANARY", dev.url)).await.0, 404);

    assert_clean("the metrics", &dev.get(&format!("{}/metrics", dev.admin)).await.1);
    assert_clean("the readiness", &dev.get(&format!("{}/readyz", dev.admin)).await.1);
    dev.terminate().await;
    assert!(dev.ended().await.success(), "{}", dev.log());
    let log = dev.log();
    assert_eq!(log.matches("request answered").count(), batches().len() + others.len() + 1);
    for line in log.lines() {
        assert_clean("the log", line);
    }
}

/// Set for the process that is to panic.
const PANIC: &str = "TEST_PANIC";

#[tokio::test]
async fn a_panic_is_logged_by_its_place_without_its_words() {
    if std::env::var_os(PANIC).is_some() {
        let format = penstock::telemetry::LineFormat::Json;
        penstock::telemetry::Log::start(format, "trace", 1_000_000).unwrap();
        panic!("{}", account("n1"));
    }
    let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "canary::a_panic_is_logged_by_its_place_without_its_words", "--nocapture"]);
    let output = again.env(PANIC, "1").output().await.unwrap();
    assert!(!output.status.success());
    let log = text(&output.stderr);
    assert!(log.contains("tests/cli/canary.rs:"), "{log}");
    assert_clean("the log of a panic", &log);
}
