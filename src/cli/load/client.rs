//! One connection to the intake. A batch is sent again until its answer is final: after a refusal
//! for overload, a lost connection or a restart, and while some of its outcomes are pending. Sending
//! again is harmless, as the first outcome of a communication is the only one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use tokio::time::Instant;

/// First pause before a batch is sent again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause, whatever the server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for an answer beyond what the server was asked to wait for outcomes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Header that counts the items whose outcome is not yet known.
const PENDING: &str = "penstock-pending";

/// Why no final answer was had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The URL, the token or the HTTP client's set-up cannot be used: correct it.
    #[error("{what} cannot be used: {reason}")]
    Unusable {
        /// The option.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Nobody answered for too long: see whether the server runs, then run the same command again.
    #[error("no final answer from {url} for {seconds} s ({last}); is it running there?")]
    Unreachable {
        /// Where the batch was sent.
        url: Url,
        /// How long it was tried.
        seconds: u64,
        /// What the last try ended with.
        last: String,
    },
    /// The server will not take the batch, whenever it is sent.
    #[error("{url} answered {status}: {hint}")]
    Refused {
        /// Where the batch was sent.
        url: Url,
        /// The answer's status.
        status: StatusCode,
        /// What to do about it.
        hint: &'static str,
    },
}

/// A final answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its body.
    pub(super) body: Bytes,
    /// How many of its items the server had not decided yet.
    pub(super) pending: u64,
    /// How often the batch was sent again because it was not taken.
    pub(super) retries: u64,
    /// How often it was sent again because outcomes were pending.
    pub(super) resends: u64,
}

/// What the server is asked to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The outcome of every item.
    Outcomes {
        /// How long it is asked to wait for them.
        wait: Duration,
    },
    /// That every item is durably queued.
    Queued,
}

impl Wanted {
    /// How long the server waits for outcomes.
    fn wait(self) -> Duration {
        match self {
            Self::Outcomes { wait } => wait,
            Self::Queued => Duration::ZERO,
        }
    }

    /// The value of `Prefer` (RFC 7240).
    fn preference(self) -> String {
        match self {
            Self::Outcomes { wait } => format!("wait={}", wait.as_secs()),
            Self::Queued => "respond-async".to_owned(),
        }
    }
}

/// How batches are sent.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Address of the server, without a path.
    pub(super) url: Url,
    /// The bearer token.
    pub(super) token: String,
    /// What the server is asked to answer.
    pub(super) wanted: Wanted,
    /// How long a batch is tried without any progress.
    pub(super) patience: Duration,
}

/// One connection, kept alive.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    wanted: Wanted,
    patience: Duration,
}

/// What one request came to.
enum Tried {
    Final { body: Bytes, pending: u64 },
    Pending(u64),
    Failed { reason: String, pause: Option<Duration> },
}

impl Client {
    /// Prepares a connection; it is made with the first batch.
    pub(super) fn new(target: &Target) -> Result<Self, ClientError> {
        let unusable = |what, reason: String| ClientError::Unusable { what, reason };
        if target.url.scheme() != "http" {
            return Err(unusable("--url", "only http:// is spoken here".into()));
        }
        let endpoint = target
            .url
            .join("/amlyze-ws-rest/batch-accounts")
            .map_err(|error| unusable("--url", error.to_string()))?;
        let http = reqwest::Client::builder()
            .default_headers(headers(target).map_err(|error| unusable("--token", error.to_string()))?)
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .timeout(target.wanted.wait() + ANSWER_TIMEOUT)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(None)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| unusable("the HTTP client", error.to_string()))?;
        Ok(Self { http, endpoint, wanted: target.wanted, patience: target.patience })
    }

    /// Sends a batch until its answer is final. Patience counts from the last progress: an answer,
    /// or fewer pending outcomes than before.
    pub(super) async fn send(&self, body: &Bytes) -> Result<Answer, ClientError> {
        let (mut retries, mut resends) = (0, 0);
        let mut progress = Instant::now();
        let mut fewest_pending = u64::MAX;
        let mut pause = FIRST_PAUSE;
        loop {
            let (reason, asked) = match self.try_once(body).await? {
                Tried::Final { body, pending } => {
                    return Ok(Answer { body, pending, retries, resends });
                }
                Tried::Pending(pending) => {
                    resends += 1;
                    if pending < fewest_pending {
                        fewest_pending = pending;
                        progress = Instant::now();
                        pause = FIRST_PAUSE;
                    }
                    (format!("{pending} outcomes of the batch are pending"), None)
                }
                Tried::Failed { reason, pause } => {
                    retries += 1;
                    (reason, pause)
                }
            };
            if progress.elapsed() > self.patience {
                let (url, seconds) = (self.endpoint.clone(), self.patience.as_secs());
                return Err(ClientError::Unreachable { url, seconds, last: reason });
            }
            tokio::time::sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_once(&self, body: &Bytes) -> Result<Tried, ClientError> {
        let request = self.http.post(self.endpoint.clone()).body(body.clone());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Ok(failed(&error)),
        };
        let status = answer.status();
        if status != StatusCode::OK {
            return self.judge_status(status, answer.headers());
        }
        let pending = pending(answer.headers());
        match read_body(answer).await {
            Ok(_) if pending > 0 && self.wanted != Wanted::Queued => Ok(Tried::Pending(pending)),
            Ok(body) => Ok(Tried::Final { body, pending }),
            Err(error) => Ok(failed(&error)),
        }
    }

    fn judge_status(&self, status: StatusCode, headers: &HeaderMap) -> Result<Tried, ClientError> {
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let pause = seconds.map(Duration::from_secs);
            return Ok(Tried::Failed { reason: format!("it answered {status}"), pause });
        }
        let hint = match status {
            StatusCode::UNAUTHORIZED => "pass the server's token with --token",
            StatusCode::FORBIDDEN => {
                "the token must allow the business unit (--business-unit) and writing"
            }
            StatusCode::PAYLOAD_TOO_LARGE => "make --batch-size smaller",
            StatusCode::BAD_REQUEST => "is --batch-size beyond the server's limit of items?",
            _ => "is --url a penstock server?",
        };
        Err(ClientError::Refused { url: self.endpoint.clone(), status, hint })
    }
}

