//! A result event as it travels: read from the results topic, written to HTTP.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::account::{EventId, Timestamp};

const SPEC_VERSION: &str = "1.0";
const JSON: &str = "application/json";
/// Media type of one event whose attributes are part of the body.
pub const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json";
/// Media type of a batch of events in one request.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// Why a record is no event that can be told on. Never quotes the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEvent {
    /// A mandatory attribute is missing, empty or no text.
    #[error("{0} is missing or no text")]
    Attribute(&'static str),
    /// It follows another version of the specification.
    #[error("ce_specversion is not 1.0")]
    SpecVersion,
    /// Its id is none that penstock gives.
    #[error("ce_id is not a UUID")]
    Id,
    /// It is in structured mode, or its data is something else than JSON.
    #[error("the content type is not application/json")]
    ContentType,
    /// The data is no JSON.
    #[error("the data is not JSON")]
    Data,
}

/// One event as CloudEvents 1.0.2 has it, with JSON data. Its `Debug` shows its id, its type and how much
/// data there is: the rest is personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct CloudEvent {
    /// `id`.
    pub id: EventId,
    /// `source`: the communication's number.
    pub source: String,
    /// `type`.
    pub event_type: String,
    /// Every other attribute in its order: `subject`, `time`, extensions.
    pub further: Vec<(String, String)>,
    /// W3C `traceparent` and `tracestate` that travel beside the event.
    pub trace: Vec<(String, String)>,
    /// The data, valid JSON.
    pub data: Bytes,
}

impl std::fmt::Debug for CloudEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudEvent")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl CloudEvent {
    /// Reads a record in Kafka's binary mode: `content-type`, `ce_…` headers and the value.
    pub fn from_kafka<'h>(
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
        value: Bytes,
    ) -> Result<Self, NotAnEvent> {
        let mut attributes = Vec::new();
        let mut trace = Vec::new();
        let mut content_type = None;
        for (name, bytes) in headers {
            let text = || std::str::from_utf8(bytes).ok();
            if name.eq_ignore_ascii_case("content-type") {
                content_type = text();
            } else if let Some(attribute) = name.strip_prefix("ce_") {
                let value = text().ok_or(NotAnEvent::Attribute("an attribute"))?;
                attributes.push((attribute.to_owned(), value.to_owned()));
            } else if matches!(name, "traceparent" | "tracestate") {
                trace.extend(text().map(|value| (name.to_owned(), value.to_owned())));
            }
        }
        let is_json = content_type.is_some_and(|found| essence(found).eq_ignore_ascii_case(JSON));
        if !is_json {
            return Err(NotAnEvent::ContentType);
        }
        Self::from_attributes(attributes, trace, value)
    }

    /// Makes an event of its attributes without their prefix, what goes beside it, and its data.
    pub fn from_attributes(
        mut attributes: Vec<(String, String)>,
        trace: Vec<(String, String)>,
        data: Bytes,
    ) -> Result<Self, NotAnEvent> {
        let mut take = |name: &'static str, shown: &'static str| {
            let place = attributes.iter().position(|(known, value)| known == name && !value.is_empty());
            place.map(|place| attributes.remove(place).1).ok_or(NotAnEvent::Attribute(shown))
        };
        if take("specversion", "ce_specversion")? != SPEC_VERSION {
            return Err(NotAnEvent::SpecVersion);
        }
        let id = Uuid::parse_str(&take("id", "ce_id")?).map_err(|_| NotAnEvent::Id)?;
        let (source, event_type) = (take("source", "ce_source")?, take("type", "ce_type")?);
        serde_json::from_slice::<&RawValue>(&data).map_err(|_| NotAnEvent::Data)?;
        Ok(Self { id: EventId(id), source, event_type, further: attributes, trace, data })
    }

    /// `time`, if it tells one. Of penstock's own events it is when the submission was appended to the log.
    pub fn time(&self) -> Option<Timestamp> {
        let (_, time) = self.further.iter().find(|(name, _)| name == "time")?;
        Timestamp::parse(time).ok()
    }

    /// Every attribute in the order in which they are written.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let first = [
            ("specversion", Cow::Borrowed(SPEC_VERSION)),
            ("id", Cow::Owned(self.id.to_string())),
            ("source", Cow::Borrowed(self.source.as_str())),
            ("type", Cow::Borrowed(self.event_type.as_str())),
        ];
        let further =
            self.further.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str())));
        first.into_iter().chain(further)
    }

    /// The headers of HTTP's binary mode: `content-type`, `ce-…` with encoded values, and the trace's.
    /// The body is the data.
    pub fn http_headers(&self) -> impl Iterator<Item = (Cow<'static, str>, Cow<'_, str>)> {
        let attributes = self.attributes().map(|(name, value)| (header_name(name), header_value(value)));
        let trace = self
            .trace
            .iter()
            .map(|(name, value)| (trace_header_name(name), header_value(Cow::Borrowed(value.as_str()))));
        std::iter::once(("content-type".into(), JSON.into())).chain(attributes).chain(trace)
    }
}

