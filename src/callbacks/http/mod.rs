//! Requests over HTTP/1.1. Redirects are never followed, answers are read up to a bound, and nothing
//! is connected to that [`super::address`] refuses; through a proxy, see [`TargetOptions::proxy`].

mod connector;
mod proxy;
mod reasons;
mod tls;
mod watched;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Response, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use tower::ServiceExt;

use crate::account::Timestamp;
use crate::store::EndpointName;

use super::address::{EndpointUrl, ProxyUrl};
use super::attempt::{Answer, NoAnswer};
use super::handshake::{
    ALLOWED_ORIGIN, ALLOWED_RATE, Permission, Question, REQUEST_ORIGIN, REQUEST_RATE,
};
use super::schedule::parse_retry_after;
use super::sender::{Headers, Request, Sender};
use connector::Connector;
use watched::{LastTlsError, Watching};

pub use tls::TlsOptions;

/// Bytes of an answer that are kept.
const KEPT_BYTES: usize = 512;
/// Bytes of an answer that are read so that the connection can be used again; of a longer one the
/// connection is closed.
const READ_BYTES: usize = 64 * 1024;
/// How long the body of an answer may take. Its status has said everything.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Why an endpoint cannot be sent to.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A header is none.
    #[error(
        "the header {name} cannot be sent: its name or its value has a character that is not allowed"
    )]
    Header {
        /// Its name.
        name: String,
    },
    /// A header is one that is written here.
    #[error(
        "the header {name} cannot be set: penstock, or HTTP itself, writes it; take it off the endpoint's \
         headers"
    )]
    OwnHeader {
        /// Its name.
        name: String,
    },
    /// A URL is none.
    #[error("the URL cannot be sent to")]
    Url,
    /// A file is no PEM.
    #[error("{} is no readable PEM file", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    /// A file has no certificate in it.
    #[error("{} has no certificate in it", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate or key is not usable.
    #[error("{} has a certificate that cannot be used", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: rustls::Error,
    },
    /// TLS cannot be used at all.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// Where an endpoint is and how it is reached.
#[derive(Clone, Debug)]
pub struct TargetOptions {
    /// Its URL.
    pub url: EndpointUrl,
    /// Headers that every request has, such as a credential.
    pub headers: Vec<(String, SecretString)>,
    /// How long a request may take up to the answer's status.
    pub timeout: Duration,
    /// HTTP proxy to go through, by CONNECT. It is the proxy that looks the endpoint's name up and so
    /// decides where it leads: allowed networks hold for an endpoint that is named by its address, and
    /// for `localhost`.
    pub proxy: Option<ProxyUrl>,
    /// Certificates.
    pub tls: TlsOptions,
    /// Connections that are kept open while nothing is sent.
    pub max_idle_connections: usize,
}

/// Headers of an answer that are read; a proxy on the way adds its own to a receiver's.
const MAX_HEADERS: usize = 1_000;

/// Who sends, as receivers are told.
const SENT_BY: HeaderValue = HeaderValue::from_static(concat!("penstock/", env!("CARGO_PKG_VERSION")));

type HttpClient = Client<Watching, Full<Bytes>>;

struct Target {
    client: HttpClient,
    /// What the client connects by.
    connector: Watching,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    has_client_certificate: bool,
    last_tls_error: LastTlsError,
}

/// Sends over HTTP; cheap to clone.
#[derive(Clone)]
pub struct HttpSender(Arc<HashMap<EndpointName, RwLock<Arc<Target>>>>);

impl HttpSender {
    /// A sender to these endpoints; `allowed` networks may be connected to although they are reserved.
    pub fn new(
        targets: Vec<(EndpointName, TargetOptions)>,
        allowed: Vec<IpNet>,
    ) -> Result<Self, HttpError> {
        let allowed: Arc<[IpNet]> = allowed.into();
        let open = |(name, options): (EndpointName, TargetOptions)| {
            Ok((name, RwLock::new(Arc::new(Target::open(&options, Arc::clone(&allowed))?))))
        };
        let targets = targets.into_iter().map(open).collect::<Result<_, HttpError>>()?;
        Ok(Self(Arc::new(targets)))
    }

