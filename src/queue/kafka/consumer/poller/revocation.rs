//! Giving partitions back: their owner commits first, for as long as the group can wait.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::lookup::number;
use super::super::membership::give_back;
use super::{Change, Poller, State};
use crate::telemetry::RebalancePhase;

/// Partitions the group wants back. They go together: the group takes a part for the whole.
pub(super) struct Revocation {
    partitions: Vec<i32>,
    unreleased: BTreeSet<i32>,
    begun_at: Instant,
}

impl Revocation {
    fn age(&self) -> Duration {
        self.begun_at.elapsed()
    }
}

impl Poller {
    pub(super) fn revoked(&mut self, partitions: Vec<i32>) {
        self.give_back();
        let unreleased = self.announced(&partitions);
        for partition in &partitions {
            if let Some(owned) = self.progress.owned.get_mut(partition) {
                owned.state = State::Revoked;
            }
            self.progress.liveness.end(*partition);
        }
        self.tell_revoked(&unreleased);
        let unreleased = unreleased.into_iter().collect();
        let revocation = Revocation { partitions, unreleased, begun_at: Instant::now() };
        self.progress.revocation = Some(revocation);
        self.release(&[]);
    }

    pub(super) fn release(&mut self, partitions: &[i32]) {
        let Some(revocation) = &mut self.progress.revocation else { return };
        revocation.unreleased.retain(|partition| !partitions.contains(partition));
        if revocation.unreleased.is_empty() {
            self.give_back();
        }
    }

    pub(super) fn give_back_overdue(&mut self) {
        let Some(revocation) = &self.progress.revocation else { return };
        if revocation.age() >= self.release_timeout {
            tracing::warn!(
                partitions = ?revocation.unreleased,
                "revoked partitions were not given back in time; what was done of them and not \
                 committed is read again"
            );
            self.give_back();
        }
    }

    /// Gives back what is revoked.
    pub(super) fn give_back(&mut self) {
        let Some(revocation) = self.progress.revocation.take() else { return };
        give_back(&self.consumer, &self.list(revocation.partitions.iter().copied()));
        self.disown(&revocation.partitions);
        self.record(RebalancePhase::Revoke, Some(revocation.age()));
    }

    /// Those of `partitions` that the owner knows of.
    pub(super) fn announced(&self, partitions: &[i32]) -> Vec<i32> {
        let known = |partition: &&i32| {
            let state = self.progress.owned.get(partition).map(|owned| &owned.state);
            matches!(state, Some(State::Announced | State::Reading))
        };
        partitions.iter().filter(known).copied().collect()
    }

    pub(super) fn tell_revoked(&self, partitions: &[i32]) {
        if !partitions.is_empty() {
            self.tell(Change::Revoked(partitions.iter().map(|p| number(*p)).collect()));
        }
    }
}
