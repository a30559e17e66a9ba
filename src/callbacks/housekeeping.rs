//! What one process does for all: removing what has ended long ago, giving up what was parked for too long,
//! releasing lines that nothing holds, and telling what is parked. It runs beside the deliverers, in small
//! slices, and whatever becomes of it stops nothing: what could not be done is done in a later round, by this
//! process or another.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::account::Timestamp;
use crate::store::{Deliveries, EndpointName, GivingUp, Line, ProcessId, Selection, StoreError};
use crate::telemetry::{BacklogGauges, Metrics, with_causes};

use super::ambient::Ambient;
use super::processes::Processes;

/// How many rounds a process may miss before the others go on without it.
const MISSED_ROUNDS: u32 = 3;

/// Options of the housekeeping.
#[derive(Clone, Debug)]
pub struct HousekeepingOptions {
    /// The wait between rounds.
    pub interval: Duration,
    /// The wait before the next slice while there is more to remove or to give up.
    pub slice_pause: Duration,
    /// How long deliveries that have ended are kept.
    pub retention: Duration,
    /// How long a delivery may be parked or wait; then it is given up.
    pub max_parked_age: Duration,
    /// How long a parked delivery is the process's alone that has leased it.
    pub lease: Duration,
    /// Deliveries removed or released in one slice.
    pub max_sweep: usize,
}

/// The housekeeping of one process.
pub struct Housekeeper<D> {
    id: ProcessId,
    store: D,
    endpoints: Vec<EndpointName>,
    options: HousekeepingOptions,
    ambient: Ambient,
    metrics: Metrics,
    processes: Processes,
    /// What is told of the backlog, while this process is the one that does.
    gauges: Vec<BacklogGauges>,
    /// After which line the search for lines without a head goes on.
    stranded_after: Option<Line>,
    /// When what is done once an interval was done last.
    surveyed_at: Option<Timestamp>,
}

impl<D: Deliveries> Housekeeper<D> {
    /// The housekeeping of a process that delivers to these endpoints.
    pub fn new(
        store: D,
        endpoints: Vec<EndpointName>,
        options: HousekeepingOptions,
        ambient: Ambient,
        metrics: Metrics,
    ) -> Self {
        Self {
            id: ProcessId::new(),
            store,
            endpoints,
            options,
            ambient,
            metrics,
            processes: Processes::default(),
            gauges: Vec::new(),
            stranded_after: None,
            surveyed_at: None,
        }
    }

    /// How many processes deliver, as each round hears.
    pub fn processes(&self) -> Processes {
        self.processes.clone()
    }

    /// Goes on until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let working = async {
            loop {
                let wait = self.round().await;
                tokio::time::sleep(wait).await;
            }
        };
        if stop.run_until_cancelled(working).await.is_none() {
            self.leave().await;
        }
    }

    /// One round; how long to wait before the next.
    pub async fn round(&mut self) -> Duration {
        let now = self.ambient.now();
        let until = now.later(self.options.interval * MISSED_ROUNDS);
        let attendance = self.store.attend(self.id, now, until).await;
        if let Ok(attendance) = &attendance {
            self.processes.note(attendance.processes);
        }
        match attendance {
            Ok(attendance) if attendance.is_first => {}
            attendance => {
                self.gauges.clear();
                self.surveyed_at = None;
                if let Err(error) = attendance {
                    self.tell_failure(&error);
                }
                return self.options.interval;
            }
        }
        // Each is done whatever becomes of the other.
        let survey_before = now.earlier(self.options.interval);
        if self.surveyed_at.is_none_or(|surveyed_at| surveyed_at <= survey_before) {
            self.surveyed_at = Some(now);
            for part in [self.tell_backlog(now).await, self.release_stranded(now).await] {
                if let Err(error) = part {
                    self.tell_failure(&error);
                }
            }
        }
        let parts = [self.remove(now).await, self.give_up(now).await];
        let mut may_be_more = false;
        for part in parts {
            match part {
                Ok(is_more) => may_be_more |= is_more,
                Err(error) => self.tell_failure(&error),
            }
        }
        if may_be_more { self.options.slice_pause } else { self.options.interval }
    }

    /// Removes a slice of what ended long ago; whether there may be more.
    async fn remove(&self, now: Timestamp) -> Result<bool, StoreError> {
        let (before, limit) = (now.earlier(self.options.retention), self.options.max_sweep);
        Ok(self.store.remove_ended(before, limit).await? >= limit as u64)
    }

    /// Gives up a slice of what is parked for too long; whether there may be more.
    async fn give_up(&self, now: Timestamp) -> Result<bool, StoreError> {
        let (limit, options) = (self.options.max_sweep, &self.options);
        let parked_before = now.earlier(options.max_parked_age);
        let too_old = Selection { to: Some(parked_before), ..Selection::default() };
        let reason = "parked for longer than callbacks.max_parked_age".to_owned();
        let giving_up = GivingUp { reason, now, leases_end: now.later(options.lease) };
        let given_up = self.store.give_up(&too_old, &giving_up, limit).await?;
        if given_up > 0 {
            tracing::error!(
                given_up,
                "deliveries were parked for longer than callbacks.max_parked_age and are given up; `penstock \
                 callbacks list --state exhausted` shows them, `redeliver` takes them up again"
            );
        }
        Ok(given_up >= limit as u64)
    }

    /// Releases what waits behind nothing in the next slice of the lines. One slice an interval: a long backlog
    /// has very many lines, all of which are in order but for a rare one.
    async fn release_stranded(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let after = self.stranded_after.take();
        let released = self.store.release_stranded(after.as_ref(), self.options.max_sweep, now).await?;
        self.stranded_after = released.after;
        Ok(())
    }

    fn tell_failure(&self, error: &StoreError) {
        self.metrics.callbacks().retried("housekeeping");
        tracing::warn!(
            error = %with_causes(error),
            "what has ended long ago is not removed, or what is parked not counted; deliveries go on"
        );
    }

    /// Tells what is parked: one of all processes, so that a sum over processes is right.
    async fn tell_backlog(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let backlog = self.store.backlog().await?;
        if self.gauges.is_empty() {
            let names = self.endpoints.iter();
            self.gauges = names.map(|name| self.metrics.callbacks().backlog(name.as_str())).collect();
        }
        for (name, gauges) in self.endpoints.iter().zip(&self.gauges) {
            let found = backlog.iter().find(|found| found.endpoint == *name);
            let age_ms = found.map_or(0, |found| now.unix_millis() - found.oldest_at.unix_millis());
            let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
            gauges.set(found.map_or(0, |found| found.count.count), age);
        }
        Ok(())
    }

    /// Lets another process take over at once.
    async fn leave(&self) {
        let now = self.ambient.now();
        if let Err(error) = self.store.attend(self.id, now, now.earlier(Duration::from_secs(1))).await {
            tracing::debug!(error = %with_causes(&error), "the other processes notice later that this one ended");
        }
    }
}
