//! The facts a check is made on, as any queue and any store can give them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use penstock::account::{
    Account, AccountKey, CommunicationNumber, Coordinates, EventId, Fingerprint, Generation,
    LogPartition, Offset, Partition, RejectionCode, Submission, Verdict,
};
use penstock::queue::{Envelope, Received, redriven_origin};
use uuid::Uuid;

/// All that is known after a run.
#[derive(Clone, Default)]
pub struct Facts {
    /// The submitted topic, in the order of its offsets within each partition.
    pub submitted: Vec<Submitted>,
    /// The store.
    pub stored: Stored,
    /// The results topic.
    pub events: Vec<Event>,
    /// The dead-letter topic.
    pub dead_letters: Vec<DeadLetter>,
    /// The workers' committed offsets.
    pub committed: BTreeMap<Partition, Offset>,
    /// The final answers clients got.
    pub answers: Vec<Answered>,
    /// The events of outcomes that a replay has changed: they were told, and stay.
    pub former: BTreeSet<EventId>,
}

/// A record of the submitted topic.
#[derive(Clone)]
pub struct Submitted {
    pub coordinates: Coordinates,
    pub value: Bytes,
    /// None when it is no account.
    pub submission: Option<Submission>,
}

/// A row of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerRow {
    pub number: CommunicationNumber,
    pub fingerprint: Fingerprint,
    pub event_id: EventId,
    pub coordinates: Coordinates,
}

/// What a rejection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    Rejected(RejectionCode, EventId),
    DeadLettered,
}

/// A row of the rejections.
#[derive(Clone, Debug)]
pub struct RejectionRow {
    pub coordinates: Coordinates,
    pub number: CommunicationNumber,
    pub noted: Noted,
}

/// A row of the accounts.
#[derive(Clone, Debug)]
pub struct AccountRow {
    pub version: Coordinates,
    /// Of all that the row says.
    pub fingerprint: Fingerprint,
}

/// Everything the store holds.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub ledger: Vec<LedgerRow>,
    pub rejections: Vec<RejectionRow>,
    pub accounts: BTreeMap<AccountKey, AccountRow>,
    pub frontiers: BTreeMap<LogPartition, Offset>,
}

/// A record of the results topic.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: EventId,
    /// Its CloudEvents type.
    pub kind: String,
    pub body: Bytes,
}

/// A record of the dead-letter topic.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub origin: (Partition, Offset),
    pub value: Bytes,
}

/// A final answer to one item.
#[derive(Clone, Debug)]
pub struct Answered {
    pub number: CommunicationNumber,
    pub verdict: Verdict,
}

impl Submitted {
    /// Reads a record as any reader of the topic would.
    pub fn of(received: Received, generation: Generation) -> Self {
        let log = LogPartition { generation, partition: received.partition };
        let coordinates = log.at(received.offset);
        let text = std::str::from_utf8(&received.record.value);
        let account = text.ok().and_then(|text| Account::parse(text).ok());
        let headers = &received.record.headers;
        let unit = Envelope::from_headers(headers).default_business_unit;
        let submission = account.map(|account| {
            Submission::new(account, unit, coordinates).put_back_from(redriven_origin(headers))
        });
        Self { coordinates, submission, value: received.record.value }
    }
}

impl Event {
    /// Reads an event in Kafka's binary mode; an error names what is missing.
    pub fn of(received: Received) -> Result<Self, String> {
        let headers = &received.record.headers;
        let header = |name| {
            let missing = || format!("an event at {:?} has no {name}", received.offset);
            headers.text(name).map(str::to_owned).ok_or_else(missing)
        };
        let id = Uuid::parse_str(&header("ce_id")?).map_err(|error| error.to_string())?;
        Ok(Self { id: EventId(id), kind: header("ce_type")?, body: received.record.value })
    }
}

impl DeadLetter {
    /// Reads a dead letter; an error names what is missing.
    pub fn of(received: Received) -> Result<Self, String> {
        let headers = &received.record.headers;
        let number = |name: &str| {
            let missing = || format!("a dead letter at {:?} has no {name}", received.offset);
            headers.text(name).and_then(|text| text.parse::<u64>().ok()).ok_or_else(missing)
        };
        let partition = u32::try_from(number("penstock-origin-partition")?).unwrap_or(u32::MAX);
        let origin = (Partition(partition), Offset(number("penstock-origin-offset")?));
        Ok(Self { origin, value: received.record.value })
    }
}
