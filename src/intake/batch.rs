//! The life of a batch after its body was read: published in waves, then waited for. It runs in a
//! task of its own, so that a client that goes away changes nothing.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::Instrument;

use crate::account::{BatchItem, BusinessUnit};
use crate::queue::{BatchId, Envelope, Queue, QueueError, Record, ReplyAddress, Topic};
use crate::store::Store;
use crate::telemetry::{QueueUse, in_current_span, with_causes};

use super::answers::{Settled, Subject};
use super::body::Reservation;
use super::errors::{Refusal, Unavailable};
use super::trouble::Trouble;
use super::waiting::Registered;
use super::waves::{Wave, waves};
use super::{Intake, Shared};

/// A batch that met the schema and is within its token's units.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    pub(super) items: Vec<BatchItem>,
    /// The unit an item without one counts for.
    pub(super) default_unit: Option<BusinessUnit>,
    /// How long its outcomes are waited for.
    pub(super) wait: Duration,
    /// Its place in the budget of bytes.
    pub(super) reservation: Reservation,
}

/// What became of a batch by the time it is answered; all of it is durably queued.
#[derive(Debug)]
pub(super) struct Settlement {
    /// Every item in the order of the batch.
    pub(super) items: Vec<Settled>,
    /// How many are not decided yet.
    pub(super) pending: usize,
}

impl<Q: Queue, S: Store> Intake<Q, S> {
    /// Publishes a batch and waits for its outcomes. Nothing is lost when the caller is dropped.
    pub(super) async fn process(&self, batch: Batch) -> Result<Settlement, Refusal> {
        let intake = self.clone();
        let life = async move { intake.carry(batch).await }.in_current_span();
        self.shared.tasks.spawn(in_current_span(life)).await.unwrap_or_else(|error| {
            // The text of a panic may quote data, so it is not logged.
            tracing::error!(panicked = error.is_panic(), "a batch ended before its time");
            Err(Refusal::Internal)
        })
    }

    async fn carry(&self, batch: Batch) -> Result<Settlement, Refusal> {
        let Batch { id, items, default_unit, wait, reservation } = batch;
        let (subjects, mut records) = cut(items, id, self.shared.reply_to, default_unit.as_ref());
        let registered = self.shared.waiting.register(id, subjects.len());
        let mut waves = waves(&subjects).into_iter();
        let mut published_at = Instant::now();
        let deadline = published_at + wait;
        while let Some(wave) = waves.next() {
            let items = if wave.after.is_empty() {
                wave.items
            } else {
                let in_time = registered.known(&wave.after, deadline).await;
                published_at = Instant::now();
                if in_time { wave.items } else { together(wave, waves.by_ref()) }
            };
            registered.published(&items, published_at);
            self.publish(items.iter().filter_map(|item| records[*item].take()).collect()).await?;
        }
        registered.all_known(deadline).await;
        drop(reservation);
        Ok(settle(subjects, &registered))
    }

    async fn publish(&self, mut records: Vec<Record>) -> Result<(), Refusal> {
        let Shared { queue, metrics, options, .. } = &*self.shared;
        let count = records.len();
        let topic = QueueUse { system: queue.system(), topic: Topic::Submitted.name() };
        let span = topic.send_span(count);
        if let Some(place) = span.context() {
            let place = place.to_headers();
            for record in &mut records {
                record.headers.push_trace(&place);
            }
        }
        let published = queue.publish(Topic::Submitted, records);
        let published = tokio::time::timeout(options.publish_timeout, published);
        let published = topic.send(metrics, span, count, published, |result| match result {
            Ok(published) => published.as_ref().err().map(QueueError::kind),
            Err(_) => Some("timeout"),
        });
        match published.await {
            Ok(Ok(())) => {
                self.shared.queue_trouble.worked();
                metrics.items_accepted(count);
                Ok(())
            }
            Ok(Err(error)) => Err(refused(&self.shared.queue_trouble, &error)),
            Err(_) => {
                if self.shared.queue_trouble.refused("timeout") {
                    tracing::warn!("the queue did not acknowledge in time; requests are refused");
                }
                Err(Refusal::Unavailable(Unavailable::Queue))
            }
        }
    }
}

/// The queue has taken no records.
fn refused(trouble: &Trouble, error: &QueueError) -> Refusal {
    let is_news = trouble.refused(error.kind());
    if let QueueError::Broken { .. } = error {
        if is_news {
            tracing::error!(
                error = %with_causes(error),
                "the queue takes no records until an operator has put it right; requests are refused"
            );
        }
        return Refusal::Unavailable(Unavailable::BrokenQueue);
    }
    if is_news {
        tracing::warn!(error = %with_causes(error), "the queue takes no records; requests are refused");
    }
    Refusal::Unavailable(Unavailable::Queue)
}

/// What is left of a batch when the time is up, in the order of the request.
fn together(wave: Wave, rest: impl Iterator<Item = Wave>) -> Vec<usize> {
    let mut items = wave.items;
    items.extend(rest.flat_map(|wave| wave.items));
    items.sort_unstable();
    items
}

/// Splits items into who they are and what is published of them.
fn cut(
    items: Vec<BatchItem>,
    id: BatchId,
    reply_to: ReplyAddress,
    default_unit: Option<&BusinessUnit>,
) -> (Vec<Subject>, Vec<Option<Record>>) {
    let cut_one = |(index, item): (u32, BatchItem)| {
        let account = item.account;
        let default_unit = if account.business_unit.is_some() { None } else { default_unit };
        let envelope = Envelope {
            item: Some((id, index)),
            reply_to: Some(reply_to),
            default_business_unit: default_unit.cloned(),
        };
        let subject = Subject {
            number: account.communication_number,
            account_ext_id: account.account_ext_id,
            business_unit: account.business_unit.or_else(|| default_unit.cloned()),
        };
        let record = Record { key: key_of(&subject), value: item.bytes, headers: envelope.to_headers() };
        (subject, Some(record))
    };
    (0_u32..).zip(items).map(cut_one).unzip()
}

/// `businessUnit/accountExtId`: keeps the submissions of an account in order.
fn key_of(subject: &Subject) -> Bytes {
    let unit = subject.business_unit.as_ref().map_or("", BusinessUnit::as_str);
    Bytes::from(format!("{unit}/{}", subject.account_ext_id.as_str()))
}

fn settle(subjects: Vec<Subject>, registered: &Registered) -> Settlement {
    let now = Instant::now();
    let items: Vec<_> = subjects
        .into_iter()
        .zip(registered.take())
        .map(|(subject, known)| {
            let (answer, at) = known.answer.map_or((None, now), |(answer, at)| (Some(answer), at));
            let published_at = known.published_at.unwrap_or(at);
            Settled { subject, answer, elapsed: at.saturating_duration_since(published_at) }
        })
        .collect();
    let pending = items.iter().filter(|item| item.answer.is_none()).count();
    Settlement { items, pending }
}