    /// From now on endpoints are reached as by `other`, where that one knows them; requests that are under
    /// way end as they began.
    pub fn take_over(&self, other: &Self) {
        for (name, target) in &*self.0 {
            if let Some(newer) = other.target(name) {
                *target.write().unwrap_or_else(PoisonError::into_inner) = newer;
            }
        }
    }

    /// Connects to an endpoint, with TLS where its URL says so, and sends nothing.
    pub async fn reach(&self, endpoint: &EndpointName) -> Result<(), NoAnswer> {
        match self.target(endpoint) {
            Some(target) => target.reach().await,
            None => Err(not_configured()),
        }
    }

    fn target(&self, name: &EndpointName) -> Option<Arc<Target>> {
        Some(Arc::clone(&self.0.get(name)?.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Sender for HttpSender {
    async fn send(&self, request: Request) -> Result<Answer, NoAnswer> {
        match self.target(&request.endpoint) {
            Some(target) => target.send(request).await,
            None => Err(not_configured()),
        }
    }

    async fn ask(&self, endpoint: EndpointName, question: Question) -> Result<Permission, NoAnswer> {
        match self.target(&endpoint) {
            Some(target) => target.ask(&question).await,
            None => Err(not_configured()),
        }
    }
}

fn not_configured() -> NoAnswer {
    NoAnswer("the endpoint is not configured".to_owned())
}

impl Target {
    fn open(options: &TargetOptions, allowed: Arc<[IpNet]>) -> Result<Self, HttpError> {
        let connector = match &options.proxy {
            Some(proxy) => {
                let proxy = proxy.url().as_str().parse().map_err(|_| HttpError::Url)?;
                Connector::through(proxy, allowed, options.timeout)
            }
            None => Connector::direct(allowed, options.timeout),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(&options.tls)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let last_tls_error = LastTlsError::default();
        let connector = Watching { connector, last_error: last_tls_error.clone() };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(options.max_idle_connections)
            .http1_max_headers(MAX_HEADERS)
            .build(connector.clone());
        Ok(Self {
            client,
            connector,
            uri: options.url.url().as_str().parse().map_err(|_| HttpError::Url)?,
            headers: options.headers.iter().map(header).collect::<Result<_, _>>()?,
            timeout: options.timeout,
            has_client_certificate: options.tls.client_certificate.is_some(),
            last_tls_error,
        })
    }

    async fn send(&self, request: Request) -> Result<Answer, NoAnswer> {
        let response = self.exchange(Method::POST, &request.headers, request.body).await?;
        let now = Timestamp::from(SystemTime::now());
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: retry_after.and_then(|value| parse_retry_after(value, now)),
            body: first_bytes(response).await,
        })
    }

    async fn ask(&self, question: &Question) -> Result<Permission, NoAnswer> {
        let rate = question.requests_per_minute.map(|rate| rate.to_string());
        let origin = std::iter::once((REQUEST_ORIGIN, question.origin.as_str()));
        let headers = origin.chain(rate.iter().map(|rate| (REQUEST_RATE, rate.as_str()))).collect();
        let response = self.exchange(Method::OPTIONS, &headers, Bytes::new()).await?;
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let permission = Permission { origin: header(ALLOWED_ORIGIN), rate: header(ALLOWED_RATE) };
        // Read, so that the connection can be used again.
        first_bytes(response).await;
        Ok(permission)
    }

    async fn reach(&self) -> Result<(), NoAnswer> {
        let connecting = self.connector.clone().oneshot(self.uri.clone());
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                Err(NoAnswer(reasons::failure(&*error, None, self.has_client_certificate)))
            }
            Err(_) => Err(NoAnswer(reasons::silence(self.timeout, None, self.has_client_certificate))),
        }
    }

    /// Sends a request once; the answer up to its headers.
    async fn exchange(
        &self,
        method: Method,
        headers: &Headers,
        body: Bytes,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let request = self
            .http_request(method, headers, body)
            .ok_or_else(|| NoAnswer("the request cannot be written as HTTP".to_owned()))?;
        let answered = tokio::time::timeout(self.timeout, self.client.request(request)).await;
        // What was heard before an answer is history.
        let heard = self.last_tls_error.take();
        let has_certificate = self.has_client_certificate;
        let reason = match answered {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => {
                let heard = heard.filter(|_| !error.is_connect());
                reasons::failure(&error, heard.as_ref(), has_certificate)
            }
            Err(_) => reasons::silence(self.timeout, heard.as_ref(), has_certificate),
        };
        Err(NoAnswer(reason))
    }

    fn http_request(
        &self,
        method: Method,
        headers: &Headers,
        body: Bytes,
    ) -> Option<hyper::Request<Full<Bytes>>> {
        let mut request = hyper::Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        let written = request.headers_mut();
        let headers = headers.iter();
        // What the client adds itself is among it.
        written.reserve(self.headers.len() + headers.len() + 4);
        written.insert(USER_AGENT, SENT_BY);
        for (name, value) in &self.headers {
            written.insert(name, value.clone());
        }
        for (name, value) in headers {
            let value = HeaderValue::from_maybe_shared(value).ok()?;
            match name {
                Cow::Borrowed(name) => written.append(HeaderName::from_static(name), value),
                Cow::Owned(name) => written.append(name.parse::<HeaderName>().ok()?, value),
            };
        }
        Some(request)
    }
}

fn header((name, value): &(String, SecretString)) -> Result<(HeaderName, HeaderValue), HttpError> {
    let refused = || HttpError::Header { name: name.clone() };
    let parsed: HeaderName = name.parse().map_err(|_| refused())?;
    if is_own(parsed.as_str()) {
        return Err(HttpError::OwnHeader { name: name.clone() });
    }
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| refused())?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// Whether a header tells of the event, the signature, the trace or how the request is written. The name of
/// who sends may be another.
fn is_own(name: &str) -> bool {
    const FRAMING: [&str; 12] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-connection",
    ];
    const OWN: [&str; 5] = ["webhook-", "ce-", "traceparent", "tracestate", "baggage"];
    FRAMING.contains(&name) || OWN.iter().any(|own| name.starts_with(own))
}

