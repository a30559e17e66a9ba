//! Telemetry that is exported: one trace from the request to the result event, and a collector that is
//! away harms nobody.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use penstock::account::Offset;
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Consumer, Headers, PollLimits, Polled, Queue, Start, Topic};
use penstock::telemetry::semantic::SCHEMA_URL;
use serde_json::json;
use tempfile::TempDir;

use crate::collector::{Collector, attribute, text};
use crate::process::{DEADLINE, Dev};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";
const BATCH: &str = "/amlyze-ws-rest/batch-accounts";

async fn start_with(directory: &TempDir, otlp: &str) -> Dev {
    let config = directory.path().join("penstock.toml");
    let text =
        format!("[telemetry]\nlog_level = 'trace'\nlog_format = 'json'\n[telemetry.otlp]\n{otlp}\n");
    std::fs::write(&config, text).unwrap();
    Dev::start(directory, &["--config", config.to_str().unwrap(), "--token", "dev"]).await
}

/// A batch of one account, all of whose values are planted.
fn batch(number: &str) -> String {
    json!({ "accounts": [{
        "communicationNumber": format!("CANARY-{number}"),
        "requester": "CANARY-requester",
        "accountExtId": format!("CANARY-EXT-{number}"),
        "accountNumber": "LT121000011101001000CANARY",
        "businessEntityExtId": "CANARY-CUSTOMER",
        "bankTitle": "CANARY Bank of Hidden Names",
        "accountPurpose": "CANARY purpose",
        "accountStatus": "ACTIVE", "currencyCode": "EUR", "openingDate": "2024-01-01T00:00:00Z",
    }] })
    .to_string()
}

async fn send(dev: &Dev, batch: String, trace: &[(&str, String)]) -> u16 {
    let mut request = reqwest::Client::new()
        .post(format!("{}{BATCH}", dev.url))
        .header("content-type", "application/json")
        .bearer_auth("dev");
    for (name, value) in trace {
        request = request.header(*name, value);
    }
    request.body(batch).send().await.unwrap().status().as_u16()
}

/// The headers of the only result event.
async fn result_headers(directory: &TempDir) -> Headers {
    let file = directory.path().join("data/queue.db");
    let queue = SqliteQueue::open(file, SqliteQueueOptions::default()).await.unwrap();
    let mut consumer = queue.subscribe(Topic::Results, "test").await.unwrap();
    let limits =
        PollLimits { max_records: 1, max_bytes: 1_000_000, max_wait: Duration::from_millis(100) };
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < DEADLINE, "there is no result event");
        match consumer.poll(limits).await.unwrap() {
            Polled::Assigned(assignments) => {
                for assignment in assignments {
                    consumer.seek(assignment.partition, Start::Offset(Offset(0))).await.unwrap();
                }
            }
            Polled::Records(records) => return records[0].record.headers.clone(),
            Polled::Revoked(_) | Polled::Idle => {}
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The only span of the trace with a name.
fn span<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name && hex(&span.trace_id) == TRACE_ID);
    let (first, second) = (found.next(), found.next());
    let names: Vec<_> = spans.iter().map(|span| (&span.name, hex(&span.trace_id))).collect();
    assert!(second.is_none(), "{name} is there twice: {names:?}");
    first.unwrap_or_else(|| panic!("{name} is not among {names:?}"))
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_the_result_event() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let otlp = format!(
        "endpoint = '{}'\nheaders = 'authorization=Bearer CANARY-collector'",
        collector.endpoint
    );
    let dev = start_with(&directory, &otlp).await;
    let trace = [
        ("traceparent", format!("00-{TRACE_ID}-{CLIENT_SPAN}-01")),
        ("tracestate", "vendor=1".to_owned()),
    ];
    assert_eq!(send(&dev, batch("n1"), &trace).await, 200);
    let log = dev.log();
    dev.stop().await;
    let event = result_headers(&directory).await;

    let taken = collector.taken();
    let spans = taken.spans();
    let request = span(&spans, &format!("POST {BATCH}"));
    let sent = span(&spans, "send accounts.submitted");
    let process = span(&spans, "process accounts.submitted");
    let created = span(&spans, "create accounts.results");
    let expected = [
        (request, SpanKind::Server, CLIENT_SPAN.to_owned()),
        (sent, SpanKind::Producer, hex(&request.span_id)),
        (process, SpanKind::Consumer, hex(&sent.span_id)),
        (created, SpanKind::Producer, hex(&sent.span_id)),
        (span(&spans, "load"), SpanKind::Client, hex(&process.span_id)),
        (span(&spans, "apply"), SpanKind::Client, hex(&process.span_id)),
        (span(&spans, "send accounts.results"), SpanKind::Client, hex(&process.span_id)),
        (span(&spans, "commit accounts.submitted"), SpanKind::Client, hex(&process.span_id)),
    ];
    for (span, kind, parent) in expected {
        assert_eq!(span.kind(), kind, "{span:?}");
        assert_eq!(hex(&span.parent_span_id), parent, "{span:?}");
        assert_eq!(span.trace_state, "vendor=1");
    }
    assert_eq!(process.links[0].span_id, sent.span_id);
    assert_eq!(attribute(&request.attributes, "http.route"), Some(BATCH));
    assert_eq!(attribute(&sent.attributes, "messaging.system"), Some("sqlite"));
    assert_eq!(attribute(&span(&spans, "load").attributes, "db.system.name"), Some("sqlite"));
    let scope = &taken.traces[0].resource_spans[0].scope_spans[0];
    assert_eq!(scope.schema_url, SCHEMA_URL);

    let place = |span: &Span| format!("00-{TRACE_ID}-{}-01", hex(&span.span_id));
    assert_eq!(event.text("ce_traceparent"), Some(place(sent).as_str()));
    assert_eq!(event.text("traceparent"), Some(place(created).as_str()));

    let records = taken.log_records();
    let answered = records.iter().find(|record| text(record.body.as_ref()) == Some("request answered"));
    let answered = answered.expect("the log is exported");
    assert_eq!(answered.trace_id, request.trace_id);
    assert_eq!(answered.span_id, request.span_id);
    let names = taken.metric_names();
    for name in ["http.server.request.duration", "penstock.intake.accepted.items"] {
        assert!(names.iter().any(|known| known == name), "no {name} in {names:?}");
    }
    assert!(taken.authorizations.iter().all(|value| value == "Bearer CANARY-collector"));
    assert!(!taken.text().contains("CANARY"), "{}", taken.text());
    assert!(log.contains(&format!("\"trace_id\":\"{TRACE_ID}\"")), "{log}");
    assert!(!log.contains("CANARY-collector"), "{log}");
}

