//! A deliverer: a consumer of the results topic, what is parked in the store, and the loop over both.

mod endpoints;
mod intake;
mod partitions;
mod recording;

pub(crate) use intake::event_of;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Consumer, PollLimits, Polled, Queue, QueueError, Received};
use crate::store::{Deliveries, DeliveryKey, EndpointState, SET_BACK_CHECK, StoreError};
use crate::telemetry::{DelivererLag, EndpointGauges, Metrics, with_causes};

use super::ambient::Ambient;
use super::endpoint::{DelivererOptions, Endpoint};
use super::error::DelivererError;
use super::ledger::Ledger;
use super::operational::OperatorReports;
use super::outbox::{Ended, Gate, Job, Outbox, Signal};
use super::processes::Processes;
use super::sender::Sender;
use super::sends::Sends;
use recording::{MAX_RECORDED, MAX_UNRECORDED};

/// What a step came to, for whoever drives the deliverer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a deliverer that asks for a pause must get it"]
pub enum StepOutcome {
    /// Something was done or is under way; step again.
    Progress,
    /// Nothing was there to do.
    Idle,
    /// Step again after this pause: something is unavailable.
    Pause(Duration),
}

/// A deliverer. Dropping it at any point loses nothing: what it had not committed is read again, and
/// what it had leased passes on when the lease ends.
pub struct Deliverer<Q: Queue, D: Deliveries, S: Sender> {
    queue: Q,
    consumer: Q::Consumer,
    store: D,
    sends: Sends<S>,
    options: DelivererOptions,
    metrics: Metrics,
    lag: DelivererLag,
    /// How the endpoints stand, in the order of the outboxes.
    gauges: Vec<EndpointGauges>,
    ambient: Ambient,
    reports: Option<OperatorReports>,
    /// What all may send together is shared with.
    processes: Processes,
    unstarted: Vec<Assignment>,
    ledgers: BTreeMap<Partition, Ledger>,
    /// Read, but not yet looked up and given to the outboxes.
    inbox: Vec<Received>,
    /// Deliveries from the topic that are not recorded, with the records that wait for them.
    active: HashMap<DeliveryKey, Vec<(Partition, Offset)>>,
    /// What is known of the endpoints, in the order of the outboxes. Nothing is read before it is known of each
    /// since when it is configured.
    states: Vec<EndpointState>,
    /// Places of the endpoints of which it was told that events before their start are passed over.
    told_early: BTreeSet<usize>,
    signals: Vec<(usize, Signal)>,
    /// The last claim found something, so there may be more.
    may_claim_more: bool,
    /// Ends recorded at a time; fewer while one that the store cannot hold is looked for.
    max_recorded: usize,
    /// An end that the store cannot hold, and why.
    unstorable: Option<(usize, Ended, String)>,
    /// Deliveries given up that operators are not told of, by outbox.
    exhausted: BTreeMap<usize, u64>,
    is_failing: bool,
    timers: Timers,
}

/// When what is done from time to time was done last.
#[derive(Default)]
struct Timers {
    committed: Option<Instant>,
    refreshed: Option<Instant>,
    claimed: Option<Instant>,
    frontiers_seen: Option<Instant>,
    exhausted_told: Option<Instant>,
}

