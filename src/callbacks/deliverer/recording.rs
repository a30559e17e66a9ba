//! What has ended goes into the store, beside everything else; only then it counts for the offsets.

use crate::queue::Queue;
use crate::store::{Deliveries, DeliveryState, NewDelivery, Settled};

use super::super::error::DelivererError;
use super::super::outbox::{Ended, Origin};
use super::super::sender::Sender;
use super::super::sends::Ends;
use super::{Deliverer, StepOutcome};

/// Ends recorded at a time.
const MAX_RECORDED: usize = 1_000;
/// Ends that may wait to be recorded; with more nothing is read.
pub(super) const MAX_UNRECORDED: usize = 2 * MAX_RECORDED;

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    /// Begins to record ends, the earliest first, if no recording is under way. What came from the topic
    /// comes before what was leased: a delivery that passed to the store while it was under way has its
    /// end among the latter.
    pub(super) fn begin_recording(&mut self) {
        if self.sends.is_recording() || self.sends.ended.is_empty() {
            return;
        }
        let count = self.sends.ended.len().min(MAX_RECORDED);
        let ended: Ends = self.sends.ended.drain(..count).collect();
        let now = self.ambient.now();
        let new: Vec<NewDelivery> =
            ended.iter().filter_map(|(place, ended)| self.new_delivery(*place, ended)).collect();
        let settled: Vec<Settled> = ended.iter().filter_map(|(_, ended)| settled(ended)).collect();
        let store = self.store.clone();
        let work = async move {
            store.record(&new, now).await?;
            store.settle(&settled, now).await
        };
        self.sends.record(ended, Box::pin(work));
    }

    /// Takes the outcome of a recording, if there is one: what is recorded counts, what is not is to be
    /// recorded again before anything that ended later.
    pub(super) fn take_recorded(&mut self) -> Result<StepOutcome, DelivererError> {
        let Some((ended, outcome)) = self.sends.take_recorded() else { return Ok(StepOutcome::Idle) };
        if let Err(error) = outcome {
            self.sends.ended.splice(0..0, ended);
            return self.retry_store(error);
        }
        for (place, ended) in ended {
            self.count(&ended);
            if let Some(outbox) = self.sends.outboxes.get_mut(place) {
                outbox.recorded(&ended);
            }
            if ended.job.origin == Origin::Topic {
                self.is_recorded(&ended);
            }
        }
        Ok(StepOutcome::Progress)
    }

    /// Waits until everything that has ended is recorded, or the store is unavailable.
    pub(super) async fn record_everything(&mut self) -> Result<(), DelivererError> {
        loop {
            self.begin_recording();
            if !self.sends.is_recording() {
                return Ok(());
            }
            self.sends.next_ended(&self.options).await;
            if let StepOutcome::Pause(_) = self.take_recorded()? {
                return Ok(());
            }
        }
    }

    fn new_delivery(&self, place: usize, ended: &Ended) -> Option<NewDelivery> {
        let outbox = self.sends.outboxes.get(place)?;
        let Ended { job, ending, failures, attempt } = ended;
        (job.origin == Origin::Topic).then(|| NewDelivery {
            key: job.key.clone(),
            account: job.account.clone(),
            event: job.event.clone(),
            is_ordered: outbox.endpoint.is_ordered,
            ending: *ending,
            failures: *failures,
            attempt: attempt.clone(),
        })
    }

    fn is_recorded(&mut self, ended: &Ended) {
        for (partition, offset) in self.active.remove(&ended.job.key).unwrap_or_default() {
            if let Some(ledger) = self.ledgers.get_mut(&partition) {
                ledger.recorded(offset);
            }
        }
    }

    fn count(&self, ended: &Ended) {
        let name = ended.job.key.endpoint.as_str();
        let state = ended.ending.state();
        self.metrics.callbacks().ended(name, state.as_str());
        if state == DeliveryState::Exhausted {
            tracing::error!(
                endpoint = name,
                event_id = %ended.job.key.event,
                attempts = ended.failures,
                "a delivery is given up; `penstock callbacks show` tells why, `redeliver` tries it again"
            );
        }
    }
}

fn settled(ended: &Ended) -> Option<Settled> {
    let Ended { job, ending, failures, attempt } = ended;
    match job.origin {
        Origin::Topic => None,
        Origin::Store { lease, .. } => Some(Settled {
            key: job.key.clone(),
            lease,
            ending: *ending,
            failures: *failures,
            attempt: attempt.clone(),
        }),
    }
}
