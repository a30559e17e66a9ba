//! What sources say, small enough to be sorted by the million.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::account::{
    Account, AccountExtId, AccountKey, BusinessUnit, Communication, CommunicationNumber, Coordinates,
    EventId, Fingerprint, Timestamp, Verdict,
};
use crate::events::CloudEvent;
use crate::queue::Record;

/// Stands for a content within one audit: nothing that is kept depends on it.
pub(super) type Digest = u64;

/// The id of an event, as facts have it.
pub(super) type Id = [u8; 16];

pub(super) fn id(event: EventId) -> Id {
    *event.0.as_bytes()
}

pub(super) fn event_id(id: Id) -> EventId {
    EventId(Uuid::from_bytes(id))
}

fn digest(content: impl std::hash::Hash) -> Digest {
    FixedState::default().hash_one(content)
}

/// Of what a communication is about, its number left out.
pub(super) fn subject_digest(communication: &Communication) -> Digest {
    let Communication { number: _, account, business_entity_ext_id, requester } = communication;
    let unit = account.business_unit.as_ref().map(BusinessUnit::as_str);
    digest((unit, account.account_ext_id.as_str(), business_entity_ext_id.as_str(), requester.as_str()))
}

/// Of a record's key and value.
pub(super) fn record_digest(record: &Record) -> Digest {
    digest((&record.key[..], &record.value[..]))
}

/// Of an event, but for what may differ between its copies: when its submission was appended, the trace that it
/// started in, and the replay that caused it.
pub(super) fn event_digest(event: &CloudEvent) -> Digest {
    let may_differ = |name: &str| matches!(name, "time" | "replay" | "traceparent" | "tracestate");
    let further: Vec<_> = event.further.iter().filter(|(name, _)| !may_differ(name)).collect();
    digest((event.id.0.as_bytes(), &event.source, &event.event_type, further, &event.data[..]))
}

/// Of an account's data, times to the microsecond as every store has them.
pub(super) fn account_digest(account: &Account) -> Digest {
    let micros = |time: Timestamp| Timestamp::from_unix_micros(time.unix_micros());
    let mut account = account.clone();
    account.opening_date = micros(account.opening_date);
    account.closing_date = account.closing_date.map(micros);
    digest(Fingerprint::of(&account).as_bytes())
}

/// A place on a topic other than that of the submissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct TopicPlace {
    pub(super) partition: u32,
    pub(super) offset: u64,
}

/// What a source says of a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NumberFact {
    pub(super) number: Box<str>,
    pub(super) says: Says,
}

impl NumberFact {
    pub(super) fn new(number: &CommunicationNumber, says: Says) -> Self {
        Self { number: number.as_str().into(), says }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Says {
    /// The log: it was submitted.
    Submitted(Submitted),
    /// The ledger: it was accepted.
    Accepted(Accepted),
    /// The rejections: it was not.
    Noted(Noted),
    /// The results: its outcome was told.
    Told(Told),
    /// The deliveries: its event was recorded for an endpoint.
    Recorded(Recorded),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Submitted {
    pub(super) at: Coordinates,
    /// Workers have applied and told it.
    pub(super) is_settled: bool,
    pub(super) fingerprint: [u8; 32],
    pub(super) subject: Digest,
    pub(super) appended_ms: i64,
    pub(super) record: Digest,
    /// The state that it gives its account; only where accounts are looked at.
    pub(super) state: Option<Box<AccountState>>,
}

/// What an account is by a submission, or by its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccountState {
    pub(super) key: Key,
    pub(super) version: Coordinates,
    pub(super) content: Digest,
}

/// The key of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) business_unit: Option<Box<str>>,
    pub(super) account_ext_id: Box<str>,
}

impl Key {
    /// The key that it was made of.
    pub(super) fn parsed(&self) -> Option<AccountKey> {
        let unit = self.business_unit.as_deref().map(BusinessUnit::parse).transpose().ok()?;
        let account_ext_id = AccountExtId::parse(&self.account_ext_id).ok()?;
        Some(AccountKey { business_unit: unit, account_ext_id })
    }
}

impl From<&AccountKey> for Key {
    fn from(key: &AccountKey) -> Self {
        Self {
            business_unit: key.business_unit.as_ref().map(|unit| unit.as_str().into()),
            account_ext_id: key.account_ext_id.as_str().into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    pub(super) at: Coordinates,
    pub(super) event: Id,
    pub(super) fingerprint: [u8; 32],
    pub(super) subject: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) at: Coordinates,
    pub(super) as_what: NotedAs,
    pub(super) subject: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NotedAs {
    Rejected(Verdict, Id),
    DeadLettered,
    /// The row says nothing that penstock writes.
    Unreadable,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) at: TopicPlace,
    pub(super) event: Id,
    /// What it tells of what; none when it is not, to the byte, what penstock writes.
    pub(super) outcome: Option<(Verdict, Digest)>,
    /// When its submission was appended.
    pub(super) time_ms: Option<i64>,
    /// It says that a replay caused it.
    pub(super) is_replayed: bool,
    pub(super) content: Digest,
    pub(super) appended_ms: i64,
    /// Places of the endpoints that are to get it.
    pub(super) due: Vec<u16>,
    /// Its deliveries are recorded.
    pub(super) is_recorded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) endpoint: u16,
    pub(super) event: Id,
    /// When its submission was appended.
    pub(super) time_ms: Option<i64>,
    /// Of its event; none when the row holds none.
    pub(super) content: Option<Digest>,
}

/// What a source says of a place on a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlaceFact {
    pub(super) at: Origin,
    pub(super) says: PlaceSays,
}

/// A place from which a dead letter may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Origin {
    Submitted(Coordinates),
    Results(TopicPlace),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PlaceSays {
    /// The record was put aside, or must have been since it has no outcome.
    LetterDue(LetterDue),
    /// A letter tells that it comes from there.
    Letter(Letter),
    /// An event tells an outcome that the submission no longer has.
    Former { number: Box<str>, event: Id, told_at: TopicPlace },
    /// A delivery is of an event of the submission that is not there.
    Delivered { number: Box<str>, event: Id },
    /// The outcome of the submission is not told.
    Untold { number: Box<str>, event: Id },
    /// The submission is in the ledger and in the rejections.
    Both { number: Box<str> },
    /// A replay has changed the outcome of the submission.
    Changed { before: Option<Id>, after: Id, is_recent: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LetterDue {
    pub(super) number: Option<Box<str>>,
    pub(super) record: Digest,
    /// Of the content: the fingerprint of a submission, the digest of the value of what is none.
    pub(super) content: [u8; 32],
    pub(super) appended_ms: i64,
    /// Without a letter it has no outcome at all, rather than one that is not told.
    pub(super) is_only_outcome: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    pub(super) at: TopicPlace,
    /// Of the record that it was; none when it is not whole.
    pub(super) record: Option<Digest>,
}

/// What a source says of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccountFact {
    pub(super) key: Key,
    pub(super) says: AccountSays,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AccountSays {
    /// An accepted submission made it so.
    Accepted {
        number: Box<str>,
        at: Coordinates,
        version: Coordinates,
        content: Digest,
        is_settled: bool,
    },
    /// Its row, and the communication that it says it comes from; none of it when it says nothing that penstock
    /// writes.
    Row { version: Coordinates, content: Option<Digest>, number: Option<Box<str>> },
}
