//! What a persisted batch has to tell: events, dead letters, replies.

use std::collections::HashMap;

use crate::account::{Decided, Outcome, Submission};
use crate::events::{REPLAY_ATTRIBUTE, REPLAY_HEADER, ResultEvent};
use crate::queue::{Answer, Envelope, Headers, Record, Reply, ReplyAddress, first_appended_at};
use crate::telemetry::QueueUse;

use super::decode::{Content, DeadLetterClass, Item, dead_letter};
use super::error::Unpaired;
use super::traces::Continuations;

/// A record with how it ended.
pub(super) struct End<'a> {
    pub(super) item: &'a Item,
    ended: Ended<'a>,
}

enum Ended<'a> {
    /// It is no account, for this reason.
    Unreadable(&'a str),
    /// It was decided.
    Decided(&'a Submission, &'a Envelope, Decided),
}

impl End<'_> {
    /// Whether it was applied before and has no outcome.
    pub(super) fn is_passed_over(&self) -> bool {
        matches!(self.ended, Ended::Decided(_, _, Decided::PassedOver))
    }
}

/// The items with their ends; `decided` tells those of the submissions among them, in their order.
pub(super) fn ends_of<'a>(items: &'a [Item], decided: &[Decided]) -> Result<Vec<End<'a>>, Unpaired> {
    let submissions = items.iter().filter(|item| item.submission().is_some()).count();
    let unpaired = Unpaired { submissions, outcomes: decided.len() };
    let mut decided = decided.iter();
    let mut end = |item: &'a Item| {
        let ended = match &item.content {
            Content::Unreadable(reason) => Ended::Unreadable(reason),
            Content::Submission(submission, envelope) => {
                Ended::Decided(submission, envelope, *decided.next()?)
            }
        };
        Some(End { item, ended })
    };
    let ends: Option<Vec<_>> = items.iter().map(&mut end).collect();
    if decided.next().is_some() { Err(unpaired) } else { ends.ok_or(unpaired) }
}

/// Records to publish before the batch's offsets may be committed, and replies for who waits.
#[derive(Debug, Default)]
pub(super) struct Emission {
    pub(super) results: Vec<Record>,
    pub(super) dead_letters: Vec<Record>,
    pub(super) replies: HashMap<ReplyAddress, Vec<Reply>>,
}

impl Emission {
    /// What records that ended so have to tell.
    pub(super) fn of(
        ends: &[End<'_>],
        event_type_prefix: &str,
        results: QueueUse,
    ) -> Result<Self, serde_json::Error> {
        let mut emission = Self::default();
        let mut traces = Continuations::new(results);
        for End { item, ended } in ends {
            match *ended {
                Ended::Unreadable(reason) => {
                    emission.put_aside(item, DeadLetterClass::NotAnAccount, reason);
                }
                Ended::Decided(submission, envelope, decided) => {
                    if let Some(outcome) = decided.event() {
                        let event = event_of(item, submission, outcome, event_type_prefix);
                        emission.results.push(result_record(item, &event, &mut traces)?);
                    }
                    emission.settle(item, envelope, decided);
                }
            }
        }
        Ok(emission)
    }

    /// What a submission that was put aside has to tell.
    pub(super) fn of_set_aside(item: &Item, reason: &str) -> Self {
        let mut emission = Self::default();
        emission.put_aside(item, DeadLetterClass::NotStorable, reason);
        if let Content::Submission(_, envelope) = &item.content {
            emission.reply(envelope, Answer::DeadLettered);
        }
        emission
    }

    /// Tells whoever waits; what has no outcome is put aside again, as its first dead letter may have been
    /// cut short by a crash.
    fn settle(&mut self, item: &Item, envelope: &Envelope, decided: Decided) {
        let answer = match decided {
            Decided::New(outcome) | Decided::Redelivered(outcome) | Decided::Resubmitted(outcome) => {
                Answer::Decided(outcome)
            }
            Decided::DeadLettered => {
                let reason = "the store could not hold the submission";
                self.put_aside(item, DeadLetterClass::NotStorable, reason);
                Answer::DeadLettered
            }
            Decided::PassedOver => {
                let reason = "an earlier release of penstock could not read the record";
                self.put_aside(item, DeadLetterClass::NotAnAccount, reason);
                Answer::DeadLettered
            }
        };
        self.reply(envelope, answer);
    }

    fn put_aside(&mut self, item: &Item, class: DeadLetterClass, reason: &str) {
        self.dead_letters.push(dead_letter(&item.received, class, reason));
    }

    fn reply(&mut self, envelope: &Envelope, answer: Answer) {
        let Envelope { item: Some((batch, item)), reply_to: Some(address), .. } = *envelope else {
            return;
        };
        self.replies.entry(address).or_default().push(Reply { batch, item, answer });
    }
}

fn event_of(item: &Item, submission: &Submission, outcome: Outcome, type_prefix: &str) -> ResultEvent {
    let communication = submission.account.communication();
    ResultEvent::new(type_prefix, communication, outcome, first_appended_at(&item.received))
}

/// The records that tell outcomes which a replay has changed, in their order. Each names the job, as an attribute
/// of the event and as a header.
pub(crate) fn replayed_results<'a>(
    changed: impl Iterator<Item = (&'a Item, &'a Submission, Outcome)>,
    job: &str,
    event_type_prefix: &str,
    results: QueueUse,
) -> Result<Vec<Record>, serde_json::Error> {
    let mut traces = Continuations::new(results);
    let record = |(item, submission, outcome)| {
        let event = event_of(item, submission, outcome, event_type_prefix);
        let mut record = result_record(item, &event, &mut traces)?;
        record.headers.push_text(REPLAY_ATTRIBUTE, job);
        record.headers.push_text(REPLAY_HEADER, job);
        Ok(record)
    };
    changed.map(record).collect()
}

