//! What can be asked for: validation against the store, outcomes by number, classifiers.

use penstock::account::{
    AccountExtId, AccountKey, BusinessEntityExtId, BusinessUnit, Communication, CommunicationNumber,
    Coordinates, EventId, Fingerprint, Generation, LedgerEntry, LogPartition, Offset, Outcome,
    Partition, Policy, Reference, RejectionCode, Requester, Verdict,
};
use penstock::store::PersistedOutcome;
use serde_json::{Value, json};

use crate::account::account;
use crate::harness::{
    ALL, BATCH, Harness, JsonText, READER, SANDBOX, Setup, account_with, body_of, errors_of,
};

const VALIDATE: &str = "/amlyze-ws-rest/validate-batch-accounts";
const EVENTS: &str = "/api/integration-services/v1/communications-events";

fn at(offset: u64) -> Coordinates {
    let log = LogPartition { generation: Generation(1), partition: Partition(0) };
    log.at(Offset(offset))
}

fn persisted(number: &str, unit: &str, verdict: Option<Verdict>) -> PersistedOutcome {
    let communication = Communication {
        number: CommunicationNumber::parse(number).unwrap(),
        account: AccountKey {
            business_unit: Some(BusinessUnit::parse(unit).unwrap()),
            account_ext_id: AccountExtId::parse("a1").unwrap(),
        },
        business_entity_ext_id: BusinessEntityExtId::parse("ORG1").unwrap(),
        requester: Requester::parse("SYSTEMX").unwrap(),
    };
    let content = Fingerprint::from_bytes([0; 32]);
    let outcome = verdict.map(|verdict| Outcome {
        verdict,
        event_id: EventId::of(&communication.number, &content, verdict),
    });
    PersistedOutcome { communication, coordinates: at(1), outcome }
}

#[tokio::test]
async fn a_validation_tells_what_would_become_of_a_batch() {
    let intake = Harness::new().await;
    let known = CommunicationNumber::parse("n1").unwrap();
    intake.store.show(|shown| {
        let entry = LedgerEntry {
            fingerprint: Fingerprint::from_bytes([0; 32]),
            event_id: EventId(uuid::Uuid::nil()),
            coordinates: at(1),
        };
        shown.view.ledger.insert(known, entry);
    });
    let mut closed = account("n3", "a3");
    closed["accountStatus"] = json!("CLOSED");
    let batch = json!({ "accounts": [
        account("n1", "a1"), account("n2", "a2"), closed, account("n2", "a4"), account("n2", "a2"),
    ]});
    let response = intake.post(VALIDATE).json_text(&batch).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let body = body_of(response).await;
    let codes: Vec<_> = (0..5).map(|index| body["results"][index]["errorCode"].as_str()).collect();
    assert_eq!(codes, [Some("O005"), None, Some("A002"), Some("O005"), None]);
    assert_eq!(intake.queue.count(), 0);
    let refused = intake.post(VALIDATE).body("{}").send().await.unwrap();
    assert_eq!(errors_of(refused).await, ["accounts: is mandatory"]);
}

#[tokio::test]
async fn a_validation_counts_an_account_without_a_unit_for_the_tokens() {
    let policy = Policy { business_unit_mandatory: true, ..Policy::default() };
    let intake = Harness::with(Setup { policy, ..Setup::default() }).await;
    let batch = json!({ "accounts": [account_with("businessUnit", None)] });
    let post = async |token: &str| {
        let request = intake.request(reqwest::Method::POST, VALIDATE).bearer_auth(token);
        let request = request.header("content-type", "application/json").json_text(&batch);
        body_of(request.send().await.unwrap()).await["results"][0].clone()
    };
    assert_eq!(post(ALL).await["errorCode"], "A008");
    assert_eq!(post(SANDBOX).await["resultType"], "REQUEST_ACCEPTED");
    assert_eq!(post(SANDBOX).await["businessUnit"], "sandbox");
}

#[tokio::test]
async fn the_outcomes_of_a_number_are_told_as_events() {
    let intake = Harness::new().await;
    intake.store.show(|shown| {
        shown.outcomes = vec![
            persisted("n/1", "sandbox", Some(Verdict::Accepted)),
            persisted("n/1", "sandbox", Some(Verdict::Rejected(RejectionCode::O005))),
            // The same content sent again and rejected again: the same event.
            persisted("n/1", "sandbox", Some(Verdict::Rejected(RejectionCode::O005))),
            persisted("n/1", "sandbox", None),
        ];
    });
    let response = intake.get(&format!("{EVENTS}/n%2F1")).bearer_auth(READER).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let data = |result: Value| {
        let mut data = json!({
            "communicationNumber": "n/1",
            "accountExtId": "a1",
            "businessUnit": "sandbox",
            "businessEntityExtId": "ORG1",
            "requester": "SYSTEMX",
        });
        data.as_object_mut().unwrap().extend(result.as_object().unwrap().clone());
        data
    };
    let description = "CommunicationNumber already used in AMLYZE";
    assert_eq!(
        body_of(response).await,
        json!({
            "events": [
                {
                    "type": "penstock.account.accepted",
                    "source": "n/1",
                    "subject": "a1",
                    "data": data(json!({ "resultType": "REQUEST_ACCEPTED" })),
                },
                {
                    "type": "penstock.account.rejected",
                    "source": "n/1",
                    "subject": "a1",
                    "data": data(json!({
                        "resultType": "REQUEST_REJECTED",
                        "errorCode": "O005",
                        "errorDescription": description,
                    })),
                },
            ],
            "errors": [
                { "code": "O005", "description": description },
                { "code": "500", "description": "Processing failed" },
            ],
        })
    );
}

