//! Requests that are refused: with which status, in which words, and with nothing published.

use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use penstock::intake::IntakeOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::account::account;
use crate::harness::{
    ALL, BATCH, Harness, JsonText, READER, SANDBOX, Setup, TWO_UNITS, account_with, body_of, errors_of,
    header,
};
use crate::ports::{FakeQueue, Mood, accepted, eventually};

fn is_soon(retry_after: Option<&str>) -> bool {
    retry_after.is_some_and(|seconds| (1..=3).contains(&seconds.parse::<u32>().unwrap()))
}

#[tokio::test]
async fn every_violation_is_named_up_to_a_limit() {
    let intake = Harness::new().await;
    let mut batch = vec![account("n", "a"); 3];
    batch[0]["requester"] = Value::Null;
    batch[0]["openingDate"] = json!("soon");
    batch[2].as_object_mut().unwrap().remove("currencyCode");
    let errors = errors_of(intake.post_batch(&batch).send().await.unwrap()).await;
    let places: Vec<_> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["accounts[0].requester", "accounts[0].openingDate", "accounts[2].currencyCode"]);

    let errors = errors_of(intake.post_batch(&vec![json!({}); 100]).send().await.unwrap()).await;
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100], "… and 700 more");
}

#[tokio::test]
async fn a_batch_has_a_configured_number_of_items_at_most() {
    let intake = Harness::new().await;
    let body = format!("{{\"accounts\":[{}{{}}]}}", "{},".repeat(1_000));
    let response = intake.post(BATCH).body(body).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(errors_of(response).await, ["accounts: must have at most 1000 items"]);
}

#[tokio::test]
async fn a_refusal_has_the_contracts_form() {
    let intake = Harness::new().await;
    let response = intake.post(BATCH).body("{").send().await.unwrap();
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    let body = body_of(response).await;
    assert_eq!(body["status"], 400);
    assert_eq!(body["error"], "Bad Request");
    assert_eq!(body["path"], BATCH);
    assert!(chrono::DateTime::parse_from_rfc3339(body["timestamp"].as_str().unwrap()).is_ok());
}

#[tokio::test]
async fn a_request_needs_a_known_token() {
    let intake = Harness::new().await;
    let bare =
        || intake.request(reqwest::Method::POST, BATCH).header("content-type", "application/json");
    for (request, challenge) in [
        (bare(), "Bearer realm=\"penstock\""),
        (bare().basic_auth("dev", Some("dev")), "Bearer realm=\"penstock\""),
        (bare().bearer_auth("guess"), "Bearer realm=\"penstock\", error=\"invalid_token\""),
    ] {
        let response = request.json_text(&json!({"accounts": []})).send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(header(&response, "www-authenticate"), Some(challenge));
        assert_eq!(response.text().await.unwrap(), r#"{"error":{"code":"unauthorized"}}"#);
    }
    assert_eq!(intake.queue.count(), 0);
}

#[tokio::test]
async fn a_token_needs_the_scope() {
    let intake = Harness::new().await;
    let request = intake.request(reqwest::Method::POST, BATCH).bearer_auth(READER).body("{}");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(header(&response, "www-authenticate").unwrap().ends_with("scope=\"submit\""));
    assert_eq!(errors_of(response).await, ["the token has no scope submit"]);
}

/// Sends the head of a request and a piece of its body, and reads what is answered meanwhile.
async fn answer_to_head(intake: &Harness, head: &str, piece: &[u8]) -> String {
    let mut stream = TcpStream::connect(intake.address).await.unwrap();
    let head =
        format!("POST {BATCH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{head}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // The intake may close before it has taken everything.
    stream.write_all(piece).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_token_is_checked_before_the_body_is_read() {
    let intake = Harness::new().await;
    let answer =
        answer_to_head(&intake, "content-length: 1000\r\nauthorization: Bearer guess", b"").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_refusal_after_the_whole_body_keeps_the_connection() {
    let intake = Harness::new().await;
    let response = intake.post(BATCH).body("{").send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "connection")), (400, None));
    let encoded = intake.post(BATCH).header("content-encoding", "gzip").body(gzipped(b"{"));
    let response = encoded.send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "connection")), (400, None));
    assert_eq!(header(&intake.get("/nowhere").send().await.unwrap(), "connection"), None);
}

