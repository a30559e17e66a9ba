//! Result events read by an independent implementation of CloudEvents.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use cloudevents::event::{Data, SpecVersion};
use cloudevents::message::{
    BinaryDeserializer, BinarySerializer, Encoding, MessageAttributeValue, MessageDeserializer, Result,
    StructuredDeserializer, StructuredSerializer,
};
use cloudevents::{AttributesReader, Event};
use penstock::account::{Account, EventId, Fingerprint, Outcome, RejectionCode, Timestamp, Verdict};
use penstock::events::ResultEvent;

/// A record of the results topic, read by the rules of the Kafka protocol binding.
struct Record(ResultEvent);

impl BinaryDeserializer for Record {
    fn deserialize_binary<R: Sized, V: BinarySerializer<R>>(self, mut visitor: V) -> Result<R> {
        let headers = self.0.kafka_headers();
        let value = |name: &str| headers.iter().find(|(known, _)| *known == name).unwrap().1.to_string();
        let version = SpecVersion::try_from(value("ce_specversion").as_str())?;
        visitor = visitor.set_spec_version(version)?;
        let content_type = MessageAttributeValue::String(value("content-type"));
        visitor = visitor.set_attribute("datacontenttype", content_type)?;
        for (name, value) in &headers {
            if let Some(attribute) = name.strip_prefix("ce_").filter(|name| *name != "specversion") {
                visitor = visitor
                    .set_attribute(attribute, MessageAttributeValue::String(value.to_string()))?;
            }
        }
        visitor.end_with_data(self.0.data_json()?.to_vec())
    }
}

impl StructuredDeserializer for Record {
    fn deserialize_structured<R: Sized, V: StructuredSerializer<R>>(self, _: V) -> Result<R> {
        Err(cloudevents::message::Error::WrongEncoding {})
    }
}

impl MessageDeserializer for Record {
    fn encoding(&self) -> Encoding {
        Encoding::BINARY
    }
}

fn account(number: &str) -> Account {
    let item = serde_json::json!({
        "communicationNumber": number, "requester": "CORE", "businessUnit": "sandbox",
        "businessEntityExtId": "customer", "accountExtId": "a-1", "accountStatus": "ACTIVE",
        "accountNumber": "LI9208800274335945522", "currencyCode": "EUR", "bankTitle": "Some Bank",
        "openingDate": "2023-09-05T08:07:34.605Z",
    });
    Account::parse(&item.to_string()).unwrap()
}

fn event(number: &str, verdict: Verdict) -> ResultEvent {
    let account = account(number);
    let fingerprint = Fingerprint::of(&account);
    let event_id = EventId::of(&account.communication_number, &fingerprint, verdict);
    let time = Timestamp::parse("2026-11-22T23:59:59.123Z").unwrap();
    ResultEvent::new("penstock", account.communication(), Outcome { verdict, event_id }, time)
}

fn json(event: &Event) -> serde_json::Value {
    match event.data().unwrap() {
        Data::Binary(bytes) => serde_json::from_slice(bytes).unwrap(),
        Data::String(text) => serde_json::from_str(text).unwrap(),
        Data::Json(value) => value.clone(),
    }
}

#[test]
fn an_accepted_communication_is_a_cloud_event() {
    let number = "1b1e1c23-f62f-4338-90b9-8d54993dd2cd";
    let result = event(number, Verdict::Accepted);
    let id = result.id().to_string();
    let read = MessageDeserializer::into_event(Record(result)).unwrap();
    assert_eq!(read.specversion(), SpecVersion::V10);
    assert_eq!(read.id(), id);
    assert_eq!(read.source(), number);
    assert_eq!(read.ty(), "penstock.account.accepted");
    assert_eq!(read.subject(), Some("a-1"));
    assert_eq!(read.time().unwrap().to_rfc3339(), "2026-11-22T23:59:59.123+00:00");
    assert_eq!(read.datacontenttype(), Some("application/json"));
    let expected = serde_json::json!({
        "resultType": "REQUEST_ACCEPTED", "communicationNumber": number, "accountExtId": "a-1",
        "businessUnit": "sandbox", "businessEntityExtId": "customer", "requester": "CORE",
    });
    assert_eq!(json(&read), expected);
}

#[test]
fn a_rejected_communication_tells_its_code() {
    let result = event("n 1/%ä", Verdict::Rejected(RejectionCode::O005));
    let read = MessageDeserializer::into_event(Record(result)).unwrap();
    assert_eq!(read.ty(), "penstock.account.rejected");
    assert_eq!(read.source(), "n 1/%ä");
    let data = json(&read);
    assert_eq!(data["resultType"], "REQUEST_REJECTED");
    assert_eq!(data["errorCode"], "O005");
    assert_eq!(data["errorDescription"], "CommunicationNumber already used in AMLYZE");
}

#[test]
fn an_event_carries_no_data_of_the_account_itself() {
    let result = event("n1", Verdict::Accepted);
    let headers = format!("{:?}", result.kafka_headers());
    let data = String::from_utf8(result.data_json().unwrap().to_vec()).unwrap();
    for personal in ["LI9208800274335945522", "Some Bank"] {
        assert!(!headers.contains(personal) && !data.contains(personal));
    }
}

/// Stored rows and sent events depend on these forms: a change here mints second ids.
#[test]
fn fingerprints_and_event_ids_are_frozen() {
    let account = account("n1");
    let fingerprint = Fingerprint::of(&account);
    assert_eq!(
        format!("{fingerprint:?}"),
        "d8fbee3971b615fd864dca0e2160f8b3c5b58506cf200de3f26e57689018f264"
    );
    let id = |verdict| EventId::of(&account.communication_number, &fingerprint, verdict).to_string();
    assert_eq!(id(Verdict::Accepted), "f07d1a24-5f32-57ea-93a5-1c8151ab712f");
    assert_eq!(id(Verdict::Rejected(RejectionCode::A001)), "692fc2e3-ea81-5eb7-baff-88004bfe35af");
}
