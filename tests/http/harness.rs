//! An intake that listens on a free port of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use penstock::account::{BusinessUnit, Policy};
use penstock::intake::{
    Authenticator, BusinessUnits, Intake, IntakeOptions, Scope, ServerOptions, Token, TokenDigest, serve,
};
use penstock::telemetry::Metrics;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::account::account;
use crate::ports::{FakeQueue, FakeStore, accepted};

pub(crate) const BATCH: &str = "/amlyze-ws-rest/batch-accounts";
pub(crate) const ACCOUNT: &str = "/amlyze-ws-rest/account";

/// Holds every scope and every unit.
pub(crate) const ALL: &str = "token-of-all";
/// Holds every scope for the unit `sandbox`.
pub(crate) const SANDBOX: &str = "token-of-sandbox";
/// Holds every scope for the units `sandbox` and `north`.
pub(crate) const TWO_UNITS: &str = "token-of-two";
/// May read only.
pub(crate) const READER: &str = "token-of-reader";

pub(crate) struct Harness {
    pub(crate) address: SocketAddr,
    pub(crate) queue: FakeQueue,
    pub(crate) store: FakeStore,
    pub(crate) intake: Intake<FakeQueue, FakeStore>,
    pub(crate) stop: CancellationToken,
    pub(crate) server: JoinHandle<()>,
    client: Client,
}

/// What a test may set.
pub(crate) struct Setup {
    pub(crate) queue: FakeQueue,
    pub(crate) with_store: bool,
    pub(crate) intake: IntakeOptions,
    pub(crate) server: ServerOptions,
    pub(crate) networks: Vec<&'static str>,
    pub(crate) policy: Policy,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            queue: FakeQueue::new(|_| Some(accepted())),
            with_store: true,
            intake: crate::intake::options(),
            server: ServerOptions {
                header_timeout: Duration::from_secs(10),
                keep_alive_timeout: Duration::from_secs(75),
                write_timeout: Duration::from_secs(30),
                max_connections: 1_024,
                max_header_bytes: crate::intake::options().max_header_bytes,
                shutdown_timeout: Duration::from_secs(30),
            },
            networks: Vec::new(),
            policy: Policy::default(),
        }
    }
}

fn token(secret: &str, units: &[&str], scopes: &[Scope]) -> Token {
    let units = units.iter().map(|unit| BusinessUnit::parse(unit).unwrap());
    Token {
        name: secret.replace("token-of-", "client-"),
        digest: TokenDigest::of(secret),
        business_units: BusinessUnits::from_list(units),
        scopes: scopes.iter().copied().collect(),
    }
}

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    /// One whose queue answers nothing by itself.
    pub(crate) async fn silent(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup { queue: FakeQueue::new(|_| None), ..Setup::default() };
        change(&mut setup);
        Self::with(setup).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let tokens = [
            token(ALL, &[], &Scope::ALL),
            token(SANDBOX, &["sandbox"], &Scope::ALL),
            token(TWO_UNITS, &["sandbox", "north"], &Scope::ALL),
            token(READER, &[], &[Scope::Read]),
        ];
        let networks = setup.networks.iter().map(|network| network.parse().unwrap());
        let store = FakeStore::default();
        let intake = Intake::open(
            setup.queue.clone(),
            setup.with_store.then(|| store.clone()),
            setup.intake,
            Authenticator::new(tokens, networks),
            Arc::new(setup.policy),
            Metrics::disabled(),
        )
        .await
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, intake.router(), setup.server, stop.clone()));
        let client = Client::builder().no_proxy().build().unwrap();
        Self { address, queue: setup.queue, store, intake, stop, server, client }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// A request with a token and the content type of JSON.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(ALL).header("content-type", "application/json")
    }

    pub(crate) fn post_batch(&self, accounts: &[Value]) -> RequestBuilder {
        self.post(BATCH).json_text(&json!({ "accounts": accounts }))
    }
}

/// Puts a JSON text into a request without another content type.
pub(crate) trait JsonText {
    fn json_text(self, value: &Value) -> Self;
}

impl JsonText for RequestBuilder {
    fn json_text(self, value: &Value) -> Self {
        self.body(value.to_string())
    }
}

/// An account with one field changed, or removed when the value is none.
pub(crate) fn account_with(field: &str, value: Option<Value>) -> Value {
    let mut account = account("n1", "a1");
    match value {
        Some(value) => account[field] = value,
        None => {
            account.as_object_mut().unwrap().remove(field);
        }
    }
    account
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

pub(crate) async fn body_of(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// The `errors` of a refusal.
pub(crate) async fn errors_of(response: Response) -> Vec<String> {
    let body = body_of(response).await;
    let errors = body["errors"].as_array().unwrap_or_else(|| panic!("no errors in {body}"));
    errors.iter().map(|error| error.as_str().unwrap().to_owned()).collect()
}
