//! Deliverers over the embedded pair and real sockets, and receivers that do what receivers do.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use penstock::account::{Generation, Timestamp};
use penstock::callbacks::address::{EndpointUrl, ProxyUrl};
use penstock::callbacks::breaker::BreakerOptions;
use penstock::callbacks::handshake::Question;
use penstock::callbacks::http::{HttpSender, TargetOptions, TlsOptions};
use penstock::callbacks::routing::{DeliverFrom, Filter};
use penstock::callbacks::schedule::Schedule;
use penstock::callbacks::signature::SigningKey;
use penstock::callbacks::{
    Ambient, DeletedEvents, Deliverer, DelivererOptions, Endpoint, Housekeeper, HousekeepingOptions,
    Processes, operator_webhook,
};
use penstock::events::CloudEvent;
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Headers, PollLimits, Queue, Record, Topic};
use penstock::store::sqlite::SqliteStore;
use penstock::store::{
    Attempt, Deliveries, DeliveryKey, DeliveryState, Ending, EndpointName, NewDelivery, Selection,
};
use penstock::telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::endless::endless;

pub const EVENTS: u32 = 120;
/// Everything must have happened by then, on however busy a machine.
pub const DEADLINE: Duration = Duration::from_mins(2);

/// Requests that a receiver that tires answers at once.
pub const FRESH: u32 = 400;

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Character {
    Fast,
    /// Fails every third time.
    Flaky,
    /// Asks to be left alone, once.
    Throttling,
    Gone,
    Redirecting,
    Hanging,
    Resetting,
    /// Asks to be left alone for no time, always.
    Insistent,
    /// Answers this and that, and asks for what nobody can grant.
    Erratic,
    /// Acknowledges, and never stops talking.
    Endless,
    /// Fails until it is healed.
    Healing,
    /// Takes its time after the first requests.
    Tiring,
}

pub const CHARACTERS: [(&str, Character); 12] = [
    ("fast", Character::Fast),
    ("flaky", Character::Flaky),
    ("throttling", Character::Throttling),
    ("gone", Character::Gone),
    ("redirecting", Character::Redirecting),
    ("hanging", Character::Hanging),
    ("resetting", Character::Resetting),
    ("insistent", Character::Insistent),
    ("erratic", Character::Erratic),
    ("endless", Character::Endless),
    ("healing", Character::Healing),
    ("tiring", Character::Tiring),
];

