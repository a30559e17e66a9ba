//! Load, decide, apply: after it every record of a batch has its persisted outcome, or none has.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::account::{
    AccountKey, CommunicationNumber, Decided, LogPartition, Offset, Partition, Plan, Submission, View,
    decide, set_aside,
};
use crate::queue::{Queue, Received};
use crate::store::{Applied, OffsetRange, Store, StoreError, Wanted};
use crate::telemetry::with_causes;

use super::super::decode::{DeadLetterClass, Item};
use super::super::emission::Emission;
use super::super::error::LaneError;
use super::{Lane, StepOutcome};

/// What came of trying to persist a batch.
pub(super) enum Persisted {
    /// Everything is persisted.
    Done(Emission),
    /// One of several records cannot be stored: try smaller parts.
    Split,
    /// Nothing is persisted; this is what the step comes to.
    NotYet(StepOutcome),
    /// Nothing is persisted: the store has lost records of these partitions that came before.
    SetBack(Vec<Partition>),
}

impl<Q: Queue, S: Store> Lane<Q, S> {
    /// Load, decide, apply.
    pub(super) async fn persist(&mut self, items: &[Item]) -> Result<Persisted, LaneError> {
        let submissions: Vec<Submission> =
            items.iter().filter_map(|item| item.submission().cloned()).collect();
        let wanted = self.wanted(items, &submissions);
        let view = match self.load(&wanted).await {
            Ok(view) => view,
            Err(error) => return self.retry_store(error).map(Persisted::NotYet),
        };
        let set_back = self.set_back(&view);
        if !set_back.is_empty() {
            return Ok(Persisted::SetBack(set_back));
        }
        let through = self.through(items);
        let decision = decide(&submissions, &through, &view, &self.policy)?;
        match self.apply(&decision.plan).await {
            Ok(Applied::Done) => {
                self.count(&decision.decided, items.len() - submissions.len());
                let prefix = &self.options.event_type_prefix;
                Ok(Persisted::Done(Emission::of(items, &decision.decided, prefix)?))
            }
            Ok(Applied::Stale) => {
                self.metrics.retried("stale");
                Ok(Persisted::NotYet(StepOutcome::Progress))
            }
            Err(error @ StoreError::Poison { .. }) => {
                self.isolate(items, &submissions, &view, &error).await
            }
            Err(error) => self.retry_store(error).map(Persisted::NotYet),
        }
    }

    /// Narrows a batch the store cannot hold down to the one record, and puts that aside.
    async fn isolate(
        &mut self,
        items: &[Item],
        submissions: &[Submission],
        view: &View,
        error: &StoreError,
    ) -> Result<Persisted, LaneError> {
        let ([item], [submission]) = (items, submissions) else {
            self.metrics.retried("poison");
            return Ok(Persisted::Split);
        };
        tracing::error!(
            lane = self.number,
            coordinates = %submission.coordinates,
            error = %with_causes(error),
            "a submission cannot be stored and is put aside as a dead letter"
        );
        match self.apply(&set_aside(submission, view)).await {
            Ok(Applied::Done) => {
                let class = DeadLetterClass::NotStorable;
                self.metrics.dead_letters(class.as_str(), 1);
                Ok(Persisted::Done(Emission::of_set_aside(item, &error.to_string())))
            }
            Ok(Applied::Stale) => Ok(Persisted::NotYet(StepOutcome::Progress)),
            Err(error) => self.retry_store(error).map(Persisted::NotYet),
        }
    }

    pub(super) async fn load(&self, wanted: &Wanted) -> Result<View, StoreError> {
        let begun = Instant::now();
        let view = self.store.load(wanted).await;
        self.metrics.store_operation("load", begun.elapsed());
        view
    }

    async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError> {
        if plan.is_empty() {
            return Ok(Applied::Done);
        }
        let begun = Instant::now();
        let applied = self.store.apply(plan).await;
        self.metrics.store_operation("apply", begun.elapsed());
        applied
    }

    fn count(&self, decided: &[Decided], unreadable: usize) {
        let mut new = BTreeMap::new();
        let mut repeated = 0;
        for decided in decided {
            match decided {
                Decided::New(outcome) => *new.entry(outcome.verdict).or_insert(0) += 1,
                Decided::Redelivered(_) | Decided::Resubmitted(_) | Decided::DeadLettered => {
                    repeated += 1;
                }
            }
        }
        for (verdict, count) in new {
            self.metrics.outcomes(verdict, count);
        }
        self.metrics.repeated(repeated);
        self.metrics.dead_letters(DeadLetterClass::NotAnAccount.as_str(), unreadable as u64);
    }

    fn wanted(&self, items: &[Item], submissions: &[Submission]) -> Wanted {
        let numbers: Vec<CommunicationNumber> = submissions
            .iter()
            .map(|submission| submission.account.communication_number.clone())
            .collect();
        let accounts: Vec<AccountKey> =
            submissions.iter().map(|submission| submission.account.key()).collect();
        let mut ranges: BTreeMap<Partition, (Offset, Offset)> = BTreeMap::new();
        for item in items {
            let Received { partition, offset, .. } = item.received;
            let range = ranges.entry(partition).or_insert((offset, offset));
            *range = (range.0.min(offset), range.1.max(item.next_offset()));
        }
        let of_items = ranges.iter().map(|(partition, (from, to))| OffsetRange {
            log: self.log(*partition),
            from: *from,
            to: *to,
        });
        let others = self.positions.keys().filter(|partition| !ranges.contains_key(partition));
        let ranges = of_items.chain(others.map(|partition| self.frontier_of(*partition))).collect();
        Wanted { numbers, accounts, ranges }
    }

    /// Per partition, the offset after the last of the items.
    fn through(&self, items: &[Item]) -> Vec<(LogPartition, Offset)> {
        let mut through = BTreeMap::new();
        for item in items {
            through.insert(self.log(item.received.partition), item.next_offset());
        }
        through.into_iter().collect()
    }
}
