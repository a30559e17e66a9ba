//! What every request goes through, whatever becomes of it: a request id, a span, the checks that
//! need no route, the error form and one line in the log. No line holds what was sent.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use tracing::field::Empty;
use uuid::Uuid;

use crate::telemetry::semantic::header::{TRACEPARENT, TRACESTATE};
use crate::telemetry::{Metrics, ServedRequest, TraceContext};

use super::answers::millis;
use super::arrival::Arrival;
use super::auth::Authenticator;
use super::errors::{Refusal, finish};
use super::routes::BATCH_ACCOUNTS;

/// The header that carries the request id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// What the outermost layer needs.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) authenticator: Authenticator,
    pub(super) metrics: Metrics,
    pub(super) max_header_bytes: usize,
}

/// Middleware, outermost: turns whatever is answered into a complete answer and logs it.
pub(super) async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(request.headers());
    let path = request.uri().path().to_owned();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let matched = matched.as_ref().map(MatchedPath::as_str);
    let route = matched.unwrap_or("none");
    let method = known_method(request.method());
    let client = client_trace(request.headers());
    let served = ServedRequest::start(&observer.metrics, method, matched, client.as_ref());
    let place = served.span().clone();
    // A span of the highest level, so that a line of any level has its fields.
    let span = tracing::error_span!(
        "request",
        request_id = request_id.to_str().unwrap_or_default(),
        method = method.unwrap_or("other"),
        route,
        client = Empty,
        batch_id = Empty,
        items = Empty,
        bytes = Empty,
    );
    let (request, arrival) = Arrival::follow(request);
    let answered = async {
        let response = match observer.admit(&request) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        };
        let mut response = finish(response, &path, started.elapsed());
        response.headers_mut().insert(REQUEST_ID, request_id);
        arrival.tell(&mut response);
        let (status, duration) = (response.status().as_u16(), started.elapsed());
        tracing::info!(status, duration_ms = millis(duration), "request answered");
        if route == BATCH_ACCOUNTS {
            observer.metrics.batch_answered(status, duration);
        }
        served.answered(&observer.metrics, status);
        response
    };
    place.scope(answered.instrument(span)).await
}

/// The answer to a request whose handler panicked.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    // The panic's text may quote data, so it is not logged here.
    tracing::error!("a request handler panicked");
    Refusal::Internal.into_response()
}

impl Observer {
    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        if !self.authenticator.admits(peer.map(|ConnectInfo(address)| address.ip())) {
            return Err(Refusal::ForeignAddress);
        }
        let header_bytes: usize =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if header_bytes > self.max_header_bytes {
            return Err(Refusal::HeadersTooLarge { max_bytes: self.max_header_bytes });
        }
        Ok(())
    }
}

/// The client's request id if it is a short token, otherwise a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane = |value: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&value.len())
            && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    headers.get(REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// A method's name, if HTTP knows it; others may be anything.
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// The place in a trace that the client asks from. Two places are none; the parts of a state that is
/// told in several headers belong together.
fn client_trace(headers: &HeaderMap) -> Option<TraceContext> {
    let mut places = headers.get_all(TRACEPARENT).iter();
    let (Some(place), None) = (places.next(), places.next()) else { return None };
    let states: Vec<_> = headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
    let state = states.join(&b","[..]);
    TraceContext::parse(place.as_bytes(), (!state.is_empty()).then_some(&state[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_tokens_are_taken_over_as_request_ids() {
        let id = |text: &str| {
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            request_id(&HeaderMap::from_iter([(REQUEST_ID, value)])).to_str().unwrap().to_owned()
        };
        assert_eq!(id("a-B_9.z"), "a-B_9.z");
        for bad in ["", "a b", "é", "a\"b", &"a".repeat(65)] {
            assert!(Uuid::parse_str(&id(bad)).is_ok(), "{bad:?}");
        }
    }
}
