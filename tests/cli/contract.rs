//! What a client may rely on, asked of a real server over HTTP: the same on every pair of queue and store.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::account::account;
use crate::process::{Dev, example_batch};

const BATCH: &str = "/amlyze-ws-rest/batch-accounts";
const VALIDATE: &str = "/amlyze-ws-rest/validate-batch-accounts";
const ACCOUNT: &str = "/amlyze-ws-rest/account";
const EVENTS: &str = "/api/integration-services/v1/communications-events";

/// A client of a server that knows the token `dev`.
pub(crate) struct Contract {
    url: String,
    client: Client,
}

impl Contract {
    /// Asks everything. The server's store must be empty.
    pub(crate) async fn holds_at(url: &str) {
        let contract =
            Self { url: url.to_owned(), client: Client::builder().no_proxy().build().unwrap() };
        contract.the_published_examples_are_answered_as_published().await;
        contract.a_validation_leaves_no_trace().await;
        contract.a_single_account_is_answered_by_its_status().await;
        contract.what_violates_the_schema_is_refused_whole().await;
        contract.a_rejected_communication_may_be_corrected().await;
        contract.submissions_of_one_account_keep_their_order().await;
        contract.what_is_not_waited_for_is_told_later().await;
        contract.outcomes_are_found_by_number().await;
        contract.strangers_are_turned_away().await;
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth("dev")
    }

    async fn post_text(&self, path: &str, body: String) -> (u16, Value) {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_text(path, body.to_string()).await
    }

    /// The outcomes of a batch, by code; none stands for accepted.
    async fn outcomes(&self, path: &str, accounts: &[Value]) -> Vec<Option<String>> {
        let (status, body) = self.post(path, &json!({ "accounts": accounts })).await;
        assert_eq!(status, 200, "{body}");
        let results = body["results"].as_array().unwrap();
        let outcome = |result: &Value| {
            let code = result["errorCode"].as_str().map(str::to_owned);
            let kind = if code.is_none() { "REQUEST_ACCEPTED" } else { "REQUEST_REJECTED" };
            assert_eq!(result["resultType"], kind, "{result}");
            code
        };
        results.iter().map(outcome).collect()
    }

    async fn the_published_examples_are_answered_as_published(&self) {
        for _ in 0..2 {
            let (status, body) = self.post_text(BATCH, example_batch()).await;
            assert_eq!(status, 200);
            let codes: Vec<_> = (0..2).map(|item| body["results"][item]["errorCode"].clone()).collect();
            assert_eq!(codes, [Value::Null, json!("O005")], "{body}");
        }
        let twice = [account("same", "same"), account("same", "same")];
        assert_eq!(self.outcomes(BATCH, &twice).await, [None, None], "all accepted");
        let other = [account("part", "part-0"), account("part", "part-1")];
        assert_eq!(
            self.outcomes(BATCH, &other).await,
            [None, Some("O005".to_owned())],
            "partial rejection"
        );
    }

    async fn a_validation_leaves_no_trace(&self) {
        let accounts = [account("valid", "valid-0"), account("valid", "valid-1")];
        for _ in 0..2 {
            assert_eq!(self.outcomes(VALIDATE, &accounts).await, [None, Some("O005".to_owned())]);
        }
        let (status, _) = self.get(&format!("{EVENTS}/valid")).await;
        assert_eq!(status, 404);
    }

    async fn a_single_account_is_answered_by_its_status(&self) {
        let (status, body) = self.post(ACCOUNT, &account("single", "single")).await;
        assert_eq!((status, &body["resultType"]), (200, &json!("REQUEST_ACCEPTED")), "{body}");
        let (status, body) = self.post(ACCOUNT, &account("single", "another")).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("O005")), "{body}");
    }

    async fn what_violates_the_schema_is_refused_whole(&self) {
        let mut wrong = account("whole-1", "whole-1");
        wrong["openingDate"] = json!("yesterday");
        let batch = json!({ "accounts": [account("whole-0", "whole-0"), wrong] });
        let (status, body) = self.post(BATCH, &batch).await;
        assert_eq!(status, 400);
        assert!(body["errors"][0].as_str().unwrap().starts_with("accounts[1].openingDate"), "{body}");
        assert_eq!(self.get(&format!("{EVENTS}/whole-0")).await.0, 404, "nothing is queued");
        let (status, _) = self.post_text(BATCH, "{".to_owned()).await;
        assert_eq!(status, 400);
    }

    async fn a_rejected_communication_may_be_corrected(&self) {
        let mut account = account("again", "again");
        account["currencyCode"] = json!("XYZ");
        assert_eq!(
            self.outcomes(BATCH, std::slice::from_ref(&account)).await,
            [Some("A001".to_owned())]
        );
        account["currencyCode"] = json!("EUR");
        assert_eq!(self.outcomes(BATCH, &[account]).await, [None]);
    }

    async fn submissions_of_one_account_keep_their_order(&self) {
        let mut batch = vec![account("order-0", "order")];
        for number in 1..20 {
            let mut update = account(&format!("order-{number}"), "order");
            update["action"] = json!("UPDATE");
            batch.push(update);
        }
        batch.push(account("order-20", "order"));
        let outcomes = self.outcomes(BATCH, &batch).await;
        assert!(outcomes[..20].iter().all(Option::is_none), "{outcomes:?}");
        assert_eq!(outcomes[20], Some("A009".to_owned()), "the account exists by then");
    }

    async fn what_is_not_waited_for_is_told_later(&self) {
        let batch = json!({ "accounts": [account("later", "later")] });
        let request = self.request(Method::POST, BATCH).header("content-type", "application/json");
        let request = request.header("prefer", "respond-async").body(batch.to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["preference-applied"], "respond-async");
        assert_eq!(response.headers()["penstock-pending"], "1");
        assert_eq!(self.outcomes(BATCH, &[account("later", "later")]).await, [None]);
    }

    async fn outcomes_are_found_by_number(&self) {
        let (status, body) = self.get(&format!("{EVENTS}/same")).await;
        assert_eq!(status, 200);
        assert_eq!(body["events"].as_array().unwrap().len(), 1, "{body}");
        assert_eq!(body["events"][0]["type"], "penstock.account.accepted");
        let (_, body) = self.get(&format!("{EVENTS}/again")).await;
        assert_eq!(body["events"][1]["data"]["errorCode"], "A001", "{body}");
        let (status, body) = self.get("/classifier/currency").await;
        assert_eq!(status, 200);
        assert!(body.as_array().unwrap().iter().any(|entry| entry["code"] == "EUR"));
    }

    async fn strangers_are_turned_away(&self) {
        let response = self.client.post(format!("{}{BATCH}", self.url)).send().await.unwrap();
        assert_eq!(response.status(), 401);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body, json!({ "error": { "code": "unauthorized" } }));
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.request(Method::GET, path).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

#[tokio::test]
async fn the_contract_holds_on_the_embedded_pair() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory, &[]).await;
    Contract::holds_at(&dev.url).await;
    dev.stop().await;
}
