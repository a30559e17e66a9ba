//! What became of one communication.

use serde_json::{Value, json};

use crate::process::{DEADLINE, Dev, penstock, text, until};
use crate::receiver::Receiver;

fn account(number: &str, currency: &str) -> Value {
    json!({
        "communicationNumber": number, "requester": "CORE", "businessEntityExtId": "customer-1",
        "accountExtId": "account-1", "accountNumber": "LT121000011101001000", "accountStatus": "ACTIVE",
        "currencyCode": currency, "openingDate": "2023-09-05T08:07:34Z", "action": "CREATE",
    })
}

#[tokio::test]
async fn what_became_of_a_communication_is_told_from_the_log_to_the_endpoints() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(204, "").await;
    let config = directory.path().join("penstock.toml");
    let data = directory.path().join("data");
    let settings = format!(
        "data_dir = '{}'\n[[callbacks.endpoints]]\nname = 'risk'\nurl = '{}'\nallow_http = true\nunsigned = true\n",
        data.display(),
        receiver.url()
    );
    std::fs::write(&config, settings).unwrap();
    let dev = Dev::start(&directory, &["--config", config.to_str().unwrap()]).await;
    let says = async |arguments: &[&str], code: i32| {
        let mut command = penstock(&["show"]);
        command.args(arguments).arg("--config").arg(&config);
        let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        let (said, told) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}{told}");
        (said, told)
    };
    let (_, told) = says(&["n-1"], 2).await;
    assert!(told.contains("no communication n-1 is decided on"), "{told}");

    // Rejected, corrected and accepted, then replaced by another.
    for currency in ["XXQ", "EUR"] {
        dev.send(json!({"accounts": [account("n-1", currency)]}).to_string()).await;
    }
    let mut update = account("n-2", "CHF");
    update["action"] = json!("UPDATE");
    dev.send(json!({"accounts": [update]}).to_string()).await;
    until(async || receiver.arrivals().len() == 3).await;
    let found = async |number: &str| -> Value {
        serde_json::from_str(&says(&[number, "--json"], 0).await.0).unwrap()
    };
    // What was acknowledged is recorded a little later.
    until(async || found("n-2").await["submissions"][0]["deliveries"][0]["state"] == "delivered").await;
    let first = found("n-1").await;
    let submissions = first["submissions"].as_array().unwrap();
    let outcomes: Vec<_> = submissions.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["A001", "accepted"], "{first}");
    assert_eq!(submissions[0]["is_account_state"], Value::Null);
    assert_eq!(submissions[1]["is_account_state"], false);
    assert_eq!(found("n-2").await["submissions"][0]["is_account_state"], true);
    for submission in submissions {
        assert_eq!(submission["record"]["item"], 0, "{submission}");
        assert!(submission["record"]["received_at"].is_string(), "{submission}");
        let delivery = &submission["deliveries"][0];
        assert_eq!((&delivery["endpoint"], &delivery["state"]), (&json!("risk"), &json!("delivered")));
        assert_eq!(delivery["attempts"][0]["status"], 204, "{delivery}");
    }
    let (page, _) = says(&["n-1"], 0).await;
    assert!(
        page.contains("received as item 0 of batch") && page.contains("delivered to risk"),
        "{page}"
    );
    assert!(page.contains("; the account has a newer state"), "{page}");
    for secret in ["account-1", "customer-1", "LT121000011101001000"] {
        assert!(
            !page.contains(secret) && !first.to_string().contains(secret),
            "{secret}: {page}{first}"
        );
    }
    dev.stop().await;
}
