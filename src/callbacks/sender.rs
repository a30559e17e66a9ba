//! What goes over the wire, and the port to whoever puts it there.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use uuid::Builder;

use crate::account::Timestamp;
use crate::events::{
    BATCH_CONTENT_TYPE, CloudEvent, STRUCTURED_CONTENT_TYPE, batch_json, structured_json,
};
use crate::store::EndpointName;

use super::attempt::{Answer, NoAnswer};
use super::endpoint::Endpoint;
use super::handshake::{Permission, Question, REQUEST_ORIGIN};
use super::signature::webhook_headers;

/// Headers that a request usually has, and the bytes of their values.
const USUAL_HEADERS: usize = 16;
const USUAL_HEADER_BYTES: usize = 512;

/// Headers of a request. All values lie one after the other in one piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Names, each with the end of its value.
    names: Vec<(Cow<'static, str>, usize)>,
    values: Bytes,
}

impl Headers {
    /// All headers in their order; the values share one piece of memory.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Cow<'static, str>, Bytes)> {
        let mut start = 0;
        self.names.iter().map(move |(name, end)| {
            let value = self.values.slice(start..*end);
            start = *end;
            (name, value)
        })
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.iter().find(|(known, _)| known.as_ref() == name).map(|(_, value)| value)
    }
}

impl<N, V> FromIterator<(N, V)> for Headers
where
    N: Into<Cow<'static, str>>,
    V: AsRef<str>,
{
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let (mut names, mut values) =
            (Vec::with_capacity(USUAL_HEADERS), Vec::with_capacity(USUAL_HEADER_BYTES));
        for (name, value) in headers {
            values.extend_from_slice(value.as_ref().as_bytes());
            names.push((name.into(), values.len()));
        }
        Self { names, values: Bytes::from(values) }
    }
}

/// One request to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Names and values of the headers, all printable ASCII.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// The request that brings events to an endpoint, signed for an attempt that begins `at`: one event
    /// in binary or structured mode, or as many as there are in batch mode.
    pub fn of(
        endpoint: &Endpoint,
        events: &[Arc<CloudEvent>],
        at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let (id, alone, json, body) = match events {
            [event] if endpoint.batch <= 1 && endpoint.is_structured => {
                (event.id.to_string(), None, Some(STRUCTURED_CONTENT_TYPE), structured_json(event)?)
            }
            [event] if endpoint.batch <= 1 => {
                (event.id.to_string(), Some(event), None, event.data.clone())
            }
            events => {
                let body = batch_json(events.iter().map(AsRef::as_ref))?;
                (batch_id(events), None, Some(BATCH_CONTENT_TYPE), body)
            }
        };
        let json = json.map(|content_type| ("content-type".into(), content_type.into()));
        let keys = endpoint.keys.now();
        let signed = webhook_headers(&keys, &id, at, &body);
        let origin = endpoint.handshake.as_ref().map(|question| question.origin.as_str());
        let headers = (json.into_iter())
            .chain(alone.into_iter().flat_map(|event| event.http_headers()))
            .chain(signed.map(|(name, value)| (name.into(), value.into())))
            .chain(origin.map(|origin| (REQUEST_ORIGIN.into(), origin.into())))
            .collect();
        Ok(Self { endpoint: endpoint.name.clone(), headers, body })
    }
}

/// Id of a request with several events: the same for the same events in the same order.
fn batch_id(events: &[Arc<CloudEvent>]) -> String {
    let mut digest = Sha1::new();
    for event in events {
        digest.update(event.id.0.as_bytes());
    }
    let digest: [u8; 20] = digest.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Builder::from_sha1_bytes(id).into_uuid().to_string()
}

