//! A receiver of callbacks over a socket, which answers as it is told and remembers what it got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use tokio::net::TcpListener;

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Arrival {
    /// The text of a header.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

struct Inner {
    answer: (u16, &'static str),
    arrivals: Vec<Arrival>,
}

/// The receiver; ends with the test.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

impl Receiver {
    /// One that answers with this status and text.
    pub(crate) async fn start(status: u16, text: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner { answer: (status, text), arrivals: Vec::new() }));
        let receiver = Self { address, inner };
        let app = Router::new().route("/events", post(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    /// From now on it answers so.
    pub(crate) fn answers(&self, status: u16, text: &'static str) {
        self.inner.lock().unwrap().answer = (status, text);
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// What has arrived so far.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.inner.lock().unwrap().arrivals.clone()
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let mut inner = receiver.inner.lock().unwrap();
    inner.arrivals.push(Arrival { headers, body });
    let (status, text) = inner.answer;
    (StatusCode::from_u16(status).unwrap(), text)
}