/// The first bytes of an answer as text. What is longer or slower than it may be is left unread.
async fn first_bytes(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    if body.is_end_stream() {
        return String::new();
    }
    let mut kept = Vec::new();
    let mut read = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            let room = KEPT_BYTES.saturating_sub(kept.len());
            kept.extend(data.iter().take(room));
            read += data.len();
            if read > READ_BYTES {
                break;
            }
        }
    };
    // The status is known; what is missing of the body changes nothing.
    let _ = tokio::time::timeout(BODY_TIMEOUT, reading).await;
    printable(&kept)
}

/// Text that any store and terminal takes.
fn printable(bytes: &[u8]) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    String::from_utf8_lossy(bytes).chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_answers_is_shown_without_control_characters() {
        assert_eq!(printable(b"a\0b\x1b[31m\n\xff\xc5\xbe"), "a\u{fffd}b\u{fffd}[31m\n\u{fffd}ž");
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused_without_their_value() {
        let refused = |name: &str, value: &str| {
            header(&(name.to_owned(), SecretString::from(value))).unwrap_err().to_string()
        };
        assert!(refused("x y", "v").contains("x y"));
        assert!(!refused("authorization", "sec\nret").contains("sec"));
    }

    #[test]
    fn headers_that_are_written_here_cannot_be_set() {
        let of = |name: &str| header(&(name.to_owned(), SecretString::from("v")));
        for own in [
            "webhook-id",
            "Webhook-Signature",
            "ce-type",
            "CE-ID",
            "traceparent",
            "tracestate",
            "host",
            "content-length",
            "Content-Type",
            "transfer-encoding",
            "connection",
        ] {
            assert!(matches!(of(own), Err(HttpError::OwnHeader { .. })), "{own}");
        }
        for free in ["authorization", "user-agent", "x-api-key", "accept"] {
            assert!(of(free).is_ok(), "{free}");
        }
    }
}
