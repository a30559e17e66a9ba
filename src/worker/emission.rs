//! What a persisted batch has to tell: events, dead letters, replies.

use std::collections::HashMap;

use crate::account::Decided;
use crate::events::ResultEvent;
use crate::queue::{Answer, Envelope, Headers, Record, Reply, ReplyAddress};
use crate::telemetry::QueueUse;

use super::decode::{Content, DeadLetterClass, Item, dead_letter};
use super::traces::Continuations;

/// Records to publish before the batch's offsets may be committed, and replies for who waits.
#[derive(Debug, Default)]
pub(super) struct Emission {
    pub(super) results: Vec<Record>,
    pub(super) dead_letters: Vec<Record>,
    pub(super) replies: HashMap<ReplyAddress, Vec<Reply>>,
}

impl Emission {
    /// What the items have to tell, given what was decided of the submissions among them, in order.
    pub(super) fn of(
        items: &[Item],
        decided: &[Decided],
        event_type_prefix: &str,
        results: QueueUse,
    ) -> Result<Self, serde_json::Error> {
        let mut emission = Self::default();
        let mut traces = Continuations::new(results);
        let mut decided = decided.iter();
        for item in items {
            match &item.content {
                Content::Unreadable(reason) => {
                    let letter = dead_letter(&item.received, DeadLetterClass::NotAnAccount, reason);
                    emission.dead_letters.push(letter);
                }
                Content::Submission(submission, envelope) => {
                    let Some(decided) = decided.next() else { break };
                    if let Some(outcome) = decided.event() {
                        let communication = submission.account.communication();
                        let time = item.received.appended_at;
                        let event = ResultEvent::new(event_type_prefix, communication, outcome, time);
                        emission.results.push(result_record(item, &event, &mut traces)?);
                    }
                    emission.settle(item, envelope, *decided);
                }
            }
        }
        Ok(emission)
    }

    /// What a submission that was put aside has to tell.
    pub(super) fn of_set_aside(item: &Item, reason: &str) -> Self {
        let mut emission = Self::default();
        emission.dead_letters.push(dead_letter(&item.received, DeadLetterClass::NotStorable, reason));
        if let Content::Submission(_, envelope) = &item.content {
            emission.reply(envelope, Answer::DeadLettered);
        }
        emission
    }

    /// Tells whoever waits; what has no outcome is put aside again.
    fn settle(&mut self, item: &Item, envelope: &Envelope, decided: Decided) {
        if let Some(outcome) = decided.outcome() {
            self.reply(envelope, Answer::Decided(outcome));
        } else {
            // Its first dead letter may have been cut short by a crash.
            let reason = "the store could not hold the submission";
            self.dead_letters.push(dead_letter(&item.received, DeadLetterClass::NotStorable, reason));
            self.reply(envelope, Answer::DeadLettered);
        }
    }

    fn reply(&mut self, envelope: &Envelope, answer: Answer) {
        let Envelope { item: Some((batch, item)), reply_to: Some(address), .. } = *envelope else {
            return;
        };
        self.replies.entry(address).or_default().push(Reply { batch, item, answer });
    }
}

/// Those of an event and of its traces.
const MOST_HEADERS: usize = 11;
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