#[tokio::test]
async fn a_body_declared_too_large_is_not_read() {
    let intake = Harness::new().await;
    let head = format!("content-length: 1073741824\r\nauthorization: Bearer {ALL}");
    let answer = answer_to_head(&intake, &head, &vec![b' '; 100_000]).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains("body: must have at most 200000 bytes"), "{answer}");
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let intake = Harness::new().await;
    let chunk = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b' '; 8_192])));
    let endless = StreamBody::new(futures_util::stream::repeat_with(chunk));
    let response = intake.post(BATCH).body(reqwest::Body::wrap(endless)).send().await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn a_body_that_unpacks_too_large_is_cut_off() {
    let intake = Harness::new().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..1_000 {
        gzip.write_all(&vec![b' '; 100_000]).unwrap();
    }
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(std::io::repeat(b' ').take_bytes(100_000_000), 19).unwrap();
    assert!(gzip.len() < 150_000 && zstd.len() < 150_000);
    for (encoding, body) in [("gzip", gzip), ("zstd", zstd)] {
        let request = intake.post(BATCH).header("content-encoding", encoding).body(body);
        assert_eq!(request.send().await.unwrap().status(), 413, "{encoding}");
    }
}

trait TakeBytes: std::io::Read + Sized {
    fn take_bytes(self, count: u64) -> std::io::Take<Self> {
        self.take(count)
    }
}

impl TakeBytes for std::io::Repeat {}

#[tokio::test]
async fn a_body_must_be_declared_as_what_it_is() {
    let intake = Harness::new().await;
    let bare =
        || intake.request(reqwest::Method::POST, BATCH).bearer_auth(ALL).body("{\"accounts\":[]}");
    for request in [
        bare(),
        bare().header("content-type", "text/plain"),
        bare().header("content-type", "application/json; charset=utf-16"),
        bare().header("content-type", "application/json").header("content-encoding", "br"),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 415);
    }
    let json = || bare().header("content-type", "application/json");
    let unknown = json().header("content-encoding", "br").send().await.unwrap();
    assert_eq!(header(&unknown, "accept-encoding"), Some("gzip, zstd, identity"));
    assert_eq!(json().header("content-encoding", "gzip").send().await.unwrap().status(), 400);
    let loud = json().header("content-encoding", "GZIP").body(gzipped(b"{\"accounts\":[]}"));
    assert_eq!(loud.send().await.unwrap().status(), 200);
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test]
async fn a_unit_outside_the_tokens_is_refused_and_nothing_published() {
    let intake = Harness::new().await;
    let post = async |token: &str, accounts: &[Value]| {
        let request = intake.request(reqwest::Method::POST, BATCH).bearer_auth(token);
        let request = request.header("content-type", "application/json");
        request.json_text(&json!({ "accounts": accounts })).send().await.unwrap()
    };
    let north = account_with("businessUnit", Some(json!("north")));
    let none = account_with("businessUnit", None);
    let response =
        post(SANDBOX, &[account("n1", "a1"), north.clone(), none.clone(), north.clone()]).await;
    assert_eq!(response.status(), 403);
    let text = "is outside the token's business units";
    assert_eq!(
        errors_of(response).await,
        [format!("accounts[1].businessUnit: {text}"), format!("accounts[3].businessUnit: {text}")]
    );
    let response = post(TWO_UNITS, &[north.clone(), none]).await;
    assert_eq!(response.status(), 403);
    assert_eq!(errors_of(response).await, [format!("accounts[1].businessUnit: {text}")]);
    assert_eq!(intake.queue.count(), 0);
    assert_eq!(post(TWO_UNITS, &[north]).await.status(), 200);
}

