//! Receivers that do what receivers do, and what each of them has seen.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::endless::endless;
use crate::random::Random;

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Character {
    /// Acknowledges at once.
    Fast,
    /// Acknowledges after a while.
    Slow(Duration),
    /// Fails so many of a hundred.
    Failing(u64),
    /// Asks to be left alone for a second, once in so many requests.
    Throttling(u64),
    /// Acknowledges, and never stops talking.
    Endless,
    /// 410.
    Gone,
    /// 301 to a place that would acknowledge.
    Redirecting,
    /// Never answers.
    Hanging,
    /// Resets every connection.
    Resetting,
    /// Does not listen.
    Down,
}

impl Character {
    /// Whether events arrive there in the end.
    pub fn is_live(self) -> bool {
        match self {
            Self::Fast | Self::Slow(_) | Self::Failing(_) | Self::Throttling(_) | Self::Endless => true,
            Self::Gone | Self::Redirecting | Self::Hanging | Self::Resetting | Self::Down => false,
        }
    }
}

/// How much a receiver remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Which events.
    Events,
    /// The requests as well.
    Requests,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Captured {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An event that has reached a receiver.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub event: Uuid,
    pub at: Instant,
    /// Whether the receiver has answered that it has it.
    pub is_acknowledged: bool,
    /// None unless requests are remembered.
    pub request: Option<Arc<Captured>>,
}

struct Notes {
    arrivals: Vec<Arrival>,
    random: Random,
    /// Requests that were redirected and came after all.
    followed: u32,
}

#[derive(Clone)]
struct Shared {
    character: Character,
    memory: Memory,
    notes: Arc<Mutex<Notes>>,
}

/// A receiver; it ends when dropped.
pub struct Receiver {
    pub name: &'static str,
    pub character: Character,
    pub address: SocketAddr,
    shared: Shared,
    serving: Option<JoinHandle<()>>,
    /// Bound so that nobody else takes the address.
    _unheard: Option<TcpSocket>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

impl Receiver {
    /// Starts one on a free port of the loopback.
    pub async fn start(
        name: &'static str,
        character: Character,
        memory: Memory,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let notes = Notes { arrivals: Vec::new(), random: Random(seed), followed: 0 };
        let shared = Shared { character, memory, notes: Arc::new(Mutex::new(notes)) };
        if character == Character::Down {
            let socket = TcpSocket::new_v4()?;
            socket.bind("127.0.0.1:0".parse()?)?;
            let address = socket.local_addr()?;
            return Ok(Self { name, character, address, shared, serving: None, _unheard: Some(socket) });
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = if character == Character::Resetting {
            tokio::spawn(reset(listener))
        } else {
            let app = Router::new().route("/events", post(receive)).route("/elsewhere", post(follow));
            let app = app.with_state(shared.clone());
            tokio::spawn(async move {
                // It serves until it is aborted.
                let _ = axum::serve(listener, app).await;
            })
        };
        Ok(Self { name, character, address, shared, serving: Some(serving), _unheard: None })
    }

    /// Where events go.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// What it has seen, in the order in which requests came.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.lock().arrivals.clone()
    }

    /// How many events have come, the same as often as it came.
    pub fn count(&self) -> usize {
        self.shared.lock().arrivals.len()
    }

    /// How many requests went where a redirect led.
    pub fn followed(&self) -> u32 {
        self.shared.lock().followed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// Notes a request; returns the places of its events and a number below a hundred.
    fn note(&self, headers: HeaderMap, body: Bytes) -> anyhow::Result<(std::ops::Range<usize>, u64)> {
        let events = events_of(&headers, &body)?;
        let is_kept = self.memory == Memory::Requests;
        let request = is_kept.then(|| Arc::new(Captured { headers, body }));
        let at = Instant::now();
        let mut notes = self.lock();
        let first = notes.arrivals.len();
        notes.arrivals.extend(events.into_iter().map(|event| {
            let request = request.clone();
            Arrival { event, at, is_acknowledged: false, request }
        }));
        let (places, chance) = (first..notes.arrivals.len(), notes.random.next());
        Ok((places, chance))
    }

    fn acknowledge(&self, places: std::ops::Range<usize>) {
        self.lock().arrivals[places].iter_mut().for_each(|arrival| arrival.is_acknowledged = true);
    }
}

#[derive(Deserialize)]
struct Element {
    id: String,
}

fn events_of(headers: &HeaderMap, body: &[u8]) -> anyhow::Result<Vec<Uuid>> {
    if let Some(id) = headers.get("ce-id") {
        return Ok(vec![Uuid::parse_str(id.to_str()?)?]);
    }
    let batch: Vec<Element> = serde_json::from_slice(body).context("neither event nor batch")?;
    batch.iter().map(|element| Ok(Uuid::parse_str(&element.id)?)).collect()
}

async fn receive(State(receiver): State<Shared>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let answer = |status: u16| Response::builder().status(status);
    let refuse = |answer: axum::http::response::Builder| answer.body(Body::from("no")).unwrap();
    let Ok((places, chance)) = receiver.note(headers, body) else { return refuse(answer(400)) };
    match receiver.character {
        Character::Failing(percent) if chance % 100 < percent => return refuse(answer(500)),
        Character::Throttling(every) if chance.is_multiple_of(every) => {
            return refuse(answer(429).header("retry-after", "1"));
        }
        Character::Gone => return refuse(answer(410)),
        Character::Redirecting => return refuse(answer(301).header("location", "/elsewhere")),
        Character::Hanging => std::future::pending().await,
        Character::Slow(wait) => tokio::time::sleep(wait).await,
        _ => {}
    }
    receiver.acknowledge(places);
    let body = match receiver.character {
        Character::Endless => endless(),
        _ => Body::empty(),
    };
    answer(200).body(body).unwrap()
}

async fn follow(State(receiver): State<Shared>) {
    receiver.lock().followed += 1;
}

async fn reset(listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        // Closed with a request in it, the system resets the connection.
        let _ = socket.set_zero_linger();
    }
}