/// Sends requests; cheap to clone.
pub trait Sender: Clone + Send + Sync + 'static {
    /// Sends a request once and reads the answer, within the endpoint's bounds of time and size. It
    /// follows no redirect and tries nothing again.
    fn send(&self, request: Request) -> impl Future<Output = Result<Answer, NoAnswer>> + Send;

    /// Asks a receiver once whether it takes events, within the same bounds.
    fn ask(
        &self,
        endpoint: EndpointName,
        question: Question,
    ) -> impl Future<Output = Result<Permission, NoAnswer>> + Send;
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::account::EventId;
    use crate::callbacks::handshake::SenderOrigin;
    use crate::callbacks::routing::{DeliverFrom, Filter};
    use crate::callbacks::signature::SigningKey;

    fn endpoint(batch: usize) -> Endpoint {
        Endpoint {
            name: EndpointName::parse("risk").unwrap(),
            filter: Filter::default(),
            deliver_from: DeliverFrom::Configured,
            keys: vec![SigningKey::symmetric([1; 32]), SigningKey::asymmetric([2; 32])].into(),
            is_ordered: false,
            batch,
            is_structured: false,
            concurrency: 1,
            rate: None,
            drain_rate: None,
            handshake: None,
        }
    }

    fn event(number: u32) -> Arc<CloudEvent> {
        Arc::new(CloudEvent {
            id: EventId(Uuid::from_u128(number.into())),
            source: format!("n {number}"),
            event_type: "penstock.account.accepted".to_owned(),
            further: Vec::new(),
            trace: Vec::new(),
            data: Bytes::from_static(b"{\"a\": 1}"),
        })
    }

    fn names(request: &Request) -> Vec<&str> {
        request.headers.iter().map(|(name, _)| name.as_ref()).collect()
    }

    fn header(request: &Request, name: &str) -> String {
        String::from_utf8(request.headers.get(name).unwrap().to_vec()).unwrap()
    }

    const AT: i64 = 1_700_000_000_123;

    #[test]
    fn one_event_is_sent_in_binary_mode_under_its_own_id() {
        let at = Timestamp::from_unix_millis(AT);
        let request = Request::of(&endpoint(1), &[event(1)], at).unwrap();
        let expected = [
            "content-type",
            "ce-specversion",
            "ce-id",
            "ce-source",
            "ce-type",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        ];
        assert_eq!(names(&request), expected);
        assert_eq!(request.body, event(1).data);
        assert_eq!(header(&request, "webhook-id"), header(&request, "ce-id"));
        assert_eq!(header(&request, "webhook-timestamp"), "1700000000");
        let signatures = header(&request, "webhook-signature");
        let signatures: Vec<&str> = signatures.split(' ').collect();
        assert!(signatures[0].starts_with("v1,") && signatures[1].starts_with("v1a,"));
        assert!(request.headers.iter().all(|(_, value)| value.is_ascii()));
    }

    #[test]
    fn in_structured_mode_the_signature_covers_the_attributes_too() {
        let at = Timestamp::from_unix_millis(AT);
        let endpoint = Endpoint { is_structured: true, ..endpoint(1) };
        let request = Request::of(&endpoint, &[event(1)], at).unwrap();
        let expected = ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature"];
        assert_eq!(names(&request), expected);
        assert_eq!(header(&request, "content-type"), "application/cloudevents+json");
        let sent: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            (&sent["type"], &sent["data"]["a"]),
            (&"penstock.account.accepted".into(), &1.into())
        );
        assert_eq!(sent["id"], header(&request, "webhook-id"));
    }

    #[test]
    fn who_was_asked_for_consent_hears_the_same_origin_with_every_event() {
        let origin = SenderOrigin::parse("penstock.bank.example").unwrap();
        let handshake = Some(Question { origin, requests_per_minute: None });
        let endpoint = Endpoint { handshake, ..endpoint(1) };
        let request = Request::of(&endpoint, &[event(1)], Timestamp::from_unix_millis(AT)).unwrap();
        assert_eq!(header(&request, "webhook-request-origin"), "penstock.bank.example");
    }

    #[test]
    fn a_later_attempt_has_the_same_id_and_another_time() {
        let of = |at| Request::of(&endpoint(1), &[event(1)], Timestamp::from_unix_millis(at)).unwrap();
        let (first, second) = (of(AT), of(AT + 5_000));
        assert_eq!(header(&first, "webhook-id"), header(&second, "webhook-id"));
        assert_ne!(header(&first, "webhook-timestamp"), header(&second, "webhook-timestamp"));
        assert_ne!(header(&first, "webhook-signature"), header(&second, "webhook-signature"));
    }

    #[test]
    fn several_events_are_one_batch_with_an_id_of_its_own() {
        let of = |events: &[Arc<CloudEvent>]| {
            Request::of(&endpoint(10), events, Timestamp::from_unix_millis(AT)).unwrap()
        };
        let request = of(&[event(1), event(2)]);
        assert_eq!(header(&request, "content-type"), "application/cloudevents-batch+json");
        let events: Vec<serde_json::Value> = serde_json::from_slice(&request.body).unwrap();
        assert_eq!((events.len(), &events[1]["source"]), (2, &"n 2".into()));
        assert_eq!(of(&[event(1), event(2)]), request);
        assert_ne!(header(&of(&[event(2)]), "webhook-id"), header(&request, "webhook-id"));
        let alone: Vec<serde_json::Value> = serde_json::from_slice(&of(&[event(2)]).body).unwrap();
        assert_eq!(alone.len(), 1, "one event is a batch too where batches are expected");
    }
}
