//! Receivers in memory, each with a character of its own, and what they saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use penstock::callbacks::attempt::{Answer, NoAnswer};
use penstock::callbacks::handshake::{Permission, Question};
use penstock::callbacks::{Request, Sender};
use penstock::store::{DeliveryState, EndpointName};

use crate::memory::deliveries::MemoryDeliveries;
use crate::memory::point;
use crate::random::Random;
use crate::schedule::Fate;

/// The endpoints there are. All take every event but the last.
pub const ENDPOINTS: [&str; 7] =
    ["fast", "flaky", "ordered", "throttling", "dead", "asked", "accepted-only"];
/// The endpoint that wants the events of an account one after the other.
pub const ORDERED: &str = "ordered";
/// The endpoint whose receiver must agree first.
pub const ASKED: &str = "asked";
/// The endpoint that gets also what is older than itself.
pub const WITH_HISTORY: &str = "accepted-only";
/// The endpoint that never has anything.
pub const DEAD: &str = "dead";

/// A request that reached a receiver.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub endpoint: String,
    pub event_id: String,
    pub body: Vec<u8>,
    pub is_acknowledged: bool,
}

#[derive(Default)]
struct State {
    arrivals: Vec<Arrival>,
    /// Requests under way, by endpoint and event.
    under_way: BTreeMap<(String, String), u32>,
    violation: Option<String>,
    are_healthy: bool,
    random: u64,
}

/// All receivers; what reaches them outlives the senders.
#[derive(Clone)]
pub struct Receivers {
    state: Arc<Mutex<State>>,
    deliveries: MemoryDeliveries,
    fate: Fate,
}

impl Receivers {
    pub fn new(seed: u64, deliveries: MemoryDeliveries, fate: Fate) -> Self {
        let state = State { random: seed, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), deliveries, fate }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().arrivals.clone()
    }

    pub fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// From now on every receiver but the dead one takes everything.
    pub fn heal(&self) {
        self.lock().are_healthy = true;
    }

    /// A sender of one process.
    pub fn sender(&self) -> MemorySender {
        MemorySender { receivers: self.clone(), has_consent: Arc::default() }
    }

    fn begin(&self, endpoint: &str, event_id: &str) -> UnderWay {
        let key = (endpoint.to_owned(), event_id.to_owned());
        let recorded = self.deliveries.state(endpoint, event_id);
        let mut state = self.lock();
        let count = state.under_way.entry(key.clone()).or_default();
        *count += 1;
        let is_twice = *count > 1;
        if self.fate == Fate::Alone && recorded == Some(DeliveryState::Delivered) {
            state.violation = Some(format!("{key:?} was sent again after it was recorded"));
        } else if self.fate == Fate::Calm && is_twice {
            state.violation = Some(format!("{key:?} is under way two at a time"));
        }
        UnderWay { receivers: self.clone(), key }
    }

    fn note(&self, violation: String) {
        self.lock().violation = Some(violation);
    }

    /// What a receiver says when it is asked for its consent.
    fn permission(&self) -> Result<Permission, NoAnswer> {
        let mut state = self.lock();
        let mut random = Random(state.random);
        let chance = random.below(100);
        state.random = random.0;
        let rate = (chance < 60).then(|| "6000".to_owned());
        match (chance, state.are_healthy) {
            (50.., _) | (_, true) => Ok(Permission { origin: Some("*".to_owned()), rate }),
            (25.., false) => Ok(Permission::default()),
            (_, false) => Err(NoAnswer("refused".to_owned())),
        }
    }

    /// What a receiver does with a request that reaches it.
    fn answer(&self, endpoint: &str, event_id: &str, body: &[u8]) -> Result<Answer, NoAnswer> {
        let mut state = self.lock();
        let mut random = Random(state.random);
        let chance = random.below(100);
        state.random = random.0;
        let answered = match (endpoint, state.are_healthy) {
            (DEAD, _) if chance < 50 => Err(NoAnswer("refused".to_owned())),
            (DEAD, _) => Ok(answer(500, None)),
            (_, true) => Ok(answer(204, None)),
            ("fast", _) => Ok(answer(202, None)),
            ("throttling", _) if chance < 30 => Ok(answer(429, Some(7))),
            // Most of what holds up others is parked and never seen.
            (ORDERED, _) if self.fate == Fate::Restored && chance < 50 => {
                Err(NoAnswer("refused".to_owned()))
            }
            (_, _) if chance < 15 => Ok(answer(503, None)),
            (_, _) if chance < 25 => Err(NoAnswer("reset".to_owned())),
            (_, _) if chance < 30 => Ok(answer(301, None)),
            (_, _) => Ok(answer(200, None)),
        };
        let is_acknowledged = answered.as_ref().is_ok_and(|answer| answer.status < 300);
        // What is answered badly or not at all was seen all the same, half of the time.
        if is_acknowledged || (endpoint != DEAD && chance.is_multiple_of(2)) {
            state.arrivals.push(Arrival {
                endpoint: endpoint.to_owned(),
                event_id: event_id.to_owned(),
                body: body.to_vec(),
                is_acknowledged,
            });
        }
        answered
    }
}

fn answer(status: u16, retry_after_seconds: Option<u64>) -> Answer {
    let retry_after = retry_after_seconds.map(Duration::from_secs);
    Answer { status, retry_after, body: String::new() }
}

/// A request until it is answered or its sender is gone.
struct UnderWay {
    receivers: Receivers,
    key: (String, String),
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(count) = self.receivers.lock().under_way.get_mut(&self.key) {
            *count -= 1;
        }
    }
}

/// A sender whose requests reach [`Receivers`].
#[derive(Clone)]
pub struct MemorySender {
    receivers: Receivers,
    has_consent: Arc<AtomicBool>,
}

impl Sender for MemorySender {
    async fn send(&self, request: Request) -> Result<Answer, NoAnswer> {
        let receivers = self.receivers.clone();
        let header =
            |name: &str| String::from_utf8(request.headers.get(name).unwrap().to_vec()).unwrap();
        let (endpoint, event_id) = (request.endpoint.as_str().to_owned(), header("ce-id"));
        assert_eq!(header("webhook-id"), event_id);
        if endpoint == ASKED && !self.has_consent.load(Ordering::Relaxed) {
            receivers.note(format!("{event_id} was sent to a receiver that had not agreed"));
        }
        let under_way = receivers.begin(&endpoint, &event_id);
        for _ in 0..=(request.body.len() % 3) {
            point().await;
        }
        let answered = receivers.answer(&endpoint, &event_id, &request.body);
        point().await;
        drop(under_way);
        answered
    }

    async fn ask(&self, endpoint: EndpointName, question: Question) -> Result<Permission, NoAnswer> {
        assert_eq!(endpoint.as_str(), ASKED);
        point().await;
        let permission = self.receivers.permission();
        let is_granted =
            permission.as_ref().is_ok_and(|permission| permission.for_question(&question).is_ok());
        self.has_consent.store(is_granted, Ordering::Relaxed);
        point().await;
        permission
    }
}