fn is_due(last: Option<Instant>, interval: Duration, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= interval)
}

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    /// A deliverer on a consumer of the results topic.
    #[allow(clippy::too_many_arguments, reason = "the ports, what to do with them, and what to tell")]
    pub fn new(
        queue: Q,
        consumer: Q::Consumer,
        store: D,
        sender: S,
        endpoints: Vec<Endpoint>,
        options: DelivererOptions,
        ambient: Ambient,
        metrics: Metrics,
    ) -> Self {
        let now = ambient.now();
        let states = endpoints.iter().map(|endpoint| EndpointState::unknown(endpoint.name.clone()));
        let states = states.collect();
        let gauges =
            endpoints.iter().map(|one| metrics.callbacks().endpoint(one.name.as_str())).collect();
        let outboxes = endpoints.into_iter().map(|endpoint| Outbox::new(Arc::new(endpoint), now));
        Self {
            queue,
            consumer,
            store,
            sends: Sends::new(outboxes.collect(), sender, ambient.clone(), metrics.clone()),
            options,
            lag: metrics.callbacks().deliverer_lag(),
            gauges,
            metrics,
            ambient,
            reports: None,
            processes: Processes::default(),
            unstarted: Vec::new(),
            ledgers: BTreeMap::new(),
            inbox: Vec::new(),
            active: HashMap::new(),
            states,
            told_early: BTreeSet::new(),
            signals: Vec::new(),
            may_claim_more: false,
            max_recorded: MAX_RECORDED,
            unstorable: None,
            exhausted: BTreeMap::new(),
            is_failing: false,
            timers: Timers::default(),
        }
    }

    /// Has operators told of what becomes of endpoints.
    #[must_use]
    pub fn with_reports(self, reports: OperatorReports) -> Self {
        Self { reports: Some(reports), ..self }
    }

    /// Has it send its share of what the processes may that are counted there.
    #[must_use]
    pub fn sharing_with(self, processes: Processes) -> Self {
        Self { processes, ..self }
    }

    /// Steps until `stop` is cancelled, then records what is under way and commits. An error is final.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), DelivererError> {
        let pulse = self.metrics.pulse("the deliverer of callbacks");
        while !stop.is_cancelled() {
            if let StepOutcome::Pause(wait) = self.step(Instant::now()).await? {
                let pause = tokio::time::timeout(wait, stop.cancelled());
                let _ = self.sends.alongside(&self.options, pause).await;
            } else {
                pulse.beat();
            }
        }
        self.finish().await
    }

    /// Does the next thing.
    pub async fn step(&mut self, now: Instant) -> Result<StepOutcome, DelivererError> {
        // While something fails, partitions may still be taken away.
        if self.is_failing {
            let rebalance_only = PollLimits { max_records: 0, max_bytes: 0, max_wait: Duration::ZERO };
            if let pause @ StepOutcome::Pause(_) = self.poll(rebalance_only).await? {
                return Ok(pause);
            }
        }
        let outcome = self.work(now).await?;
        if let StepOutcome::Pause(_) = outcome {
            self.is_failing = true;
            return Ok(outcome);
        }
        self.is_failing = false;
        if outcome == StepOutcome::Idle
            || is_due(self.timers.committed, self.options.commit_interval, now)
        {
            self.begin_recording_progress();
            self.commit().await?;
            self.timers.committed = Some(now);
        }
        Ok(outcome)
    }

    async fn work(&mut self, now: Instant) -> Result<StepOutcome, DelivererError> {
        if let pause @ StepOutcome::Pause(_) = self.take_recorded()? {
            return Ok(pause);
        }
        self.tell_exhausted(now);
        if self.unstorable.is_some() {
            return self.put_aside().await;
        }
        self.begin_recording();
        let is_registered = self.states.iter().all(|state| state.known_since.is_some());
        if !is_registered || is_due(self.timers.refreshed, self.options.refresh_interval, now) {
            let outcome = self.refresh_endpoints().await?;
            self.timers.refreshed = Some(now);
            if let StepOutcome::Pause(_) = outcome {
                return Ok(outcome);
            }
        }
        if !self.unstarted.is_empty() {
            return self.start_partitions().await;
        }
        if is_due(self.timers.frontiers_seen, SET_BACK_CHECK, now) && !self.sends.is_recording() {
            self.timers.frontiers_seen = Some(now);
            if let pause @ StepOutcome::Pause(_) = self.look_for_frontiers_set_back().await? {
                return Ok(pause);
            }
        }
        self.signals.append(&mut self.sends.signals);
        if !self.signals.is_empty() {
            return self.heed_signals().await;
        }
        if self.park_what_is_shut() {
            return Ok(StepOutcome::Progress);
        }
        if self.may_claim_more || is_due(self.timers.claimed, self.options.claim_interval, now) {
            // However much is parked, the topic has its turn after each claim.
            if let pause @ StepOutcome::Pause(_) = self.claim_parked(now).await? {
                return Ok(pause);
            }
        }
        if !self.inbox.is_empty() {
            return self.take_in().await;
        }
        if self.make_room() {
            return Ok(StepOutcome::Progress);
        }
        self.poll(self.poll_limits()).await
    }

    /// Records what ends while nothing new begins, commits, and leaves the group.
    async fn finish(mut self) -> Result<(), DelivererError> {
        let now = self.ambient.now();
        for outbox in &mut self.sends.outboxes {
            outbox.set_gate(Gate::Shut, now);
            outbox.forget(|_| true);
        }
        let _ = self.park_what_is_shut();
        while self.sends.in_flight() > 0 || self.sends.unrecorded() > 0 {
            if let StepOutcome::Pause(_) = self.take_recorded()? {
                break;
            }
            self.begin_recording();
            self.sends.next_ended(&self.options).await;
            let _ = self.park_what_is_shut();
        }
        self.record_everything().await?;
        self.timers.exhausted_told = None;
        self.tell_exhausted(Instant::now());
        self.commit().await?;
        let partitions: Vec<Partition> = self.ledgers.keys().copied().collect();
        self.consumer.release(&partitions).await.map_err(DelivererError::Queue)
    }

    async fn poll(&mut self, limits: PollLimits) -> Result<StepOutcome, DelivererError> {
        let polled = self.sends.until_ended(&self.options, self.consumer.poll(limits)).await;
        self.lag.set(self.consumer.backlog_records());
        if let Some(Ok(Polled::Idle)) = &polled {
            self.pass_gaps();
        }
        match polled {
            None => Ok(StepOutcome::Progress),
            Some(Ok(Polled::Idle)) if self.sends.is_busy() => Ok(StepOutcome::Progress),
            Some(Ok(Polled::Idle)) => Ok(StepOutcome::Idle),
            Some(Ok(Polled::Records(records))) => {
                self.inbox = records;
                // What is to be started anew is read again.
                let unstarted: Vec<_> = self.unstarted.iter().map(|new| new.partition).collect();
                self.inbox.retain(|received| !unstarted.contains(&received.partition));
                Ok(StepOutcome::Progress)
            }
            Some(Ok(Polled::Assigned(assignments))) => {
                self.unstarted.extend(assignments);
                Ok(StepOutcome::Progress)
            }
            Some(Ok(Polled::Revoked(partitions))) => {
                self.give_back(&partitions).await?;
                Ok(StepOutcome::Progress)
            }
            Some(Err(error)) => self.retry_queue(error),
        }
    }

    /// Nothing more is read while as much waits for an endpoint, or to be recorded, as may; and nothing is waited
    /// for while there may be more to lease.
    fn poll_limits(&self) -> PollLimits {
        let is_full = |outbox: &Outbox| outbox.waiting() >= self.options.max_waiting;
        let is_behind = self.sends.unrecorded() >= MAX_UNRECORDED;
        let max_records =
            if is_behind || self.sends.outboxes.iter().any(is_full) { 0 } else { usize::MAX };
        let max_records = max_records.min(self.options.poll.max_records);
        let max_wait = if self.may_claim_more { Duration::ZERO } else { self.options.poll.max_wait };
        PollLimits { max_records, max_wait, ..self.options.poll }
    }

    /// An endpoint that is behind must not hold up one that has nothing to do: what has waited for it
    /// too long is parked. Tells whether anything was.
    fn make_room(&mut self) -> bool {
        let max_waiting = self.options.max_waiting;
        let is_full = |outbox: &Outbox| outbox.waiting() >= max_waiting;
        let outboxes = &mut self.sends.outboxes;
        if !outboxes.iter().any(is_full) || !outboxes.iter().any(Outbox::is_idle) {
            return false;
        }
        let ended_before = self.sends.ended.len();
        let now = self.ambient.now();
        let entered_before = now.earlier(self.options.patience);
        let lease_until = now.later(self.options.lease);
        for (place, outbox) in outboxes.iter_mut().enumerate().filter(|(_, outbox)| is_full(outbox)) {
            let ended = outbox.make_room(entered_before, now, lease_until);
            self.sends.ended.extend(ended.into_iter().map(|ended| (place, ended)));
        }
        self.sends.ended.len() > ended_before
    }

    /// Parks what waits for an endpoint to which nothing may be sent, and gives back what is leased and not sent
    /// for long; tells whether anything was.
    fn park_what_is_shut(&mut self) -> bool {
        let ended_before = self.sends.ended.len();
        let now = self.ambient.now();
        for (place, outbox) in self.sends.outboxes.iter_mut().enumerate() {
            let mut ended = outbox.give_back_if_shut(now);
            ended.extend(outbox.give_back_leases(now));
            self.sends.ended.extend(ended.into_iter().map(|ended| (place, ended)));
        }
        self.sends.ended.len() > ended_before
    }

    async fn claim_parked(&mut self, now: Instant) -> Result<StepOutcome, DelivererError> {
        let (time, max) = (self.ambient.now(), self.options.max_claim);
        let outboxes = self.sends.outboxes.iter_mut();
        let claims: Vec<_> = outboxes.filter_map(|outbox| outbox.claim(time, max)).collect();
        if claims.is_empty() {
            return Ok(StepOutcome::Idle);
        }
        let until = time.later(self.options.lease);
        let claim = self.store.claim(&claims, time, until);
        let leased = match self.sends.alongside(&self.options, claim).await {
            Ok(leased) => leased,
            Err(error) => return self.retry_store(error),
        };
        self.timers.claimed = Some(now);
        self.may_claim_more = !leased.is_empty();
        let time = self.ambient.now();
        for outbox in &mut self.sends.outboxes {
            let name = &outbox.endpoint.name;
            let theirs = leased.iter().filter(|leased| leased.key.endpoint == *name);
            let jobs: Vec<Job> = theirs.map(|leased| Job::leased(leased.clone(), time, until)).collect();
            outbox.add_leased(jobs, time);
        }
        Ok(if leased.is_empty() { StepOutcome::Idle } else { StepOutcome::Progress })
    }

    fn retry_store(&self, error: StoreError) -> Result<StepOutcome, DelivererError> {
        match error {
            StoreError::Unavailable { .. } => Ok(self.retry("store_unavailable", &error)),
            StoreError::Poison { .. } | StoreError::Broken { .. } => Err(DelivererError::Store(error)),
        }
    }

    fn retry_queue(&self, error: QueueError) -> Result<StepOutcome, DelivererError> {
        match error {
            QueueError::Overloaded | QueueError::NotAssigned { .. } | QueueError::Unavailable { .. } => {
                Ok(self.retry("queue_unavailable", &error))
            }
            QueueError::Broken { .. } => Err(DelivererError::Queue(error)),
        }
    }

    fn retry(&self, reason: &'static str, error: &(dyn std::error::Error + 'static)) -> StepOutcome {
        let wait = self.options.retry_wait;
        self.metrics.callbacks().retried(reason);
        tracing::warn!(
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            error = %with_causes(error),
            "trying again; no event is lost meanwhile"
        );
        StepOutcome::Pause(wait)
    }
}
