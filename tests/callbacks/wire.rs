//! A deliverer over the embedded pair and real sockets, and receivers that do what receivers do.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use penstock::callbacks::address::EndpointUrl;
use penstock::callbacks::breaker::BreakerOptions;
use penstock::callbacks::http::{HttpSender, TargetOptions, TlsOptions};
use penstock::callbacks::routing::Filter;
use penstock::callbacks::schedule::Schedule;
use penstock::callbacks::signature::SigningKey;
use penstock::callbacks::{Ambient, Deliverer, DelivererOptions, Endpoint};
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Headers, PollLimits, Queue, Record, Topic};
use penstock::store::sqlite::SqliteStore;
use penstock::store::{Availability, Deliveries, DeliveryState, EndpointName, Selection};
use penstock::telemetry::Metrics;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const EVENTS: u32 = 120;
/// Everything must have happened by then, on however busy a machine.
const DEADLINE: Duration = Duration::from_mins(2);

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Character {
    Fast,
    /// Fails every third time.
    Flaky,
    /// Asks to be left alone, once.
    Throttling,
    Gone,
    Redirecting,
    Hanging,
    Resetting,
    /// Acknowledges, and never stops talking.
    Endless,
}

const CHARACTERS: [(&str, Character); 8] = [
    ("fast", Character::Fast),
    ("flaky", Character::Flaky),
    ("throttling", Character::Throttling),
    ("gone", Character::Gone),
    ("redirecting", Character::Redirecting),
    ("hanging", Character::Hanging),
    ("resetting", Character::Resetting),
    ("endless", Character::Endless),
];

/// A receiver and the acknowledged requests, by event.
#[derive(Clone)]
struct Receiver {
    character: Character,
    requests: Arc<AtomicU32>,
    acknowledged: Arc<Mutex<BTreeMap<String, (HeaderMap, Bytes)>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let number = receiver.requests.fetch_add(1, Ordering::Relaxed);
    let answer = |status: u16| Response::builder().status(status);
    let refused = match receiver.character {
        Character::Flaky if number.is_multiple_of(3) => Some(answer(500)),
        Character::Throttling if number == 0 => Some(answer(429).header("retry-after", "1")),
        Character::Gone => Some(answer(410)),
        Character::Redirecting => Some(answer(301).header("location", "/elsewhere")),
        Character::Hanging => std::future::pending().await,
        _ => None,
    };
    if let Some(refused) = refused {
        return refused.body(Body::from("no")).unwrap();
    }
    let id = headers["ce-id"].to_str().unwrap().to_owned();
    receiver.acknowledged.lock().unwrap().insert(id, (headers, body));
    let body = match receiver.character {
        Character::Endless => {
            let endless =
                futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 4_096]));
            Body::from_stream(endless)
        }
        _ => Body::empty(),
    };
    answer(200).body(body).unwrap()
}

async fn serve(receiver: Receiver) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    if receiver.character == Character::Resetting {
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                receiver.requests.fetch_add(1, Ordering::Relaxed);
                // Closed with a request in it, the system resets the connection.
                socket.set_zero_linger().unwrap();
            }
        });
        return address;
    }
    let app = Router::new().route("/events", post(receive)).with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn keys() -> [SigningKey; 2] {
    [SigningKey::symmetric([1; 32]), SigningKey::symmetric([2; 32])]
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint {
        name: EndpointName::parse(name).unwrap(),
        filter: Filter::default(),
        keys: keys().to_vec(),
        is_ordered: name == "flaky",
        batch: 1,
        concurrency: 4,
        rate: None,
        drain_rate: None,
    }
}

fn target(address: SocketAddr) -> TargetOptions {
    TargetOptions {
        url: EndpointUrl::parse(&format!("http://{address}/events"), true).unwrap(),
        headers: vec![("authorization".to_owned(), "Bearer t".to_owned().into())],
        timeout: Duration::from_secs(1),
        proxy: None,
        tls: TlsOptions::default(),
        max_idle_connections: 4,
    }
}

fn options() -> DelivererOptions {
    let second = Duration::from_secs(1);
    DelivererOptions {
        schedule: Schedule {
            waits: vec![Duration::from_millis(200); 40],
            jitter: 0.2,
            max_retry_after: second,
        },
        breaker: BreakerOptions {
            min_failures: 20,
            failing_for: second,
            probe_interval: second,
            max_probe_interval: second,
        },
        poll: PollLimits { max_records: 50, max_bytes: 1 << 20, max_wait: Duration::from_millis(50) },
        max_waiting: 50,
        patience: Duration::from_millis(50),
        lease: 10 * second,
        claim_interval: Duration::from_millis(50),
        max_claim: 50,
        refresh_interval: Duration::from_millis(200),
        sweep_interval: Duration::from_millis(500),
        retention: Duration::from_hours(1),
        max_sweep: 100,
        commit_interval: Duration::from_millis(100),
        retry_wait: Duration::from_millis(50),
    }
}