#[tokio::test]
async fn a_number_of_another_unit_answers_as_unknown() {
    let intake = Harness::new().await;
    intake.store.show(|shown| {
        shown.outcomes = vec![persisted("n1", "north", Some(Verdict::Accepted))];
    });
    let get = async |token: &str, number: &str| {
        let response =
            intake.get(&format!("{EVENTS}/{number}")).bearer_auth(token).send().await.unwrap();
        let status = response.status().as_u16();
        let mut body = body_of(response).await;
        body["timestamp"].take();
        body["path"].take();
        (status, body)
    };
    assert_eq!(get(ALL, "n1").await.0, 200);
    assert_eq!(get(SANDBOX, "n1").await.0, 404);
    assert_eq!(get(SANDBOX, "n1").await, get(SANDBOX, "n2").await);
    for bad in [&"x".repeat(256), "%00", "%ff"] {
        assert_eq!(get(ALL, bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn outcomes_of_another_unit_do_not_hide_a_tokens_own() {
    let intake = Harness::new().await;
    let rejected = |unit: &str| persisted("n1", unit, Some(Verdict::Rejected(RejectionCode::O005)));
    intake.store.show(|shown| {
        shown.outcomes = vec![rejected("north"); 100];
        shown.outcomes.push(rejected("sandbox"));
    });
    for (token, expected) in [(ALL, 200), (SANDBOX, 200)] {
        let response = intake.get(&format!("{EVENTS}/n1")).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), expected, "{token}");
        assert_eq!(body_of(response).await["events"].as_array().unwrap().len(), 1, "{token}");
    }
}

#[tokio::test]
async fn classifiers_serve_the_institutions_lists() {
    let list = |entries: &[(&str, &str)]| {
        entries.iter().map(|(code, name)| ((*code).to_owned(), (*name).to_owned())).collect()
    };
    let reference = Reference {
        account_types: list(&[("CUR", "Current account")]),
        business_units: list(&[("north", "North"), ("sandbox", "Sandbox")]),
        ..Reference::default()
    };
    let policy = Policy { reference, ..Policy::default() };
    let intake = Harness::with(Setup { policy, ..Setup::default() }).await;
    let get_as = async |token: &str, name: &str| {
        let request = intake.get(&format!("/classifier/{name}")).bearer_auth(token);
        body_of(request.send().await.unwrap()).await
    };
    let (north, sandbox) =
        (json!({ "code": "north", "name": "North" }), json!({ "code": "sandbox", "name": "Sandbox" }));
    assert_eq!(
        get_as(READER, "accountType").await,
        json!([{ "code": "CUR", "name": "Current account" }])
    );
    assert_eq!(get_as(READER, "businessUnit").await, json!([north, sandbox]));
    assert_eq!(get_as(SANDBOX, "businessUnit").await, json!([sandbox]), "those that it may use");
    let currencies = get_as(READER, "currency").await;
    assert!(currencies.as_array().unwrap().contains(&json!({ "code": "EUR", "name": "Euro" })));
}

#[tokio::test]
async fn without_a_store_only_what_needs_one_is_unavailable() {
    let intake = Harness::with(Setup { with_store: false, ..Setup::default() }).await;
    let lookup = intake.get(&format!("{EVENTS}/n1")).bearer_auth(ALL).send().await.unwrap();
    assert_eq!(lookup.status(), 503);
    let batch = json!({ "accounts": [account("n1", "a1")] });
    let validation = intake.post(VALIDATE).json_text(&batch).send().await.unwrap();
    assert_eq!(validation.status(), 503);
    assert_eq!(errors_of(validation).await, ["this intake has no store to look into"]);
    assert_eq!(intake.post(BATCH).json_text(&batch).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_reason_to_refuse_batches() {
    let intake = Harness::new().await;
    intake.store.show(|shown| shown.fails = true);
    let batch = json!({ "accounts": [account("n1", "a1")] });
    assert_eq!(intake.post(VALIDATE).json_text(&batch).send().await.unwrap().status(), 503);
    let lookup = intake.get(&format!("{EVENTS}/n1")).bearer_auth(ALL).send().await.unwrap();
    assert_eq!(lookup.status(), 503);
    assert!(intake.intake.ready().await.is_ok());
    assert_eq!(intake.post(BATCH).json_text(&batch).send().await.unwrap().status(), 200);
}
