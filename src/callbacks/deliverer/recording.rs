//! What has ended goes into the store, beside everything else, and with it how far each partition is recorded;
//! only then it counts for the offsets.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::{LogPartition, Offset, Partition};
use crate::queue::{Queue, Record, Topic, dead_letter};
use crate::store::{Deliveries, DeliveryState, FrontierStep, NewDelivery, Settled, StoreError};
use crate::telemetry::with_causes;

use super::super::error::DelivererError;
use super::super::ledger::Counts;
use super::super::outbox::{Ended, Origin};
use super::super::sender::Sender;
use super::super::sends::{Ends, Recorded};
use super::{Deliverer, StepOutcome};

/// Ends recorded at a time.
pub(super) const MAX_RECORDED: usize = 1_000;
/// Ends that may wait to be recorded; with more nothing is read.
pub(super) const MAX_UNRECORDED: usize = 2 * MAX_RECORDED;

/// Class of dead letters of what the store cannot hold.
const NOT_STORABLE: &str = "not_storable";

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    /// Begins to record ends, the earliest first, if no recording is under way. What came from the topic
    /// comes before what was leased: a delivery that passed to the store while it was under way has its
    /// end among the latter.
    pub(super) fn begin_recording(&mut self) {
        if self.sends.is_recording() {
            return;
        }
        self.forget_what_nobody_waits_for();
        if let Some((ends, steps)) = self.sends.take_failed() {
            self.record(ends, steps);
        } else if !self.sends.ended.is_empty() {
            let count = self.sends.ended.len().min(self.max_recorded);
            let ends: Ends = self.sends.ended.drain(..count).collect();
            let steps = self.steps(&ends);
            self.record(ends, steps);
        }
    }

    /// Begins to tell the store how far partitions are recorded where it knows less, as after events that no
    /// endpoint takes.
    pub(super) fn begin_recording_progress(&mut self) {
        let is_behind = self.ledgers.values().any(super::Ledger::is_behind);
        if is_behind && !self.sends.is_recording() && self.sends.unrecorded() == 0 {
            let steps = self.steps(&Vec::new());
            self.record(Vec::new(), steps);
        }
    }

    fn record(&mut self, ended: Ends, steps: Vec<FrontierStep>) {
        let now = self.ambient.now();
        let new: Vec<NewDelivery> =
            ended.iter().filter_map(|(place, ended)| self.new_delivery(*place, ended)).collect();
        let settled: Vec<Settled> = ended.iter().filter_map(|(_, ended)| settled(ended)).collect();
        let (store, moved) = (self.store.clone(), steps.clone());
        let work = async move {
            let outdated = store.record(&new, &moved, now).await?;
            if outdated.is_empty() {
                store.settle(&settled, now).await?;
            }
            Ok(outdated)
        };
        self.sends.record(ended, steps, Box::pin(work));
    }

    /// The steps of the partitions with a delivery among these, and of those whose frontier is behind.
    fn steps(&mut self, ended: &Ends) -> Vec<FrontierStep> {
        let mut recorded: BTreeMap<Partition, Counts> = BTreeMap::new();
        for (_, ended) in ended.iter().filter(|(_, ended)| ended.job.origin == Origin::Topic) {
            for (partition, offset) in self.active.get(&ended.job.key).into_iter().flatten() {
                *recorded.entry(*partition).or_default().entry(*offset).or_default() += 1;
            }
        }
        let mut steps = Vec::new();
        for (partition, ledger) in &mut self.ledgers {
            let counts = recorded.remove(partition);
            if counts.is_some() || ledger.is_behind() {
                let log = self.options.log(*partition);
                steps.push(ledger.step(log, &counts.unwrap_or_default()));
            }
        }
        steps
    }

    /// Takes the outcome of a recording, if there is one: what is recorded counts, what is not is to be
    /// recorded again before anything that ended later.
    pub(super) fn take_recorded(&mut self) -> Result<StepOutcome, DelivererError> {
        let Some(Recorded { ends, steps, outcome }) = self.sends.take_recorded() else {
            return Ok(StepOutcome::Idle);
        };
        let outdated = match outcome {
            Ok(outdated) => outdated,
            Err(error @ StoreError::Poison { .. }) if !ends.is_empty() => {
                self.isolate(ends, &error);
                return Ok(StepOutcome::Progress);
            }
            Err(error) => {
                self.sends.try_again(ends, steps);
                return self.retry_store(error);
            }
        };
        self.max_recorded = (self.max_recorded * 2).min(MAX_RECORDED);
        if !outdated.is_empty() {
            self.sends.ended.splice(0..0, ends);
            self.not_recorded(&steps, &outdated);
            return Ok(StepOutcome::Progress);
        }
        let mut stepped = Vec::new();
        for step in &steps {
            // A step of an earlier assignment says nothing of the one there is now.
            let ledger = self.ledgers.get_mut(&step.log.partition);
            if let Some(ledger) = ledger.filter(|ledger| ledger.has_attempted(step)) {
                ledger.stepped(step);
                stepped.push(step.log.partition);
            }
        }
        // Read again while events of theirs were recorded: whether the store still has these is to be seen again.
        let mut unsure = BTreeSet::new();
        for (place, ended) in ends {
            self.count(place, &ended);
            for (partition, offset) in self.take_places(place, &ended) {
                if stepped.contains(&partition) {
                    self.is_done(partition, offset);
                } else {
                    unsure.insert(partition);
                }
            }
        }
        self.restart(unsure);
        Ok(StepOutcome::Progress)
    }

    /// Some partitions are not recorded as far as they were: they are started anew, and what has ended of others is
    /// recorded without them.
    fn not_recorded(&mut self, steps: &[FrontierStep], outdated: &[LogPartition]) {
        for step in steps {
            if let Some(ledger) = self.ledgers.get_mut(&step.log.partition) {
                ledger.not_stepped(step);
            }
        }
        self.restart(outdated.iter().map(|log| log.partition));
    }

    /// What has ended of partitions that are not the deliverer's any more, or were started anew since, is
    /// read again by whoever has them, so it is not recorded. Without a frontier that moves with it nobody
    /// would notice its loss, and what is parked in a line would be so before those it came after.
    pub(super) fn forget_what_nobody_waits_for(&mut self) {
        let active = &self.active;
        let is_forgotten = |(_, ended): &mut (usize, Ended)| {
            ended.job.origin == Origin::Topic && active.get(&ended.job.key).is_none_or(Vec::is_empty)
        };
        let forgotten: Ends = self.sends.ended.extract_if(.., is_forgotten).collect();
        for (place, ended) in forgotten {
            self.take_places(place, &ended);
        }
    }

    /// Narrows ends of which the store cannot hold one down to that one, which is put aside.
    fn isolate(&mut self, mut ends: Ends, error: &StoreError) {
        if ends.len() > 1 {
            self.max_recorded = ends.len() / 2;
            self.metrics.callbacks().retried("poison");
            self.sends.ended.splice(0..0, ends);
            return;
        }
        let Some((place, ended)) = ends.pop() else { return };
        tracing::error!(
            endpoint = ended.job.key.endpoint.as_str(),
            event_id = %ended.job.key.event,
            error = %with_causes(error),
            "the end of a delivery cannot be stored and is put aside"
        );
        self.unstorable = Some((place, ended, error.to_string()));
    }

    /// Puts the end that the store cannot hold aside. An event from the topic becomes a dead letter; a leased
    /// one passes on when its lease ends.
    pub(super) async fn put_aside(&mut self) -> Result<StepOutcome, DelivererError> {
        let Some((place, ended, reason)) = &self.unstorable else { return Ok(StepOutcome::Idle) };
        let letters: Vec<Record> = ended
            .job
            .received
            .iter()
            .map(|received| dead_letter(received, Topic::Results, NOT_STORABLE, reason))
            .collect();
        let (place, ended, count) = (*place, ended.clone(), letters.len());
        if count > 0 {
            let publish = self.queue.publish(Topic::DeadLetter, letters);
            if let Err(error) = self.sends.alongside(&self.options, publish).await {
                return self.retry_queue(error);
            }
        }
        self.metrics.dead_letters(NOT_STORABLE, count as u64);
        self.unstorable = None;
        for (partition, offset) in self.take_places(place, &ended) {
            self.is_done(partition, offset);
        }
        Ok(StepOutcome::Progress)
    }

    /// Waits until everything that has ended is recorded and the store knows how far that is, or the store is
    /// unavailable.
    pub(super) async fn record_everything(&mut self) -> Result<(), DelivererError> {
        loop {
            if let StepOutcome::Pause(_) = self.put_aside().await? {
                return Ok(());
            }
            self.begin_recording();
            self.begin_recording_progress();
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

    /// Nothing is left to be done for an end; the places of the log that waited for it.
    fn take_places(&mut self, place: usize, ended: &Ended) -> Vec<(Partition, Offset)> {
        if let Some(outbox) = self.sends.outboxes.get_mut(place) {
            outbox.recorded(ended);
        }
        match ended.job.origin {
            Origin::Topic => self.active.remove(&ended.job.key).unwrap_or_default(),
            Origin::Store { .. } => Vec::new(),
        }
    }

    fn is_done(&mut self, partition: Partition, offset: Offset) {
        if let Some(ledger) = self.ledgers.get_mut(&partition) {
            ledger.recorded(offset);
        }
    }

    fn count(&mut self, place: usize, ended: &Ended) {
        let name = ended.job.key.endpoint.as_str();
        let state = ended.ending.state();
        self.metrics.callbacks().ended(name, state.as_str());
        if state == DeliveryState::Exhausted {
            tracing::debug!(endpoint = name, event_id = %ended.job.key.event, "a delivery is given up");
            *self.exhausted.entry(place).or_default() += 1;
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
