//! The receiver that `dev` has itself, so that callbacks are seen before there is a receiver of one's
//! own: it verifies what comes, keeps the last of it in memory, and shows it on a page. No other role
//! has it, because what it shows names accounts to whoever can open the page.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;

use crate::account::Timestamp;
use crate::callbacks::signature::{SigningKey, verify};
use crate::settings::{EndpointSettings, Secret};

use super::page;

/// Where callbacks go and are shown.
pub(super) const PATH: &str = "/dev/callbacks";
/// The same for programs.
const JSON_PATH: &str = "/dev/callbacks.json";
/// Callbacks that are kept; older ones are forgotten.
const KEPT: usize = 100;
/// Largest request that is taken, and what of it is kept.
const MAX_BODY: usize = 1_000_000;
const KEPT_BODY: usize = 16_384;
/// Events a second that `dev` sends to itself: enough to look at, too few to slow a load down.
const RATE: f64 = 500.0;

/// A request as it came.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Callback {
    pub(super) received_at: String,
    /// Whether it was signed with this start's key.
    pub(super) verified: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    /// Its beginning, as text.
    pub(super) body: String,
}

/// What is shown: the latest first.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Shown {
    /// Callbacks since the start.
    pub(super) received: u64,
    /// The last of them.
    pub(super) callbacks: VecDeque<Callback>,
}

/// The receiver; cheap to clone.
#[derive(Clone)]
pub(super) struct Receiver {
    key: Arc<SigningKey>,
    shown: Arc<Mutex<Shown>>,
}

impl Receiver {
    /// A receiver of what is signed with `key`.
    pub(super) fn new(key: SigningKey) -> Self {
        Self { key: Arc::new(key), shown: Arc::default() }
    }

    /// Its paths.
    pub(super) fn routes(&self) -> Router {
        Router::new()
            .route(PATH, get(show_page).post(receive))
            .route(JSON_PATH, get(show_json))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self.clone())
    }

    /// The endpoint that sends to it, given where its paths are served.
    pub(super) fn endpoint(&self, served_at: SocketAddr) -> EndpointSettings {
        EndpointSettings {
            secrets: vec![Secret::from(self.key.secret_text())],
            allow_http: true,
            rate: Some(RATE),
            ..EndpointSettings::new("dev", format!("http://{}{PATH}", reachable(served_at)))
        }
    }

    fn take(&self, callback: Callback) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.received += 1;
        shown.callbacks.push_front(callback);
        shown.callbacks.truncate(KEPT);
    }

    fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The address of this machine at which a listener can be reached.
pub(super) fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now = Timestamp::from(SystemTime::now());
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let verified = verify(&receiver.key, header, &body, now);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = *name == header::AUTHORIZATION || *name == header::COOKIE;
        let value = if is_secret { Secret::SHOWN.to_owned() } else { text(value.as_bytes()) };
        (name.to_string(), value)
    });
    receiver.take(Callback {
        received_at: now.to_string(),
        verified: verified.is_ok(),
        problem: verified.err().map(|problem| problem.to_string()),
        headers: shown.collect(),
        body: text(&body[..body.len().min(KEPT_BODY)]),
    });
    if verified.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}

async fn show_page(State(receiver): State<Receiver>) -> Response {
    // What senders wrote is escaped; this keeps a mistake in that from mattering.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy), (header::CACHE_CONTROL, "no-store")];
    (headers, Html(page::html(&receiver.shown()))).into_response()
}

async fn show_json(State(receiver): State<Receiver>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(receiver.shown())).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::callbacks::signature::webhook_headers;

    fn receiver() -> Receiver {
        Receiver::new(SigningKey::symmetric([1; 32]))
    }

    async fn send(receiver: &Receiver, key: &SigningKey, source: &str, body: &str) -> StatusCode {
        let now = Timestamp::from(SystemTime::now());
        let signed = webhook_headers(std::slice::from_ref(key), "id-1", now, body.as_bytes());
        let request = signed.fold(
            Request::post(PATH).header("ce-source", source).header("authorization", "Bearer hunter2"),
            |request, (name, value)| request.header(name, value),
        );
        let request = request.body(Body::from(body.to_owned())).unwrap();
        receiver.routes().oneshot(request).await.unwrap().status()
    }

    async fn get(receiver: &Receiver, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = receiver.routes().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_is_signed_with_the_starts_key_is_taken_and_everything_is_shown() {
        let (receiver, other) = (receiver(), SigningKey::symmetric([2; 32]));
        assert_eq!(send(&receiver, &receiver.key, "n-1", "{\"a\":1}").await, StatusCode::NO_CONTENT);
        assert_eq!(send(&receiver, &other, "n-2", "{}").await, StatusCode::UNAUTHORIZED);
        let shown: serde_json::Value = serde_json::from_str(&get(&receiver, JSON_PATH).await).unwrap();
        assert_eq!(shown["received"], 2);
        let (latest, first) = (&shown["callbacks"][0], &shown["callbacks"][1]);
        assert_eq!(
            (&latest["headers"]["ce-source"], &latest["verified"]),
            (&"n-2".into(), &false.into())
        );
        assert!(latest["problem"].as_str().unwrap().contains("by this key"), "{latest}");
        assert_eq!((&first["body"], &first["verified"]), (&"{\"a\":1}".into(), &true.into()));
        assert!(!shown.to_string().contains("hunter2"));
    }

    #[tokio::test]
    async fn what_senders_write_is_shown_as_text() {
        let receiver = receiver();
        let hostile = "<script>alert('a' + \"b\")</script>&amp;";
        send(&receiver, &receiver.key, hostile, hostile).await;
        let page = get(&receiver, PATH).await;
        assert!(!page.contains("<script"), "{page}");
        assert!(
            page.contains("&lt;script&gt;alert(&#39;a&#39; + &quot;b&quot;)&lt;/script&gt;&amp;amp;")
        );
    }

    #[tokio::test]
    async fn only_the_last_are_kept_and_only_their_beginning() {
        let receiver = receiver();
        for number in 0..KEPT + 5 {
            send(&receiver, &receiver.key, &format!("n-{number}"), &"x".repeat(KEPT_BODY + 9)).await;
        }
        let shown = receiver.shown();
        assert_eq!((shown.received, shown.callbacks.len()), (KEPT as u64 + 5, KEPT));
        assert_eq!(shown.callbacks[0].headers["ce-source"], format!("n-{}", KEPT + 4));
        assert!(shown.callbacks.iter().all(|callback| callback.body.len() == KEPT_BODY));
        let large = "x".repeat(MAX_BODY + 1);
        assert_eq!(send(&receiver, &receiver.key, "n", &large).await, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn the_endpoint_sends_to_where_the_page_is() {
        let endpoint = |address: &str| receiver().endpoint(address.parse().unwrap()).url;
        assert_eq!(endpoint("127.0.0.1:9464"), "http://127.0.0.1:9464/dev/callbacks");
        assert_eq!(endpoint("0.0.0.0:1"), "http://127.0.0.1:1/dev/callbacks");
        assert_eq!(endpoint("[::]:1"), "http://[::1]:1/dev/callbacks");
    }
}