fn record(number: u32) -> Record {
    let mut headers = Headers::default();
    headers.push("content-type", "application/json");
    headers.push("ce_specversion", "1.0");
    headers.push("ce_id", Uuid::from_u128(number.into()).to_string());
    headers.push("ce_source", format!("n-{number} 100% \"ž\""));
    headers.push("ce_type", "penstock.account.accepted");
    let key = Bytes::from(format!("LT/acc-{}", number % 7));
    Record { key, value: Bytes::from(format!("{{\"number\": {number}, \"text\": \"ž\"}}")), headers }
}

struct World {
    queue: SqliteQueue,
    store: SqliteStore,
    receivers: HashMap<&'static str, Receiver>,
    stop: CancellationToken,
    deliverer: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl World {
    /// A deliverer to the receivers of these names; `is_guarded` refuses loopback.
    async fn start(names: &[&'static str], is_guarded: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let queue_file = directory.path().join("queue.db");
        let queue = SqliteQueue::open(queue_file, SqliteQueueOptions::default()).await.unwrap();
        let store = SqliteStore::open(directory.path().join("store.db")).await.unwrap();
        let mut receivers = HashMap::new();
        let mut targets = Vec::new();
        for (name, character) in CHARACTERS.into_iter().filter(|(name, _)| names.contains(name)) {
            let (requests, acknowledged) = (Arc::default(), Arc::default());
            let receiver = Receiver { character, requests, acknowledged };
            targets.push((EndpointName::parse(name).unwrap(), target(serve(receiver.clone()).await)));
            receivers.insert(name, receiver);
        }
        let allowed = if is_guarded { Vec::new() } else { vec!["127.0.0.0/8".parse().unwrap()] };
        let deliverer = Deliverer::new(
            queue.clone(),
            queue.subscribe(Topic::Results, "penstock-callbacks").await.unwrap(),
            store.clone(),
            HttpSender::new(targets, allowed).unwrap(),
            names.iter().map(|name| endpoint(name)).collect(),
            options(),
            Ambient::system(),
            Metrics::disabled(),
        );
        let stop = CancellationToken::new();
        let running = deliverer.run(stop.clone());
        let deliverer = tokio::spawn(async move { running.await.unwrap() });
        Self { queue, store, receivers, stop, deliverer, _directory: directory }
    }

    async fn publish(&self) {
        let records = (0..EVENTS).map(record).collect();
        self.queue.publish(Topic::Results, records).await.unwrap();
    }

    async fn count(&self, name: &str, state: Option<DeliveryState>) -> u64 {
        let endpoint = Some(EndpointName::parse(name).unwrap());
        let selection = Selection { endpoint, state, ..Selection::default() };
        self.store.count(&selection).await.unwrap()
    }

    /// Waits until as many deliveries of an endpoint are in a state.
    async fn until(&self, name: &str, state: Option<DeliveryState>, count: u64) {
        let reached = async {
            while self.count(name, state).await < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, reached).await.is_err() {
            let found = self.count(name, state).await;
            panic!("{name} has {found} of {count} deliveries as {state:?}");
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.deliverer.await.unwrap();
        self.queue.close().await;
        self.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_live_receiver_gets_every_event_whatever_the_others_do() {
    let names = CHARACTERS.map(|(name, _)| name);
    let world = World::start(&names, false).await;
    world.publish().await;
    let all = u64::from(EVENTS);
    for live in ["fast", "flaky", "throttling", "endless"] {
        world.until(live, Some(DeliveryState::Delivered), all).await;
        let acknowledged = world.receivers[live].acknowledged.lock().unwrap().clone();
        assert_eq!(acknowledged.len() as u64, all, "{live}");
        for (id, (headers, body)) in acknowledged {
            let number = Uuid::parse_str(&id).unwrap().as_u128();
            assert_eq!(headers["ce-source"], format!("n-{number}%20100%25%20%22%C5%BE%22"));
            assert_eq!(headers["authorization"], "Bearer t");
            assert_eq!(body, format!("{{\"number\": {number}, \"text\": \"ž\"}}"));
            for key in keys() {
                Webhook::new(&key.secret_text()).unwrap().verify(&body, &headers).unwrap();
            }
        }
    }
    for dead in ["gone", "redirecting", "hanging", "resetting"] {
        world.until(dead, None, all).await;
        assert_eq!(world.count(dead, Some(DeliveryState::Delivered)).await, 0, "{dead}");
        assert!(world.receivers[dead].requests.load(Ordering::Relaxed) > 0, "{dead}");
    }
    let states = world.store.endpoint_states().await.unwrap();
    let gone = states.iter().find(|state| state.name.as_str() == "gone").unwrap();
    assert_eq!(gone.availability, Availability::Disabled);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_an_address_that_is_refused() {
    let world = World::start(&["fast"], true).await;
    world.publish().await;
    world.until("fast", None, EVENTS.into()).await;
    let refused = async {
        loop {
            let records = world.store.list(&Selection::default(), 1_000).await.unwrap();
            if let Some(attempt) = records.into_iter().find_map(|record| record.last_attempt) {
                return attempt;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let attempt = tokio::time::timeout(DEADLINE, refused).await.unwrap();
    assert!(attempt.answer.contains("127.0.0.1 is a loopback address"), "{}", attempt.answer);
    assert_eq!(world.receivers["fast"].requests.load(Ordering::Relaxed), 0);
    world.end().await;
}
