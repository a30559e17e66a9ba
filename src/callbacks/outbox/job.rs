//! A delivery in memory, from where it came to how it ended.

use std::sync::Arc;
use std::time::Duration;

use crate::account::Timestamp;
use crate::events::CloudEvent;
use crate::queue::Received;
use crate::store::{Attempt, DeliveryKey, Ending, Leased};

use super::super::attempt::{Answer, NoAnswer};
use super::super::endpoint::{DelivererOptions, Endpoint};
use super::clearance::Era;

/// Where a delivery comes from, and so how its end is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Origin {
    /// The topic; the store knows nothing of it.
    Topic,
    /// The store, by a lease.
    Store {
        /// Number of the lease.
        lease: u32,
        /// When the lease ends.
        until: Timestamp,
    },
}

/// A delivery in memory.
#[derive(Clone, Debug)]
pub(in super::super) struct Job {
    pub(in super::super) key: DeliveryKey,
    pub(in super::super) account: Arc<str>,
    pub(in super::super) event: Arc<CloudEvent>,
    /// Failures that count towards the schedule's end.
    pub(in super::super) failures: u32,
    /// Its record; none when it comes from the store.
    pub(in super::super) received: Option<Arc<Received>>,
    pub(in super::super) origin: Origin,
    /// When it came into memory.
    pub(in super::super) entered_at: Timestamp,
    /// How many may go in one request with it, by what became of the last one; the endpoint may allow
    /// fewer.
    pub(in super::super) max_together: usize,
}

impl Job {
    /// A delivery by a lease.
    pub(in super::super) fn leased(leased: Leased, now: Timestamp, until: Timestamp) -> Self {
        let Leased { key, account, event, lease, failures, .. } = leased;
        Self {
            key,
            account,
            event,
            failures,
            received: None,
            origin: Origin::Store { lease, until },
            entered_at: now,
            max_together: usize::MAX,
        }
    }

    /// How many may go in one request with it: half as many with each failure, and none but itself in its
    /// last attempt, so that nothing is given up for what was wrong with another.
    pub(super) fn together(&self, endpoint: &Endpoint, options: &DelivererOptions) -> usize {
        let is_last = usize::try_from(self.failures).is_ok_and(|n| n >= options.schedule.waits.len());
        let halved = endpoint.batch.checked_shr(self.failures).unwrap_or_default();
        if is_last { 1 } else { halved.clamp(1, self.max_together.max(1)) }
    }

    /// Whether it comes from the topic.
    pub(super) fn is_from_topic(&self) -> bool {
        self.origin == Origin::Topic
    }

    /// Its line, which passes on with it; none when it comes from the store, which keeps the line itself.
    pub(super) fn line(&self) -> Option<Arc<str>> {
        self.is_from_topic().then(|| Arc::clone(&self.account))
    }

    /// It goes to the store without an attempt.
    pub(super) fn parked(self, due_at: Timestamp) -> Ended {
        let failures = self.failures;
        Ended { job: self, ending: Ending::Parked { due_at }, failures, attempt: None }
    }
}

/// A request that is under way.
pub(super) struct Flight {
    pub(super) jobs: Vec<Job>,
    /// The gate's era in which it took off.
    pub(super) era: Era,
}

/// How an attempt ended.
#[derive(Debug)]
pub(in super::super) struct Landing {
    pub(in super::super) flight: u64,
    pub(in super::super) answered: Result<Answer, NoAnswer>,
    pub(in super::super) at: Timestamp,
    pub(in super::super) duration: Duration,
}

/// A delivery whose end is to be recorded.
#[derive(Clone, Debug)]
pub(in super::super) struct Ended {
    pub(in super::super) job: Job,
    pub(in super::super) ending: Ending,
    pub(in super::super) failures: u32,
    pub(in super::super) attempt: Option<Attempt>,
}
