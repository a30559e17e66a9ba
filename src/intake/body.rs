//! Request bodies: admitted by their headers before a byte is read, then read within bounds. What
//! all requests together hold in memory is bounded by a budget of bytes; whoever finds it exhausted
//! is refused at once instead of waiting. A body takes from the budget as it arrives: what is only
//! declared takes nothing away from others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::Metrics;

use super::errors::{Refusal, Unavailable, UnsupportedMedia};

/// Bytes are taken from the budget in steps of this size, up to the length that was declared.
const RESERVATION_STEP: usize = 64 * 1_024;
/// What a request takes from the budget whatever its body: it has tasks, headers and an answer.
const LEAST_RESERVATION: usize = 4 * 1_024;

/// The door of the endpoints that take a body; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    budget: Arc<Semaphore>,
    max_body_bytes: usize,
    timeout: Duration,
    metrics: Metrics,
}

/// Bytes taken from the budget; given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Reservation(Arc<Reserved>);

#[derive(Debug)]
struct Reserved {
    permit: Mutex<OwnedSemaphorePermit>,
    budget: Arc<Semaphore>,
    metrics: Metrics,
}

impl Reservation {
    fn take(gate: &Gate, bytes: usize) -> Result<Self, Refusal> {
        let permit = acquire(&gate.budget, bytes)?;
        gate.metrics.bytes_in_flight(signed(bytes));
        let (budget, metrics) = (Arc::clone(&gate.budget), gate.metrics.clone());
        Ok(Self(Arc::new(Reserved { permit: Mutex::new(permit), budget, metrics })))
    }

    /// Makes sure that at least `bytes` are reserved, in steps that end at `expected`.
    fn cover(&self, bytes: usize, expected: usize) -> Result<(), Refusal> {
        let mut permit = self.0.permit.lock().unwrap_or_else(PoisonError::into_inner);
        let held = permit.num_permits();
        if bytes <= held {
            return Ok(());
        }
        let more = bytes.next_multiple_of(RESERVATION_STEP).min(expected).max(bytes) - held;
        permit.merge(acquire(&self.0.budget, more)?);
        self.0.metrics.bytes_in_flight(signed(more));
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let held = self.permit.get_mut().unwrap_or_else(PoisonError::into_inner).num_permits();
        self.metrics.bytes_in_flight(-signed(held));
    }
}

fn acquire(budget: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    let permits = u32::try_from(bytes).ok();
    permits
        .and_then(|permits| Arc::clone(budget).try_acquire_many_owned(permits).ok())
        .ok_or(Refusal::Unavailable(Unavailable::BytesInFlight))
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What was read of a request.
#[derive(Debug)]
pub(super) struct ReadBody {
    /// The body, decoded.
    pub(super) bytes: Bytes,
    /// Holds its place in the budget.
    pub(super) reservation: Reservation,
}

impl Gate {
    /// Bounds one body to `max_body_bytes` and all together to `max_bytes_in_flight`, or to one
    /// body if that is more. A body must have arrived within `timeout`.
    pub(super) fn new(
        max_body_bytes: usize,
        max_bytes_in_flight: usize,
        timeout: Duration,
        metrics: Metrics,
    ) -> Self {
        let budget = max_bytes_in_flight.max(max_body_bytes).min(Semaphore::MAX_PERMITS);
        Self { budget: Arc::new(Semaphore::new(budget)), max_body_bytes, timeout, metrics }
    }

    /// Refuses what need not be read: too large, not JSON, encoded in an unknown way, or no room for it
    /// now.
    fn admit(&self, headers: &HeaderMap) -> Result<Reservation, Refusal> {
        let declared = declared_length(headers);
        if declared > self.max_body_bytes {
            return Err(self.too_large());
        }
        check_encoding(headers)?;
        check_type(headers)?;
        if declared > self.budget.available_permits() {
            return Err(Refusal::Unavailable(Unavailable::BytesInFlight));
        }
        Reservation::take(self, LEAST_RESERVATION.min(self.max_body_bytes))
    }

    /// Reads an admitted body to its end.
    pub(super) async fn read(&self, request: Request) -> Result<ReadBody, Refusal> {
        let (parts, body) = request.into_parts();
        let reservation = match parts.extensions.get::<Reservation>() {
            Some(reservation) => reservation.clone(),
            None => self.admit(&parts.headers)?,
        };
        let declared = declared_length(&parts.headers);
        let collected = self.collect(body, declared, &reservation);
        let bytes =
            tokio::time::timeout(self.timeout, collected).await.map_err(|_| Refusal::Timeout)??;
        Ok(ReadBody { bytes, reservation })
    }

    async fn collect(
        &self,
        mut body: Body,
        declared: usize,
        reservation: &Reservation,
    ) -> Result<Bytes, Refusal> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::BrokenBody)?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > self.max_body_bytes {
                return Err(self.too_large());
            }
            // A compressed body is longer than declared, and one without a length may be of any.
            let is_declared = (1..=declared).contains(&length);
            reservation.cover(length, if is_declared { declared } else { self.max_body_bytes })?;
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    fn too_large(&self) -> Refusal {
        Refusal::BodyTooLarge { max_bytes: self.max_body_bytes }
    }
}