/// Those of an event, of its traces and of a replay.
const MOST_HEADERS: usize = 13;
/// Of the values of an event's headers, with its traces.
const USUAL_HEADER_BYTES: usize = 384;

/// A result event on the results topic, keyed like its submission so that order is kept.
fn result_record<'a>(
    item: &'a Item,
    event: &ResultEvent,
    traces: &mut Continuations<'a>,
) -> Result<Record, serde_json::Error> {
    let mut headers = Headers::with_capacity(MOST_HEADERS, USUAL_HEADER_BYTES);
    for (name, value) in event.kafka_headers() {
        headers.push_text(name, value);
    }
    traces.push(&item.received.record.headers, &mut headers);
    Ok(Record { key: item.received.record.key.clone(), value: event.data_json()?, headers })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::account::{EventId, Generation, Offset, Partition, Timestamp, Verdict};
    use crate::queue::{BatchId, Received};

    fn item(value: &'static str) -> Item {
        let envelope = Envelope {
            item: Some((BatchId(uuid::Uuid::nil()), 3)),
            reply_to: Some(ReplyAddress(0)),
            default_business_unit: None,
        };
        let record = Record {
            key: Bytes::new(),
            value: Bytes::from_static(value.as_bytes()),
            headers: envelope.to_headers(),
        };
        let appended_at = Timestamp::from_unix_millis(0);
        let received = Received { partition: Partition(0), offset: Offset(0), appended_at, record };
        Item::decode(received, Generation(1))
    }

    const ACCOUNT: &str = r#"{"communicationNumber": "n", "requester": "CORE",
        "businessEntityExtId": "c", "accountExtId": "a", "accountNumber": "LT121000011101001000",
        "accountStatus": "ACTIVE", "currencyCode": "EUR", "openingDate": "2023-09-05T08:07:34Z"}"#;

    #[test]
    fn every_submission_has_one_outcome_or_nothing_is_told() {
        let outcome = Outcome { verdict: Verdict::Accepted, event_id: EventId(uuid::Uuid::nil()) };
        let items = [item(ACCOUNT), item("no account"), item(ACCOUNT)];
        for outcomes in 0..5 {
            let decided = vec![Decided::New(outcome); outcomes];
            let paired = ends_of(&items, &decided).map(|ends| ends.len());
            let unpaired = Unpaired { submissions: 2, outcomes };
            assert_eq!(paired, if outcomes == 2 { Ok(3) } else { Err(unpaired) });
        }
    }

    #[test]
    fn what_an_earlier_release_passed_over_is_put_aside_again() {
        let items = [item(ACCOUNT)];
        let ends = ends_of(&items, &[Decided::PassedOver]).unwrap();
        let results = QueueUse { system: "memory", topic: "accounts.results" };
        let emission = Emission::of(&ends, "penstock", results).unwrap();
        assert_eq!((emission.results.len(), emission.dead_letters.len()), (0, 1));
        let replies: Vec<_> = emission.replies.into_values().flatten().collect();
        assert!(matches!(replies[..], [Reply { item: 3, answer: Answer::DeadLettered, .. }]));
    }
}
