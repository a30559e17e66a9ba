//! Lanes of a worker over a real Kafka: one is cut down in the middle of its work, others come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock::account::{CommunicationNumber, Generation, Policy};
use penstock::queue::kafka::KafkaQueue;
use penstock::queue::{Consumer, Headers, PollLimits, Polled, Queue as _, Record, Topic};
use penstock::store::sqlite::SqliteStore;
use penstock::store::{Store as _, Wanted};
use penstock::telemetry::Metrics;
use penstock::worker::{Backoff, BrakeOptions, Lane, LaneError, LaneOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::consuming::{GROUP, limits, next_assigned, seek_to_committed};
use super::kafka::KafkaQueueRig;
use super::rig::QueueRig as _;

const SUBMISSIONS: usize = 3_000;
const ACCOUNTS: usize = 100;
/// Several rebalances and a session timeout.
const PATIENCE: Duration = Duration::from_mins(1);

/// The first of an account creates it, the others replace its data: in another order, or decided
/// twice, some would be rejected.
fn submission(sequence: usize) -> Record {
    let account = format!("a{}", sequence % ACCOUNTS);
    let action = if sequence < ACCOUNTS { "CREATE" } else { "UPDATE" };
    let item = serde_json::json!({
        "communicationNumber": format!("n{sequence}"), "requester": "CORE",
        "businessEntityExtId": "c0", "accountExtId": account,
        "accountNumber": "LT121000011101001000", "accountStatus": "ACTIVE", "currencyCode": "EUR",
        "openingDate": "2023-09-05T08:07:34Z", "action": action,
    });
    let mut headers = Headers::default();
    headers.push("traceparent", traceparent(&format!("n{sequence}")));
    Record { key: Bytes::from(format!("/{account}")), value: Bytes::from(item.to_string()), headers }
}

/// A place in a trace of the submission's own.
fn traceparent(number: &str) -> String {
    let span: u64 = number.trim_start_matches('n').parse().unwrap();
    format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", span + 1)
}

/// The lane's task, and what makes it finish.
type Running = (JoinHandle<Result<(), LaneError>>, CancellationToken);

async fn start_lane(number: usize, queue: &KafkaQueue, store: &SqliteStore) -> Running {
    let options = LaneOptions {
        generation: Generation(1),
        event_type_prefix: "penstock".to_owned(),
        // Small batches, so that a lane is always in the middle of something.
        poll: PollLimits { max_records: 20, ..limits() },
        commit_interval: Duration::from_millis(200),
        backoff: Backoff { initial: Duration::from_millis(10), max: Duration::from_millis(200) },
        brake: BrakeOptions { max_share: 1.0, window_records: 1_000, pause: Duration::ZERO },
    };
    let consumer = queue.subscribe(Topic::Submitted, GROUP).await.unwrap();
    let policy = Arc::new(Policy::default());
    let (queue, store) = (queue.clone(), store.clone());
    let lane = Lane::new(number, queue, consumer, store, policy, options, Metrics::disabled());
    let stop = CancellationToken::new();
    (tokio::spawn(lane.run(stop.clone())), stop)
}

/// Event ids and types by number, as the results topic tells them.
#[derive(Default)]
struct Told(BTreeMap<String, Vec<(String, String)>>);

impl Told {
    fn add(&mut self, headers: &Headers) {
        let header = |name| headers.text(name).unwrap().to_owned();
        for name in ["traceparent", "ce_traceparent"] {
            assert_eq!(header(name), traceparent(&header("ce_source")), "the trace goes on");
        }
        let events = self.0.entry(header("ce_source")).or_default();
        let event = (header("ce_id"), header("ce_type"));
        if !events.contains(&event) {
            events.push(event);
        }
    }

    /// Reads results until `numbers` of them were told.
    async fn read_until(&mut self, consumer: &mut impl Consumer, numbers: usize) {
        let start = Instant::now();
        while self.0.len() < numbers {
            assert!(start.elapsed() < PATIENCE, "{} of {numbers} were told in time", self.0.len());
            match consumer.poll(limits()).await.unwrap() {
                Polled::Records(records) => {
                    for received in records {
                        self.add(&received.record.headers);
                    }
                }
                Polled::Assigned(assignments) => seek_to_committed(consumer, &assignments).await,
                Polled::Revoked(_) | Polled::Idle => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_decided_twice_while_lanes_are_cut_down_and_come() {
    let rig = KafkaQueueRig::default();
    let directory = tempfile::tempdir().unwrap();
    let queue = rig.open().await;
    let store = SqliteStore::open(directory.path().join("store.db")).await.unwrap();
    queue.publish(Topic::Submitted, (0..SUBMISSIONS).map(submission).collect()).await.unwrap();
    let mut results = queue.subscribe(Topic::Results, "checker").await.unwrap();
    let assignments = next_assigned(&mut results).await;
    seek_to_committed(&mut results, &assignments).await;
    let mut told = Told::default();

    let (first, _) = start_lane(1, &queue, &store).await;
    told.read_until(&mut results, SUBMISSIONS / 10).await;
    let second = start_lane(2, &queue, &store).await;
    told.read_until(&mut results, SUBMISSIONS / 4).await;
    first.abort();
    let third = start_lane(3, &queue, &store).await;
    told.read_until(&mut results, SUBMISSIONS).await;
    for (lane, stop) in [second, third] {
        stop.cancel();
        lane.await.unwrap().unwrap();
    }

    for (number, events) in &told.0 {
        assert_eq!(events.len(), 1, "{number} has more than one outcome: {events:?}");
        assert_eq!(events[0].1, "penstock.account.accepted", "{number}");
    }
    let numbers =
        (0..SUBMISSIONS).map(|n| CommunicationNumber::parse(&format!("n{n}")).unwrap()).collect();
    let view = store.load(&Wanted { numbers, ..Wanted::default() }).await.unwrap();
    assert_eq!(view.ledger.len(), SUBMISSIONS);
    store.close().await;
}
