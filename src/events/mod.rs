//! Result events: what became of a communication, as CloudEvents 1.0.2.
//!
//! An event is a function of the communication and its outcome; sending it twice sends the same id
//! and the same data.

mod cloud_event;
mod told;

use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use crate::account::{Communication, EventId, Outcome, Timestamp, Verdict};

pub use cloud_event::{
    BATCH_CONTENT_TYPE, CloudEvent, NotAnEvent, STRUCTURED_CONTENT_TYPE, batch_json, structured_json,
};
pub use told::told_by;

/// `resultType` of an accepted communication.
pub const REQUEST_ACCEPTED: &str = "REQUEST_ACCEPTED";
/// `resultType` of a rejected communication.
pub const REQUEST_REJECTED: &str = "REQUEST_REJECTED";

/// The attribute, as Kafka's binary mode names it, of an event that a replay caused: the name of the job.
pub const REPLAY_ATTRIBUTE: &str = "ce_replay";
/// The header that tells the same to readers of the topic who know no CloudEvents.
pub const REPLAY_HEADER: &str = "penstock-replay";

/// Of an event's data as JSON.
const USUAL_DATA_BYTES: usize = 384;

/// `type` of the event that tells `verdict`: `<type_prefix>.account.accepted` or `….rejected`.
pub fn event_type(type_prefix: &str, verdict: Verdict) -> String {
    let verdict = match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Rejected(_) => "rejected",
    };
    format!("{type_prefix}.account.{verdict}")
}

/// An event that tells nothing, by which an operator tries an endpoint: of type `<type_prefix>.test`.
pub fn test_event(type_prefix: &str, id: EventId, time: Timestamp) -> CloudEvent {
    CloudEvent {
        id,
        source: "penstock-test".to_owned(),
        event_type: format!("{type_prefix}.test"),
        further: vec![("time".to_owned(), time.to_string())],
        trace: Vec::new(),
        data: Bytes::from_static(br#"{"test":true}"#),
    }
}

/// One result event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultEvent {
    id: EventId,
    event_type: String,
    communication: Communication,
    verdict: Verdict,
    time: Timestamp,
}

impl ResultEvent {
    /// The event of an outcome; [`event_type`] tells its type. `time` is when the submission was appended to the log.
    pub fn new(
        type_prefix: &str,
        communication: Communication,
        outcome: Outcome,
        time: Timestamp,
    ) -> Self {
        Self {
            id: outcome.event_id,
            event_type: event_type(type_prefix, outcome.verdict),
            communication,
            verdict: outcome.verdict,
            time,
        }
    }

    /// `id`: the same for every copy of this event.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// `type`.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// `source`: the communication's number.
    pub fn source(&self) -> &str {
        self.communication.number.as_str()
    }

    /// `subject`: the account's external id.
    pub fn subject(&self) -> &str {
        self.communication.account.account_ext_id.as_str()
    }

    /// The event's data.
    pub fn data(&self) -> EventData<'_> {
        EventData::new(&self.communication, self.verdict)
    }

    /// The data as JSON: the value of the event in binary mode.
    pub fn data_json(&self) -> Result<Bytes, serde_json::Error> {
        let mut json = Vec::with_capacity(USUAL_DATA_BYTES);
        serde_json::to_writer(&mut json, &self.data())?;
        Ok(Bytes::from(json))
    }

    /// The attributes of Kafka's binary mode in their order: `content-type`, then `ce_…`.
    pub fn kafka_headers(&self) -> [(&'static str, Attribute<'_>); 7] {
        [
            ("content-type", Attribute::Text("application/json")),
            ("ce_specversion", Attribute::Text("1.0")),
            ("ce_id", Attribute::Id(self.id)),
            ("ce_source", Attribute::Text(self.source())),
            ("ce_type", Attribute::Text(&self.event_type)),
            ("ce_subject", Attribute::Text(self.subject())),
            ("ce_time", Attribute::Time(self.time)),
        ]
    }
}

/// The value of an attribute; [`fmt::Display`] writes it as CloudEvents has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// A text.
    Text(&'a str),
    /// An event's id.
    Id(EventId),
    /// An RFC 3339 date-time.
    Time(Timestamp),
}

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Id(id) => id.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

/// Data of a result event. It identifies the communication and its account; it carries none of the
/// account's own data.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EventData<'a> {
    /// `REQUEST_ACCEPTED` or `REQUEST_REJECTED`.
    pub result_type: &'static str,
    /// The communication's number.
    pub communication_number: &'a str,
    /// The account's external id.
    pub account_ext_id: &'a str,
    /// The unit the account counts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_unit: Option<&'a str>,
    /// The customer who holds the account.
    pub business_entity_ext_id: &'a str,
    /// The system that sent it.
    pub requester: &'a str,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<&'static str>,
    /// The code in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_description: Option<&'static str>,
}

impl<'a> EventData<'a> {
    /// What became of a communication.
    pub fn new(communication: &'a Communication, verdict: Verdict) -> Self {
        let code = match verdict {
            Verdict::Accepted => None,
            Verdict::Rejected(code) => Some(code),
        };
        Self {
            result_type: if code.is_none() { REQUEST_ACCEPTED } else { REQUEST_REJECTED },
            communication_number: communication.number.as_str(),
            account_ext_id: communication.account.account_ext_id.as_str(),
            business_unit: communication.account.business_unit.as_ref().map(|unit| unit.as_str()),
            business_entity_ext_id: communication.business_entity_ext_id.as_str(),
            requester: communication.requester.as_str(),
            error_code: code.map(|code| code.code()),
            error_description: code.map(|code| code.description()),
        }
    }
}
