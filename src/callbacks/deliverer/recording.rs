//! What has ended goes into the store; only then it counts for the offsets.

use crate::queue::Queue;
use crate::store::{Deliveries, DeliveryState, NewDelivery, Settled};

use super::super::error::DelivererError;
use super::super::outbox::{Ended, Origin};
use super::super::sender::Sender;
use super::{Deliverer, StepOutcome};

/// Ends recorded at a time.
const MAX_RECORDED: usize = 1_000;

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    /// Records ends, the earliest first. What came from the topic comes before what was leased: a
    /// delivery that passed to the store while it was under way has its end among the latter.
    pub(super) async fn record_ended(&mut self) -> Result<StepOutcome, DelivererError> {
        let count = self.sends.ended.len().min(MAX_RECORDED);
        let ended: Vec<(usize, Ended)> = self.sends.ended.drain(..count).collect();
        let now = self.ambient.now();
        let new: Vec<NewDelivery> =
            ended.iter().filter_map(|(place, ended)| self.new_delivery(*place, ended)).collect();
        let settled: Vec<Settled> = ended.iter().filter_map(|(_, ended)| settled(ended)).collect();
        let store = self.store.clone();
        let recording = async {
            store.record(&new, now).await?;
            store.settle(&settled, now).await
        };
        if let Err(error) = self.sends.alongside(&self.options, recording).await {
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
            account: job.account.clone(),
            lease,
            ending: *ending,
            failures: *failures,
            attempt: attempt.clone(),
        }),
    }
}
