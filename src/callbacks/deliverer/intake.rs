//! Events from the topic become deliveries.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::account::{CommunicationNumber, Timestamp};
use crate::events::{CloudEvent, NotAnEvent};
use crate::queue::{Queue, Received, Record, Topic, dead_letter};
use crate::store::{Availability, Deliveries, DeliveryKey, KnownDeliveries, Line, WantedDeliveries};

use super::super::error::DelivererError;
use super::super::outbox::{Job, Origin};
use super::super::routing;
use super::super::sender::Sender;
use super::{Deliverer, StepOutcome};

/// Longest key that is kept as it is; of a longer one, which only a foreign producer has, its digest.
const MAX_ACCOUNT_BYTES: usize = 1_024;

/// A record and where its event goes.
struct Routed {
    received: Arc<Received>,
    account: Arc<str>,
    event: Arc<CloudEvent>,
    /// Places of the outboxes.
    places: Vec<usize>,
    /// Places of those that would take it, had it come later.
    early: Vec<usize>,
}

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    /// Gives what was read to the outboxes, except what is recorded already. What is no event becomes a
    /// dead letter first.
    pub(super) async fn take_in(&mut self) -> Result<StepOutcome, DelivererError> {
        let mut routed = Vec::with_capacity(self.inbox.len());
        let mut dead_letters = Vec::new();
        for received in &self.inbox {
            match event_of(received) {
                Ok(event) => routed.push(self.route(received, event)),
                Err(reason) => dead_letters.push(letter(received, reason)),
            }
        }
        let wanted = self.wanted(&routed);
        let look = self.store.look(&wanted);
        let known = match self.sends.alongside(&self.options, look).await {
            Ok(known) => known,
            Err(error) => return self.retry_store(error),
        };
        // What the store says holds only if it has what was recorded last, and nobody else has recorded since:
        // a store that was set back may have lost what holds a line, and may yet lose what another recorded.
        if self.start_outdated_anew(&known.frontiers) {
            return Ok(StepOutcome::Progress);
        }
        let letters = dead_letters.len();
        if letters > 0 {
            let publish = self.queue.publish(Topic::DeadLetter, dead_letters);
            if let Err(error) = self.sends.alongside(&self.options, publish).await {
                return self.retry_queue(error);
            }
            self.metrics.dead_letters("not_an_event", letters as u64);
        }
        let inbox = std::mem::take(&mut self.inbox);
        for received in &inbox {
            if let Some(ledger) = self.ledgers.get_mut(&received.partition) {
                ledger.read(received.offset, 0);
            }
        }
        for routed in &routed {
            self.offer(routed, &known);
        }
        Ok(StepOutcome::Progress)
    }

    fn route(&self, received: &Received, event: CloudEvent) -> Routed {
        let outboxes = self.sends.outboxes.iter().enumerate();
        // Reading the data is dear, and most filters do not ask for it.
        let needs_origin = outboxes.clone().any(|(_, outbox)| outbox.endpoint.filter.needs_origin());
        let origin = if needs_origin { routing::Origin::of(&event) } else { routing::Origin::default() };
        let time = event.time();
        let (places, early) = outboxes
            .filter(|(_, outbox)| outbox.endpoint.filter.takes(&event.event_type, &origin))
            .map(|(place, _)| place)
            .partition(|place| self.is_in_time(*place, time));
        Routed {
            received: Arc::new(received.clone()),
            account: account_of(&received.record.key),
            event: Arc::new(event),
            places,
            early,
        }
    }

    /// Whether an endpoint gets events of a time.
    fn is_in_time(&self, place: usize, time: Option<Timestamp>) -> bool {
        let known = self.sends.outboxes.get(place).zip(self.states.get(place));
        known.is_none_or(|(outbox, state)| outbox.endpoint.deliver_from.takes(time, state.known_since))
    }

    /// Counts an event that is older than an endpoint's start; the first one is told.
    fn pass_over(&mut self, place: usize) {
        let Some(state) = self.states.get(place) else { return };
        let endpoint = state.name.as_str();
        self.metrics.callbacks().ended(endpoint, "early");
        if self.told_early.insert(place) {
            let known_since = state.known_since.map(tracing::field::display);
            tracing::info!(
                endpoint,
                known_since,
                "events of submissions from before deliver_from of the endpoint are passed over; \
                 penstock.callbacks.deliveries counts them (early)"
            );
        }
    }

    fn wanted(&self, routed: &[Routed]) -> WantedDeliveries {
        let logs = self.ledgers.keys().map(|partition| self.options.log(*partition)).collect();
        let mut wanted = WantedDeliveries { logs, ..WantedDeliveries::default() };
        for routed in routed {
            for place in routed.places.iter().copied() {
                let Some(key) = self.key(place, routed) else { continue };
                if self.is_ordered(place) {
                    wanted.lines.push(line(&key, routed));
                }
                if !self.active.contains_key(&key) {
                    wanted.keys.push(key);
                }
            }
        }
        wanted
    }

    fn is_ordered(&self, place: usize) -> bool {
        self.sends.outboxes.get(place).is_some_and(|outbox| outbox.endpoint.is_ordered)
    }

    /// Whether nothing is to be kept for an endpoint.
    fn is_disabled(&self, place: usize) -> bool {
        self.states.get(place).is_some_and(|state| state.availability == Availability::Disabled)
    }

    fn key(&self, place: usize, routed: &Routed) -> Option<DeliveryKey> {
        let outbox = self.sends.outboxes.get(place)?;
        Some(DeliveryKey { endpoint: outbox.endpoint.name.clone(), event: routed.event.id })
    }

    /// Hands an event to its outboxes; its offset is done when all of them have recorded its end.
    fn offer(&mut self, routed: &Routed, known: &KnownDeliveries) {
        let now = self.ambient.now();
        let (partition, offset) = (routed.received.partition, routed.received.offset);
        let mut open = 0;
        routed.early.iter().for_each(|place| self.pass_over(*place));
        for place in routed.places.iter().copied() {
            let Some(key) = self.key(place, routed) else { continue };
            if self.is_disabled(place) {
                self.metrics.callbacks().ended(key.endpoint.as_str(), "skipped");
                continue;
            }
            if let Some(places) = self.active.get_mut(&key) {
                places.push((partition, offset));
                open += 1;
                continue;
            }
            if known.recorded.contains(&key) {
                self.metrics.callbacks().ended(key.endpoint.as_str(), "repeated");
                continue;
            }
            open += 1;
            self.active.insert(key.clone(), vec![(partition, offset)]);
            let is_held = known.held.contains(&line(&key, routed));
            let job = Job {
                key,
                account: Arc::clone(&routed.account),
                event: Arc::clone(&routed.event),
                failures: 0,
                received: Some(Arc::clone(&routed.received)),
                origin: Origin::Topic,
                entered_at: now,
                max_together: usize::MAX,
            };
            if let Some(outbox) = self.sends.outboxes.get_mut(place) {
                let ended = outbox.offer(job, is_held, now);
                self.sends.ended.extend(ended.map(|ended| (place, ended)));
            }
        }
        if let Some(ledger) = self.ledgers.get_mut(&partition) {
            ledger.read(offset, open);
        }
    }
}

fn line(key: &DeliveryKey, routed: &Routed) -> Line {
    Line { endpoint: key.endpoint.clone(), account: Arc::clone(&routed.account) }
}

/// The event that a record of the results topic is.
pub(crate) fn event_of(received: &Received) -> Result<CloudEvent, NotAnEvent> {
    let record = &received.record;
    let event = CloudEvent::from_kafka(record.headers.iter(), record.value.clone())?;
    // The source of a result event is a number; nothing else may reach a table of numbers.
    CommunicationNumber::parse(&event.source).map_err(|_| NotAnEvent::Attribute("ce_source"))?;
    Ok(event)
}

fn letter(received: &Received, reason: NotAnEvent) -> Record {
    dead_letter(received, Topic::Results, "not_an_event", &reason.to_string())
}

/// The record's key as text that any store holds.
fn account_of(key: &[u8]) -> Arc<str> {
    match std::str::from_utf8(key) {
        Ok(text) if text.len() <= MAX_ACCOUNT_BYTES && !text.contains('\0') => text.into(),
        _ => BASE64.encode(Sha256::digest(key)).into(),
    }
}