/// A receiver and the acknowledged requests, by event.
#[derive(Clone)]
pub struct Receiver {
    character: Character,
    pub requests: Arc<AtomicU32>,
    /// When requests came.
    pub times: Arc<Mutex<Vec<Instant>>>,
    /// What one that throttles asks for.
    pub retry_after: Arc<Mutex<String>>,
    pub acknowledged: Arc<Mutex<BTreeMap<String, (HeaderMap, Bytes)>>>,
    pub is_healed: Arc<AtomicBool>,
    /// Headers of its answer when it is asked for its consent, and how often it was.
    pub permission: Arc<Mutex<HeaderMap>>,
    pub questions: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Receiver {
    fn new(character: Character) -> Self {
        Self {
            character,
            requests: Arc::default(),
            times: Arc::default(),
            retry_after: Arc::new(Mutex::new("1".to_owned())),
            acknowledged: Arc::default(),
            is_healed: Arc::default(),
            permission: Arc::default(),
            questions: Arc::default(),
        }
    }

    /// How many events it has acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

async fn consent(State(receiver): State<Receiver>, headers: HeaderMap) -> HeaderMap {
    receiver.questions.lock().unwrap().push(headers);
    receiver.permission.lock().unwrap().clone()
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let number = receiver.requests.fetch_add(1, Ordering::Relaxed);
    receiver.times.lock().unwrap().push(Instant::now());
    let answer = |status: u16| Response::builder().status(status);
    let refused = match receiver.character {
        Character::Flaky if number.is_multiple_of(3) => Some(answer(500)),
        Character::Throttling if number == 0 => {
            let asked = receiver.retry_after.lock().unwrap().clone();
            Some(answer(429).header("retry-after", asked))
        }
        Character::Insistent => Some(answer(429).header("retry-after", "0")),
        Character::Erratic => match number % 8 {
            0 => Some(answer(429).header("retry-after", "-1")),
            1 => Some(answer(503).header("retry-after", "9".repeat(30))),
            2 => Some(answer(429).header("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT")),
            3 => Some(answer(503).header("retry-after", "Fri Dec 31 23:59:59 9999")),
            4 => Some(answer(299).header("content-length", "1000")),
            5 => Some(answer(100)),
            6 => Some(answer(599).header("retry-after", "soon")),
            _ => Some(answer(302).header("location", "/events")),
        },
        Character::Gone => Some(answer(410)),
        Character::Healing if !receiver.is_healed.load(Ordering::Relaxed) => Some(answer(503)),
        Character::Redirecting => Some(answer(301).header("location", "/elsewhere")),
        Character::Hanging => std::future::pending().await,
        Character::Tiring if number >= FRESH => {
            tokio::time::sleep(Duration::from_millis(800)).await;
            None
        }
        _ => None,
    };
    if let Some(refused) = refused {
        return refused.body(Body::from("no")).unwrap();
    }
    let id = headers["ce-id"].to_str().unwrap().to_owned();
    receiver.acknowledged.lock().unwrap().insert(id, (headers, body));
    let body = match receiver.character {
        Character::Endless => endless(),
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
    let app = Router::new().route("/events", post(receive).options(consent)).with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

pub fn keys() -> [SigningKey; 2] {
    [SigningKey::symmetric([1; 32]), SigningKey::symmetric([2; 32])]
}

fn endpoint(name: &str, handshake: Option<Question>) -> Endpoint {
    Endpoint {
        name: EndpointName::parse(name).unwrap(),
        filter: Filter::default(),
        deliver_from: DeliverFrom::Configured,
        keys: keys().to_vec().into(),
        is_ordered: name == "flaky",
        batch: 1,
        is_structured: false,
        concurrency: 4,
        rate: None,
        drain_rate: None,
        handshake,
    }
}

fn target(address: SocketAddr, proxy: Option<ProxyUrl>) -> TargetOptions {
    TargetOptions {
        url: EndpointUrl::parse(&format!("http://{address}/events"), true).unwrap(),
        headers: vec![("authorization".to_owned(), "Bearer t".to_owned().into())],
        timeout: Duration::from_secs(1),
        proxy,
        tls: TlsOptions::default(),
        max_idle_connections: 4,
    }
}

fn options(max_retry_after: Option<Duration>) -> DelivererOptions {
    let second = Duration::from_secs(1);
    DelivererOptions {
        generation: Generation(1),
        deleted_events: DeletedEvents::Refuse,
        schedule: Schedule {
            waits: vec![Duration::from_millis(200); 40],
            jitter: 0.2,
            max_retry_after: max_retry_after.unwrap_or(second),
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
        lease: 20 * second,
        claim_interval: Duration::from_millis(50),
        max_claim: 50,
        refresh_interval: Duration::from_millis(200),
        commit_interval: Duration::from_millis(100),
        retry_wait: Duration::from_millis(50),
    }
}

fn housekeeping() -> HousekeepingOptions {
    let interval = Duration::from_millis(200);
    HousekeepingOptions {
        interval,
        slice_pause: interval,
        retention: Duration::from_hours(1),
        max_parked_age: Duration::from_hours(1),
        lease: options(None).lease,
        max_sweep: 100,
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

/// An event that is parked for an endpoint.
pub fn parked(endpoint: &EndpointName, number: u32, due_at: Timestamp) -> NewDelivery {
    let Record { value, headers, .. } = record(number);
    let event = CloudEvent::from_kafka(headers.iter(), value).unwrap();
    NewDelivery {
        key: DeliveryKey { endpoint: endpoint.clone(), event: event.id },
        account: "LT/acc".into(),
        event: Arc::new(event),
        is_ordered: false,
        ending: Ending::Parked { due_at },
        failures: 0,
        attempt: None,
    }
}

/// What is different from what is usual.
#[derive(Default)]
pub struct Setup {
    /// Nothing reserved may be connected to, so neither may this machine.
    pub is_guarded: bool,
    /// Processes; one when 0.
    pub processes: usize,
    /// What receivers are asked first.
    pub handshake: Option<Question>,
    /// The way to all receivers.
    pub proxy: Option<ProxyUrl>,
    /// The longest wait a receiver may ask for; a second when there is none.
    pub max_retry_after: Option<Duration>,
    /// Events a second to each endpoint, of all processes together.
    pub rate: Option<f64>,
}

pub struct World {
    queue: SqliteQueue,
    pub store: SqliteStore,
    pub receivers: HashMap<&'static str, Receiver>,
    /// Where operators are told of endpoints.
    pub operator: Receiver,
    /// What each process has heard of the others.
    processes: Vec<Processes>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl World {
    /// Deliverers to the receivers of these names.
    pub async fn start(names: &[&'static str], setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let queue_file = directory.path().join("queue.db");
        let queue = SqliteQueue::open(queue_file, SqliteQueueOptions::default()).await.unwrap();
        let store = SqliteStore::open(directory.path().join("store.db")).await.unwrap();
        let mut receivers = HashMap::new();
        let mut targets = Vec::new();
        for (name, character) in CHARACTERS.into_iter().filter(|(name, _)| names.contains(name)) {
            let receiver = Receiver::new(character);
            let target = target(serve(receiver.clone()).await, setup.proxy.clone());
            targets.push((EndpointName::parse(name).unwrap(), target));
            receivers.insert(name, receiver);
        }
        let operator = Receiver::new(Character::Fast);
        let operators = vec![(
            EndpointName::parse("operator").unwrap(),
            target(serve(operator.clone()).await, None),
        )];
        let allowed = if setup.is_guarded { Vec::new() } else { vec!["127.0.0.0/8".parse().unwrap()] };
        let operator_sender = HttpSender::new(operators, allowed.clone()).unwrap();
        let sender = HttpSender::new(targets, allowed).unwrap();
        let stop = CancellationToken::new();
        let (mut tasks, mut processes) = (Vec::new(), Vec::new());
        for _ in 0..setup.processes.max(1) {
            let (reports, reporter) = operator_webhook(
                endpoint("operator", None),
                "penstock",
                operator_sender.clone(),
                Ambient::system(),
                Metrics::disabled(),
            );
            let housekeeper = Housekeeper::new(
                store.clone(),
                Vec::new(),
                housekeeping(),
                Ambient::system(),
                Metrics::disabled(),
            );
            let deliverer = Deliverer::new(
                queue.clone(),
                queue.subscribe(Topic::Results, "penstock-callbacks").await.unwrap(),
                store.clone(),
                sender.clone(),
                names
                    .iter()
                    .map(|name| Endpoint { rate: setup.rate, ..endpoint(name, setup.handshake.clone()) })
                    .collect(),
                options(setup.max_retry_after),
                Ambient::system(),
                Metrics::disabled(),
            );
            processes.push(housekeeper.processes());
            let deliverer = deliverer.with_reports(reports).sharing_with(housekeeper.processes());
            let running = deliverer.run(stop.clone());
            tasks.push(tokio::spawn(housekeeper.run(stop.clone())));
            tasks.push(tokio::spawn(async move { running.await.unwrap() }));
            tasks.push(tokio::spawn(reporter.run(stop.clone())));
        }
        Self { queue, store, receivers, operator, processes, stop, tasks, _directory: directory }
    }

    /// Waits until every process knows how many there are.
    pub async fn until_all_have_heard_of_each_other(&self) {
        let count = u32::try_from(self.processes.len()).unwrap();
        let heard = async {
            while self.processes.iter().any(|heard| heard.count() != count) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, heard).await.unwrap();
    }

    /// Parks events for an endpoint, due at once.
    pub async fn park(&self, name: &str, events: Range<u32>) {
        let now = Timestamp::from(SystemTime::now());
        let endpoint = EndpointName::parse(name).unwrap();
        let new: Vec<NewDelivery> = events.map(|number| parked(&endpoint, number, now)).collect();
        self.store.record(&new, &[], now).await.unwrap();
    }

    pub async fn publish(&self, events: Range<u32>) {
        let records = events.map(record).collect();
        self.queue.publish(Topic::Results, records).await.unwrap();
    }

    pub async fn count(&self, name: &str, state: Option<DeliveryState>) -> u64 {
        let endpoint = Some(EndpointName::parse(name).unwrap());
        let selection = Selection { endpoint, state, ..Selection::default() };
        self.store.count(&selection, None).await.unwrap().count
    }

    /// Waits until as many deliveries of an endpoint are in a state.
    pub async fn until(&self, name: &str, state: Option<DeliveryState>, count: u64) {
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

    /// Waits until a delivery has been attempted; how that went.
    pub async fn attempt(&self) -> Attempt {
        let attempted = async {
            loop {
                let records = self.store.list(&Selection::default(), 1_000).await.unwrap();
                if let Some(attempt) = records.into_iter().find_map(|record| record.last_attempt) {
                    return attempt;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, attempted).await.unwrap()
    }

    pub async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.queue.close().await;
        self.store.close().await;
    }
}
