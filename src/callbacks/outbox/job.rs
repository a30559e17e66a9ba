//! A delivery in memory, from where it came to how it ended.

use std::sync::Arc;
use std::time::Duration;

use crate::account::Timestamp;
use crate::events::CloudEvent;
use crate::store::{Attempt, DeliveryKey, Ending, Leased};

use super::super::attempt::{Answer, NoAnswer, Progress};

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
    pub(in super::super) progress: Progress,
    pub(in super::super) origin: Origin,
    /// When it came into memory.
    pub(in super::super) entered_at: Timestamp,
}

impl Job {
    /// A delivery by a lease.
    pub(in super::super) fn leased(leased: Leased, now: Timestamp, until: Timestamp) -> Self {
        let Leased { key, account, event, lease, failures, recorded_at } = leased;
        Self {
            key,
            account,
            event,
            progress: Progress { failures, since: recorded_at },
            origin: Origin::Store { lease, until },
            entered_at: now,
        }
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
        let failures = self.progress.failures;
        Ended { job: self, ending: Ending::Parked { due_at }, failures, attempt: None }
    }
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