/// Middleware: admits a request by its headers.
pub(super) async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    match gate.admit(request.headers()) {
        Ok(reservation) => {
            request.extensions_mut().insert(reservation);
            spell_encoding(request.headers_mut());
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// The length a request declares; 0 when it does not. HTTP itself has refused what is no number.
fn declared_length(headers: &HeaderMap) -> usize {
    let text = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    // What does not fit is larger than any limit.
    text.map_or(0, |text| text.parse().unwrap_or(usize::MAX))
}

/// The encodings that are taken, as the decoder spells them.
const ENCODINGS: [&str; 3] = ["gzip", "zstd", "identity"];

/// The known encoding that a value names; case does not count.
fn known_encoding(value: &HeaderValue) -> Option<&'static str> {
    ENCODINGS.into_iter().find(|known| value.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let known = match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => known_encoding(value).is_some(),
        (Some(_), Some(_)) => false,
    };
    if known { Ok(()) } else { Err(Refusal::UnsupportedMedia(UnsupportedMedia::Encoding)) }
}

/// Spells a known encoding as the decoder does, which knows it in no other way.
fn spell_encoding(headers: &mut HeaderMap) {
    if let Some(known) = headers.get(CONTENT_ENCODING).and_then(known_encoding) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(known));
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let is_json = essence.trim().eq_ignore_ascii_case("application/json");
    let is_utf8 =
        parameters.split(';').filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    if is_json && is_utf8 { Ok(()) } else { Err(Refusal::UnsupportedMedia(UnsupportedMedia::Type)) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    const MAX: usize = 1_000_000;

    fn gate(max_bytes_in_flight: usize) -> Gate {
        Gate::new(MAX, max_bytes_in_flight, Duration::from_secs(5), Metrics::disabled())
    }

    fn headers(list: &[(HeaderName, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn json(length: &'static str) -> HeaderMap {
        headers(&[(CONTENT_TYPE, "application/json"), (CONTENT_LENGTH, length)])
    }

    #[test]
    fn only_json_in_utf8_is_taken() {
        for good in ["application/json", "Application/JSON", "application/json; charset=\"UTF-8\"; x=y"]
        {
            assert!(check_type(&headers(&[(CONTENT_TYPE, good)])).is_ok(), "{good}");
        }
        for bad in ["", "text/json", "application/jsonp", "application/json; charset=latin1"] {
            assert!(check_type(&headers(&[(CONTENT_TYPE, bad)])).is_err(), "{bad}");
        }
        assert!(check_type(&HeaderMap::new()).is_err());
    }

    #[test]
    fn only_known_encodings_are_taken_and_one_at_a_time() {
        assert!(check_encoding(&HeaderMap::new()).is_ok());
        for good in ["gzip", "zstd", "identity", "GZIP"] {
            assert!(check_encoding(&headers(&[(CONTENT_ENCODING, good)])).is_ok(), "{good}");
        }
        let mut loud = headers(&[(CONTENT_ENCODING, "ZStd")]);
        spell_encoding(&mut loud);
        assert_eq!(loud[CONTENT_ENCODING], "zstd");
        for bad in ["br", "gzip, zstd", "deflate", ""] {
            assert!(check_encoding(&headers(&[(CONTENT_ENCODING, bad)])).is_err(), "{bad}");
        }
        let mut twice = headers(&[(CONTENT_ENCODING, "gzip")]);
        twice.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(check_encoding(&twice).is_err());
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let gate = gate(MAX + 500_000);
        let first = gate.admit(&json("1000000")).unwrap();
        first.cover(1_000_000, MAX).unwrap();
        assert!(matches!(
            gate.admit(&json("600000")),
            Err(Refusal::Unavailable(Unavailable::BytesInFlight))
        ));
        let second = gate.admit(&json("400000")).unwrap();
        second.cover(400_000, 400_000).unwrap();
        assert!(second.cover(600_000, MAX).is_err());
        drop(first);
        assert!(second.cover(600_000, MAX).is_ok());
        drop(second);
        assert_eq!(gate.budget.available_permits(), MAX + 500_000);
    }

    #[test]
    fn what_is_only_declared_takes_nothing_away_from_others() {
        let gate = gate(MAX);
        let silent: Vec<_> = (0..100).map(|_| gate.admit(&json("500000")).unwrap()).collect();
        assert_eq!(gate.budget.available_permits(), MAX - 100 * LEAST_RESERVATION);
        let sent = gate.admit(&json("200000")).unwrap();
        sent.cover(100_000, 200_000).unwrap();
        sent.cover(200_000, 200_000).unwrap();
        drop(sent);
        drop(silent);
        assert_eq!(gate.budget.available_permits(), MAX);
    }

    #[test]
    fn a_body_declared_too_large_is_not_admitted() {
        for length in ["1000001", "1073741824", "99999999999999999999999999"] {
            assert!(matches!(
                gate(0).admit(&json(length)),
                Err(Refusal::BodyTooLarge { max_bytes: MAX })
            ));
        }
    }

    #[tokio::test]
    async fn a_body_without_length_is_read_up_to_the_limit() {
        let gate = gate(0);
        let request = |size: usize| {
            let chunks = std::iter::repeat_n(Bytes::from_static(&[b' '; 1_000]), size / 1_000);
            let stream = futures_util::stream::iter(chunks.map(Ok::<_, std::convert::Infallible>));
            let mut request = Request::new(Body::from_stream(stream));
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request
        };
        let read = gate.read(request(MAX)).await.unwrap();
        assert_eq!(read.bytes.len(), MAX);
        assert_eq!(gate.budget.available_permits(), 0);
        drop(read);
        assert!(matches!(gate.read(request(MAX + 1_000)).await, Err(Refusal::BodyTooLarge { .. })));
        assert_eq!(gate.budget.available_permits(), MAX);
    }
}