#[tokio::test]
async fn a_foreign_address_is_refused() {
    let intake = Harness::with(Setup { networks: vec!["10.0.0.0/8"], ..Setup::default() }).await;
    let response = intake.post_batch(&[]).send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(errors_of(response).await, ["the peer's address is not on the allow-list"]);
    let intake = Harness::with(Setup { networks: vec!["127.0.0.0/8"], ..Setup::default() }).await;
    assert_eq!(intake.post_batch(&[]).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_queue_that_takes_nothing_is_answered_503() {
    let intake = Harness::new().await;
    let passes = "the queue does not take records now; try again later";
    let stays =
        "the queue takes no records before an operator has put it right; trying again does not help";
    for (mood, told, may_help) in [
        (Mood::Overloaded, passes, true),
        (Mood::Unavailable, passes, true),
        (Mood::Broken, stays, false),
    ] {
        intake.queue.set_mood(mood);
        let response = intake.post_batch(&[account("n1", "a1")]).send().await.unwrap();
        assert_eq!(response.status(), 503, "{mood:?}");
        let retry_after = header(&response, "retry-after").map(ToOwned::to_owned);
        assert_eq!(is_soon(retry_after.as_deref()), may_help, "{mood:?}: {retry_after:?}");
        assert_eq!(retry_after.is_some(), may_help, "{mood:?}");
        assert_eq!(errors_of(response).await, [told]);
        assert!(intake.intake.ready().await.is_err());
    }
    intake.queue.set_mood(Mood::Good);
    assert!(intake.intake.ready().await.is_ok());
    assert_eq!(intake.post_batch(&[account("n1", "a1")]).send().await.unwrap().status(), 200);
    intake.intake.begin_drain();
    assert!(intake.intake.ready().await.is_err());
}

#[tokio::test]
async fn a_defect_is_answered_as_a_failure() {
    let queue = FakeQueue::new(|_| panic!("as the test says"));
    let intake = Harness::with(Setup { queue, ..Setup::default() }).await;
    let response = intake.post_batch(&[account("n1", "a1")]).send().await.unwrap();
    assert_eq!(response.status(), 500);
    let mut body = body_of(response).await;
    assert!(body["timeElapsedMs"].take().is_u64());
    let failure = json!({
        "errorCode": "500",
        "errorDescription": "Processing failed",
        "timeElapsedMs": null,
    });
    assert_eq!(body, failure);
    let health = intake.get("/classifier/currency").bearer_auth(ALL).send().await.unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn requests_beyond_the_budget_of_bytes_are_answered_503() {
    let intake = Harness::silent(|setup| {
        setup.intake.max_body_bytes = 2_000;
        setup.intake.max_bytes_in_flight = 2_000;
    })
    .await;
    let accounts: Vec<_> = (0..5).map(|index| account(&format!("n{index}"), "a")).collect();
    let first = intake.post_batch(&accounts).send();
    let rest = async {
        eventually("the first is published", || intake.queue.count() == 5).await;
        let refused = intake.post_batch(&accounts).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        assert!(is_soon(header(&refused, "retry-after")));
        for record in &intake.queue.published()[0] {
            intake.queue.answer(record, accepted());
        }
    };
    let (first, ()) = tokio::join!(first, rest);
    assert_eq!(first.unwrap().status(), 200);
    let accepted = intake.post_batch(&accounts).header("prefer", "wait=0").send().await.unwrap();
    assert_eq!(accepted.status(), 200);
}

#[tokio::test]
async fn clients_that_declare_and_send_nothing_refuse_nobody() {
    let intake = Harness::with(Setup {
        intake: IntakeOptions { max_bytes_in_flight: 800_000, ..crate::intake::options() },
        ..Setup::default()
    })
    .await;
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 200000\r\n\
         authorization: Bearer {ALL}\r\n\r\n"
    );
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(intake.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let padded = format!("{{\"accounts\":[]{}}}", " ".repeat(150_000));
    assert_eq!(intake.post(BATCH).body(padded).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_same_form() {
    let intake = Harness::new().await;
    let response = intake.get("/nowhere").send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(body_of(response).await["path"], "/nowhere");
    let response = intake.get(BATCH).bearer_auth(ALL).send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(header(&response, "allow"), Some("POST"));
    assert_eq!(body_of(response).await["error"], "Method Not Allowed");
}

#[tokio::test]
async fn oversized_headers_are_refused() {
    let intake = Harness::new().await;
    let response = intake.post_batch(&[]).header("x-long", "x".repeat(20_000)).send().await.unwrap();
    assert_eq!(response.status(), 431);
    assert_eq!(errors_of(response).await, ["headers: must have at most 16384 bytes in all"]);
}

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    let intake = Harness::new().await;
    let response = intake.get("/nowhere").header("x-request-id", "abc-1").send().await.unwrap();
    assert_eq!(header(&response, "x-request-id"), Some("abc-1"));
    let response = intake.post(BATCH).body("{").header("x-request-id", "a b").send().await.unwrap();
    assert!(uuid::Uuid::parse_str(header(&response, "x-request-id").unwrap()).is_ok());
}