fn headers(target: &Target) -> Result<HeaderMap, reqwest::header::InvalidHeaderValue> {
    let mut token = HeaderValue::from_str(&format!("Bearer {}", target.token))?;
    token.set_sensitive(true);
    let preference = HeaderValue::from_str(&target.wanted.preference())?;
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, token),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (reqwest::header::HeaderName::from_static("prefer"), preference),
    ]))
}

fn pending(headers: &HeaderMap) -> u64 {
    headers.get(PENDING).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn failed(error: &reqwest::Error) -> Tried {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    Tried::Failed { reason: deepest.to_string(), pause: None }
}

/// Reads an answer; one beyond the limit is cut there and so does not parse.
async fn read_body(mut answer: reqwest::Response) -> Result<Bytes, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::Response;
    use axum::routing::post;

    use super::*;

    type Script = Vec<(u16, &'static [(&'static str, &'static str)])>;

    /// A server that gives these answers, one after the other.
    async fn server(script: Script) -> Target {
        let answers = Arc::new(Mutex::new(VecDeque::from(script)));
        let answer = move || {
            let (status, headers) = answers.lock().unwrap().pop_front().expect("one request too many");
            let response = Response::builder().status(status);
            let add = |response: axum::http::response::Builder, (name, value): &(&str, &str)| {
                response.header(*name, *value)
            };
            let response = headers.iter().fold(response, add);
            std::future::ready(response.body("{}".to_owned()).unwrap())
        };
        let app = Router::new().route("/amlyze-ws-rest/batch-accounts", post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(axum::serve(listener, app).into_future());
        Target {
            url,
            token: "t".into(),
            wanted: Wanted::Outcomes { wait: Duration::from_secs(1) },
            patience: Duration::from_secs(20),
        }
    }

    async fn send(target: &Target) -> Result<Answer, ClientError> {
        Client::new(target).unwrap().send(&Bytes::from_static(b"{}")).await
    }

    #[tokio::test]
    async fn a_batch_is_sent_until_it_is_taken_and_final() {
        let target = server(vec![
            (503, &[("retry-after", "0")]),
            (500, &[]),
            (200, &[("penstock-pending", "3")]),
            (200, &[("penstock-pending", "0")]),
        ])
        .await;
        let answer = send(&target).await.unwrap();
        assert_eq!((answer.retries, answer.resends, &answer.body[..]), (2, 1, &b"{}"[..]));
    }

    #[tokio::test]
    async fn an_acknowledgement_is_final_when_no_outcome_is_asked_for() {
        let script = vec![(503, &[][..]), (200, &[("penstock-pending", "3")])];
        let target = Target { wanted: Wanted::Queued, ..server(script).await };
        let answer = send(&target).await.unwrap();
        assert_eq!((answer.retries, answer.resends, answer.pending), (1, 0, 3));
    }

    #[tokio::test]
    async fn what_will_not_change_is_not_tried_again() {
        for status in [400, 401, 403, 404, 413] {
            let target = server(vec![(status, &[])]).await;
            let error = send(&target).await.unwrap_err();
            assert!(matches!(error, ClientError::Refused { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn patience_ends() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let target = Target {
            url,
            token: "t".into(),
            wanted: Wanted::Queued,
            patience: Duration::from_millis(100),
        };
        let error = send(&target).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn only_plain_http_is_spoken() {
        let url = "https://localhost".parse().unwrap();
        let wanted = Wanted::Queued;
        let target = Target { url, token: "t".into(), wanted, patience: Duration::ZERO };
        assert!(matches!(Client::new(&target), Err(ClientError::Unusable { what: "--url", .. })));
    }
}
