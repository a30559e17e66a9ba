//! What is measured, and what it is held against. Processor time is microseconds per submission, of the command
//! alone; memory is the most that was ever resident.

use serde::{Deserialize, Serialize};

use crate::beside::Beside;
use crate::figures::Drain;
use crate::support::aims::{Aim, at_least, at_most};

/// The figures of one repeat, or the medians of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reprocessed {
    /// A worker, from the full topic.
    pub(crate) drain: Drain,
    pub(crate) plan: Gone,
    pub(crate) run: Gone,
    pub(crate) audit: Gone,
    /// With the accounts.
    pub(crate) deep_audit: Gone,
    /// Into an empty store.
    pub(crate) rebuild: Gone,
    pub(crate) beside: Beside,
}

/// Submissions that a command went through, its start and its end included.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Gone {
    pub(crate) items_per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) peak_resident_mib: f64,
}

impl Reprocessed {
    /// What penstock aims at, on two cores that broker, database and command share.
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let of_drain = |gone: &Gone| gone.items_per_second / self.drain.items_per_second;
        let megabytes = |gone: &Gone| gone.peak_resident_mib * 1.048_576;
        vec![
            at_least(0.90, of_drain(&self.run)).named("run: share of the worker's drain"),
            at_least(2.0, of_drain(&self.plan)).named("plan: times the worker's drain"),
            at_least(100_000.0, self.audit.items_per_second).named("audit: submissions/s"),
            at_most(200.0, megabytes(&self.audit)).named("audit: resident MB"),
            at_most(200.0, megabytes(&self.deep_audit)).named("audit --deep: resident MB"),
            at_most(2.0, self.beside.replay.p99_ms / self.beside.alone.p99_ms)
                .named("live p99 beside a replay: times that without"),
        ]
    }
}