/// The body of a request with one event in structured mode: its attributes are part of it.
pub fn structured_json(event: &CloudEvent) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(&JsonFormat(event)).map(Bytes::from)
}

/// The body of a request with several events, in JSON batch format.
pub fn batch_json<'e>(events: impl Iterator<Item = &'e CloudEvent>) -> Result<Bytes, serde_json::Error> {
    let elements: Vec<JsonFormat<'_>> = events.map(JsonFormat).collect();
    serde_json::to_vec(&elements).map(Bytes::from)
}

/// An event in JSON format: its attributes as members beside `data`.
struct JsonFormat<'e>(&'e CloudEvent);

impl Serialize for JsonFormat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data: &RawValue = serde_json::from_slice(&self.0.data).map_err(serde::ser::Error::custom)?;
        let mut members = serializer.serialize_map(None)?;
        for (name, value) in self.0.attributes() {
            members.serialize_entry(name, &value)?;
        }
        members.serialize_entry("datacontenttype", JSON)?;
        members.serialize_entry("data", data)?;
        members.end()
    }
}

/// The header of an attribute. The names that penstock gives are not written anew for every event.
fn header_name(attribute: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 8] = [
        "ce-specversion",
        "ce-id",
        "ce-source",
        "ce-type",
        "ce-subject",
        "ce-time",
        "ce-traceparent",
        "ce-tracestate",
    ];
    let is_it = |known: &&&str| known.strip_prefix("ce-") == Some(attribute);
    KNOWN.iter().find(is_it).map_or_else(|| format!("ce-{attribute}").into(), |known| (*known).into())
}

fn trace_header_name(name: &str) -> Cow<'static, str> {
    match name {
        "traceparent" => "traceparent".into(),
        "tracestate" => "tracestate".into(),
        other => other.to_owned().into(),
    }
}

/// What the HTTP binding does not write into a header as it is, besides what is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// A value as the HTTP binding writes it into a header: what is no printable ASCII, and space, `"` and
/// `%`, become percent-encoded UTF-8.
fn header_value(value: Cow<'_, str>) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(text) => utf8_percent_encode(text, ESCAPED).into(),
        Cow::Owned(text) => utf8_percent_encode(&text, ESCAPED).to_string().into(),
    }
}

