//! Result events: as they are on the topic, and made up where a test needs many at once.

use std::collections::BTreeMap;

use anyhow::Context;
use bytes::Bytes;
use penstock::queue::{Headers, Received, Record};
use uuid::Uuid;

/// A result event of the topic.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: Uuid,
    pub kind: String,
    pub source: String,
    pub subject: String,
    /// What events of one account have in common.
    pub key: Bytes,
    pub body: Bytes,
    /// Its place among the records of the topic; within a partition in the order of the log.
    pub place: usize,
}

impl Event {
    fn of(place: usize, received: Received) -> anyhow::Result<Self> {
        let Record { key, value, headers } = received.record;
        let text = |name: &str| {
            let found = headers.text(name).map(str::to_owned);
            found.with_context(|| format!("the event at {:?} has no {name}", received.offset))
        };
        Ok(Self {
            id: Uuid::parse_str(&text("ce_id")?)?,
            kind: text("ce_type")?,
            source: text("ce_source")?,
            subject: text("ce_subject")?,
            key,
            body: value,
            place,
        })
    }
}

/// The events of a topic by their ids, each at the place where it stands first.
pub fn read(records: Vec<Received>) -> anyhow::Result<BTreeMap<Uuid, Event>> {
    let mut events = BTreeMap::new();
    for (place, received) in records.into_iter().enumerate() {
        let event = Event::of(place, received)?;
        events.entry(event.id).or_insert(event);
    }
    Ok(events)
}

/// A result event as a worker writes it, the `number`th of a test, of one of so many accounts.
pub fn record(number: u32, accounts: u32) -> Record {
    let account = format!("acc-{}", number % accounts);
    let id = Uuid::from_u128((0x0198_u128 << 112) + u128::from(number));
    let mut headers = Headers::default();
    headers.push("content-type", "application/json");
    headers.push("ce_specversion", "1.0");
    headers.push("ce_id", id.to_string());
    headers.push("ce_source", format!("n-{number}"));
    headers.push("ce_type", "penstock.account.accepted");
    headers.push("ce_subject", account.clone());
    headers.push("ce_time", "2026-01-01T00:00:00Z");
    let body = format!(
        "{{\"resultType\":\"REQUEST_ACCEPTED\",\"communicationNumber\":\"n-{number}\",\
         \"accountExtId\":\"{account}\",\"businessUnit\":\"sandbox\",\"requester\":\"SYSTEMX\"}}"
    );
    Record { key: format!("sandbox/{account}").into(), value: body.into(), headers }
}