#[tokio::test]
async fn a_trace_that_the_client_does_not_record_is_not_recorded_here_and_goes_on() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let otlp = format!("endpoint = '{}'\nsignals = ['traces']\nsample_ratio = 1.0", collector.endpoint);
    let dev = start_with(&directory, &otlp).await;
    let trace = [("traceparent", format!("00-{TRACE_ID}-{CLIENT_SPAN}-00"))];
    assert_eq!(send(&dev, batch("n1"), &trace).await, 200);
    dev.stop().await;
    let event = result_headers(&directory).await.trace_context().unwrap();
    assert_eq!(event.trace_id(), TRACE_ID);
    assert!(!event.is_sampled());
    let taken = collector.taken();
    assert!(taken.spans().iter().all(|span| hex(&span.trace_id) != TRACE_ID));
    assert!(taken.metrics.is_empty() && taken.logs.is_empty(), "only traces are asked for");
}

/// Sends batches while the collector is away, sees what was dropped and stops.
async fn assert_harmless(endpoint: &str) {
    let directory = tempfile::tempdir().unwrap();
    let otlp =
        format!("endpoint = '{endpoint}'\ntimeout = '1s'\nsample_ratio = 1.0\nmetrics_interval = '1s'");
    let dev = start_with(&directory, &otlp).await;
    let begun = Instant::now();
    let mut number = 0;
    loop {
        assert!(begun.elapsed() < DEADLINE, "nothing was counted as dropped");
        number += 1;
        let sent = Instant::now();
        assert_eq!(send(&dev, batch(&number.to_string()), &[]).await, 200);
        assert!(sent.elapsed() < Duration::from_secs(3), "an answer waited for the collector");
        let (_, metrics) = dev.get(&format!("{}/metrics", dev.admin)).await;
        let dropped = |signal: &str| {
            let start = format!("penstock_telemetry_dropped_total{{signal=\"{signal}\"}} ");
            let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(&start));
            lines.next().is_some_and(|count| count != "0")
        };
        if ["traces", "metrics", "logs"].into_iter().all(dropped) {
            break;
        }
    }
    assert_eq!(dev.log().matches("telemetry cannot be exported").count(), 3, "once a signal");
    let stopping = Instant::now();
    dev.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(20), "the end waited for the collector");
}

#[tokio::test]
async fn a_collector_that_is_not_there_harms_nobody() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_harmless(&format!("http://{unused}")).await;
}

#[tokio::test]
async fn a_collector_that_never_answers_harms_nobody() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_harmless(&format!("http://{}", silent.local_addr().unwrap())).await;
}

#[tokio::test]
async fn headers_that_are_none_are_refused_without_being_shown() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("penstock.toml");
    let text = "[telemetry.otlp]\nendpoint = 'http://127.0.0.1:1'\nheaders = 'CANARY'";
    std::fs::write(&config, text).unwrap();
    let output = Dev::command(&directory, &["--config", config.to_str().unwrap()]).output();
    let output = output.await.unwrap();
    let said = crate::process::text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("telemetry.otlp.headers") && !said.contains("CANARY"), "{said}");
}