/// A media type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "6f1c1c1e-9d7c-5c5e-8f2e-0a1b2c3d4e5f";

    #[test]
    fn debug_shows_no_data_of_the_communication() {
        let canary = || "CANARY".to_owned();
        let event = CloudEvent {
            id: EventId(uuid::Uuid::nil()),
            source: canary(),
            event_type: "penstock.test".to_owned(),
            further: vec![("subject".to_owned(), canary())],
            trace: Vec::new(),
            data: Bytes::from_static(b"CANARY"),
        };
        let shown = format!("{event:?}");
        assert!(shown.contains("penstock.test") && !shown.contains("CANARY"), "{shown}");
        assert!(!shown.contains("67, 65"), "{shown}");
    }

    fn headers<'h>(source: &'h str, content_type: &'h str) -> Vec<(&'h str, &'h [u8])> {
        vec![
            ("content-type", content_type.as_bytes()),
            ("ce_specversion", b"1.0"),
            ("ce_id", ID.as_bytes()),
            ("ce_source", source.as_bytes()),
            ("ce_type", b"penstock.account.accepted"),
            ("ce_subject", b"acc-1"),
            ("ce_time", b"2026-11-24T08:00:00Z"),
            ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("other", b"stays"),
        ]
    }

    fn event(source: &str) -> CloudEvent {
        let data = Bytes::from_static(b"{\"resultType\": \"REQUEST_ACCEPTED\"}");
        CloudEvent::from_kafka(headers(source, "application/json; charset=utf-8").into_iter(), data)
            .unwrap()
    }

    fn header(event: &CloudEvent, name: &str) -> Option<String> {
        let mut headers = event.http_headers();
        headers.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    #[test]
    fn a_record_becomes_a_request_with_the_same_attributes() {
        let event = event("n-1");
        let headers: Vec<_> =
            event.http_headers().map(|(name, value)| format!("{name}: {value}")).collect();
        let expected = [
            "content-type: application/json",
            "ce-specversion: 1.0",
            &format!("ce-id: {ID}"),
            "ce-source: n-1",
            "ce-type: penstock.account.accepted",
            "ce-subject: acc-1",
            "ce-time: 2026-11-24T08:00:00Z",
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn values_are_encoded_as_the_binding_says() {
        for (plain, encoded) in [
            ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("100% \"sure\"", "100%25%20%22sure%22"),
            ("line\nbreak\t\u{7f}", "line%0Abreak%09%7F"),
            ("a/b?c=d&e~!'()", "a/b?c=d&e~!'()"),
        ] {
            assert_eq!(header(&event(plain), "ce-source").as_deref(), Some(encoded), "{plain}");
        }
    }

    #[test]
    fn a_batch_has_each_event_with_its_data_as_it_was() {
        let body = batch_json([event("n-1"), event("n 2")].iter()).unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("\"data\":{\"resultType\": \"REQUEST_ACCEPTED\"}"), "{text}");
        let events: Vec<serde_json::Map<_, _>> = serde_json::from_slice(&body).unwrap();
        assert_eq!(events[1]["source"], "n 2");
        assert_eq!(events[1]["datacontenttype"], JSON);
        assert_eq!(events[1]["specversion"], "1.0");
    }

    #[test]
    fn what_is_no_event_is_told_without_its_content() {
        let read = |headers: Vec<(&'static str, &'static [u8])>, value: &'static [u8]| {
            CloudEvent::from_kafka(headers.into_iter(), Bytes::from_static(value)).unwrap_err()
        };
        let good = || headers("n-1", "application/json");
        let without = |name| good().into_iter().filter(|(known, _)| *known != name).collect();
        let with = |name, value| {
            let mut changed = good();
            changed.iter_mut().filter(|(known, _)| *known == name).for_each(|header| header.1 = value);
            changed
        };
        assert_eq!(read(without("ce_type"), b"{}"), NotAnEvent::Attribute("ce_type"));
        assert_eq!(read(with("ce_source", b""), b"{}"), NotAnEvent::Attribute("ce_source"));
        assert_eq!(read(with("ce_subject", b"\xff"), b"{}"), NotAnEvent::Attribute("an attribute"));
        assert_eq!(read(with("ce_specversion", b"0.3"), b"{}"), NotAnEvent::SpecVersion);
        assert_eq!(read(with("ce_id", b"7"), b"{}"), NotAnEvent::Id);
        assert_eq!(read(without("content-type"), b"{}"), NotAnEvent::ContentType);
        let structured = with("content-type", b"application/cloudevents+json");
        assert_eq!(read(structured, b"{}"), NotAnEvent::ContentType);
        assert_eq!(read(good(), b"{"), NotAnEvent::Data);
        assert_eq!(read(good(), b""), NotAnEvent::Data);
    }

    /// Decodes as the binding tells receivers to.
    fn decoded(value: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = value.as_bytes();
        while let [first, tail @ ..] = rest {
            if *first == b'%' {
                let hex = std::str::from_utf8(&tail[..2]).unwrap();
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &tail[2..];
            } else {
                bytes.push(*first);
                rest = tail;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_a_header(text in any::<String>()) {
            let value = header_value(Cow::Borrowed(&text));
            prop_assert!(value.bytes().all(|byte| matches!(byte, 0x21..=0x7e)));
            prop_assert_eq!(decoded(&value), text);
        }
    }
}
