//! One trace through the embedded pipeline, with nobody who records it: from the request to the
//! records, and from those to the result events and dead letters.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "support/intake.rs"]
mod intake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use penstock::account::{Generation, Offset, Policy};
use penstock::intake::{Authenticator, BusinessUnits, Intake, Scope, Token, TokenDigest};
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Consumer, Headers, PollLimits, Polled, Queue, Record, Start, Topic};
use penstock::store::sqlite::SqliteStore;
use penstock::telemetry::Metrics;
use penstock::worker::{Backoff, BrakeOptions, Lane, LaneOptions, StepOutcome};
use tempfile::TempDir;
use tower::ServiceExt;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const POLL: PollLimits =
    PollLimits { max_records: 100, max_bytes: 1_000_000, max_wait: Duration::from_millis(50) };
/// Longest wait for anything; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

struct Pipeline {
    queue: SqliteQueue,
    store: SqliteStore,
    router: Router,
    _directory: TempDir,
}

impl Pipeline {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteQueueOptions { partitions: 1, ..SqliteQueueOptions::default() };
        let queue = SqliteQueue::open(directory.path().join("queue.db"), options).await.unwrap();
        let store = SqliteStore::open(directory.path().join("store.db")).await.unwrap();
        let token = Token {
            name: "client".to_owned(),
            digest: TokenDigest::of("secret"),
            business_units: BusinessUnits::from_list([]),
            scopes: Scope::ALL.into_iter().collect(),
        };
        let intake = Intake::open(
            queue.clone(),
            Some(store.clone()),
            intake::options(),
            Authenticator::new([token], []),
            Arc::default(),
            Metrics::disabled(),
        );
        let router = intake.await.unwrap().router();
        Self { queue, store, router, _directory: directory }
    }

    /// Sends a batch of one account, whose outcome is not waited for.
    async fn send(&self, number: &str, trace: &[(&str, &str)]) {
        let account = serde_json::json!({
            "communicationNumber": number, "requester": "core", "businessEntityExtId": "c",
            "accountExtId": number, "accountNumber": "1", "accountStatus": "ACTIVE",
            "currencyCode": "EUR", "openingDate": "2024-01-01T00:00:00Z",
        });
        let mut request = Request::post("/amlyze-ws-rest/batch-accounts")
            .header("authorization", "Bearer secret")
            .header("content-type", "application/json")
            .header("prefer", "respond-async");
        for (name, value) in trace {
            request = request.header(*name, *value);
        }
        let body = Body::from(serde_json::json!({ "accounts": [account] }).to_string());
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }

    /// Lets a lane work until nothing is left to do.
    async fn work(&self) {
        let options = LaneOptions {
            generation: Generation(1),
            event_type_prefix: "penstock".to_owned(),
            poll: POLL,
            commit_interval: Duration::from_secs(1),
            backoff: Backoff { initial: Duration::from_millis(10), max: Duration::from_millis(10) },
            brake: BrakeOptions { max_share: 1.0, window_records: 1_000, pause: Duration::ZERO },
        };
        let consumer = self.queue.subscribe(Topic::Submitted, "worker").await.unwrap();
        let (queue, store) = (self.queue.clone(), self.store.clone());
        let policy = Arc::new(Policy::default());
        let mut lane = Lane::new(0, queue, consumer, store, policy, options, Metrics::disabled());
        let begun = Instant::now();
        while lane.step(Instant::now()).await.unwrap() != StepOutcome::Idle {
            assert!(begun.elapsed() < PATIENCE, "the lane never came to rest");
        }
    }

    /// The headers of all records of a topic, read from its start.
    async fn headers(&self, topic: Topic) -> Vec<Headers> {
        let mut consumer = self.queue.subscribe(topic, "test").await.unwrap();
        let mut all = Vec::new();
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "the topic never ended");
            match consumer.poll(POLL).await.unwrap() {
                Polled::Assigned(assignments) => {
                    for assignment in assignments {
                        let start = Start::Offset(Offset(0));
                        consumer.seek(assignment.partition, start).await.unwrap();
                    }
                }
                Polled::Records(records) => {
                    all.extend(records.into_iter().map(|received| received.record.headers));
                }
                Polled::Revoked(_) => panic!("nobody else is in the group"),
                Polled::Idle if !all.is_empty() => return all,
                Polled::Idle => {}
            }
        }
    }
}

#[tokio::test]
async fn the_clients_trace_goes_on_to_the_result_event() {
    let pipeline = Pipeline::start().await;
    pipeline.send("n1", &[("traceparent", TRACEPARENT), ("tracestate", "vendor=1")]).await;
    let submitted = &pipeline.headers(Topic::Submitted).await[0];
    assert_eq!(submitted.text("traceparent"), Some(TRACEPARENT));
    assert_eq!(submitted.text("tracestate"), Some("vendor=1"));

    Box::pin(pipeline.work()).await;
    let result = &pipeline.headers(Topic::Results).await[0];
    assert_eq!(result.text("ce_source"), Some("n1"));
    assert_eq!(result.text("traceparent"), Some(TRACEPARENT));
    assert_eq!(result.text("tracestate"), Some("vendor=1"));
    assert_eq!(result.text("ce_traceparent"), Some(TRACEPARENT));
    assert_eq!(result.text("ce_tracestate"), Some("vendor=1"));
}

#[tokio::test]
async fn the_intake_starts_a_trace_where_a_client_has_none_or_a_wrong_one() {
    let pipeline = Pipeline::start().await;
    pipeline.send("n1", &[]).await;
    let wrong = TRACEPARENT.to_uppercase();
    pipeline.send("n2", &[("traceparent", &wrong), ("tracestate", "vendor=1")]).await;
    pipeline.send("n3", &[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)]).await;
    let submitted = pipeline.headers(Topic::Submitted).await;
    let mut traces: Vec<_> =
        submitted.iter().map(|headers| headers.trace_context().unwrap().trace_id()).collect();
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 3, "each request has a trace of its own");
    for headers in &submitted {
        assert!(!headers.trace_context().unwrap().is_sampled(), "nobody records it");
        assert_eq!(headers.text("tracestate"), None);
    }
    assert!(!traces.contains(&"0af7651916cd43dd8448eb211c80319c".to_owned()));
}

#[tokio::test]
async fn a_dead_letter_keeps_its_trace_and_a_foreign_record_needs_none() {
    let pipeline = Pipeline::start().await;
    let record = |traceparent: Option<&'static str>| {
        let mut headers = Headers::default();
        if let Some(traceparent) = traceparent {
            headers.push("traceparent", traceparent);
        }
        Record { key: "k".into(), value: "no account".into(), headers }
    };
    let records = vec![record(Some(TRACEPARENT)), record(None)];
    pipeline.queue.publish(Topic::Submitted, records).await.unwrap();
    Box::pin(pipeline.work()).await;
    let letters = pipeline.headers(Topic::DeadLetter).await;
    assert_eq!(letters[0].text("traceparent"), Some(TRACEPARENT));
    assert_eq!(letters[1].text("traceparent"), None);
}
