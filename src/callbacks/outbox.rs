//! What one endpoint is to get from this process: what waits in memory, what is under way, and what has
//! ended. It decides, and does nothing itself.
//!
//! In an ordered endpoint's outbox a line has at most one delivery from the topic that is ready or under
//! way; the later ones stand behind it. When it is parked they are parked behind it, in their order, and
//! until that is recorded so is whatever comes after them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::account::Timestamp;
use crate::events::CloudEvent;
use crate::store::{Attempt, Claim, DeliveryKey, Ending, Leased};

use super::attempt::{Answer, NoAnswer, Progress, Verdict, go_on};
use super::breaker::Failing;
use super::endpoint::{DelivererOptions, Endpoint};
use super::handshake::{Agreement, Outcome, Permission, Question};
use super::pace::Pace;
use super::schedule::later;

/// How long what is leased at a time should keep an endpoint busy.
const CLAIM_LASTS: Duration = Duration::from_secs(1);

/// Where a delivery comes from, and so how its end is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
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
pub(super) struct Job {
    pub(super) key: DeliveryKey,
    pub(super) account: Arc<str>,
    pub(super) event: Arc<CloudEvent>,
    pub(super) progress: Progress,
    pub(super) origin: Origin,
    /// When it came into memory.
    pub(super) entered_at: Timestamp,
}

impl Job {
    /// A delivery by a lease.
    pub(super) fn leased(leased: Leased, now: Timestamp, until: Timestamp) -> Self {
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

    fn parked(self, due_at: Timestamp) -> Ended {
        let failures = self.progress.failures;
        Ended { job: self, ending: Ending::Parked { due_at }, failures, attempt: None }
    }
}

/// A delivery whose end is to be recorded.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) job: Job,
    pub(super) ending: Ending,
    pub(super) failures: u32,
    pub(super) attempt: Option<Attempt>,
}

/// Whether anything may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Everything.
    Free,
    /// One request, to see whether the endpoint works again.
    Probe {
        /// Until then; afterwards the probe is another's.
        until: Timestamp,
    },
    /// Nothing: events are parked.
    Shut,
}

/// What an attempt says of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// It works although it was not expected to.
    Works,
    /// It has failed for long enough.
    Fails,
    /// It wants nothing more.
    Gone,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Landing {
    pub(super) flight: u64,
    pub(super) answered: Result<Answer, NoAnswer>,
    pub(super) at: Timestamp,
    pub(super) duration: Duration,
}

/// An endpoint's outbox.
pub(super) struct Outbox {
    pub(super) endpoint: Arc<Endpoint>,
    ready: VecDeque<Job>,
    /// By line, what stands behind the delivery that is ready or under way.
    behind: HashMap<Arc<str>, VecDeque<Job>>,
    /// By line, what is parked but not yet recorded so.
    unrecorded: HashMap<Arc<str>, usize>,
    flights: BTreeMap<u64, Vec<Job>>,
    next_flight: u64,
    gate: Gate,
    /// Whether the receiver wants anything at all.
    agreement: Agreement,
    /// The receiver has asked for quiet until then.
    quiet_until: Option<Timestamp>,
    failing: Failing,
    /// It has held up others, and has not been idle since.
    is_behind: bool,
    rate: Pace,
    drain: Pace,
    claim_size: usize,
    claimed_at: Timestamp,
}

impl Outbox {
    pub(super) fn new(endpoint: Arc<Endpoint>, now: Timestamp) -> Self {
        Self {
            ready: VecDeque::new(),
            behind: HashMap::new(),
            unrecorded: HashMap::new(),
            flights: BTreeMap::new(),
            next_flight: 0,
            gate: Gate::Free,
            agreement: Agreement::new(endpoint.handshake.as_ref(), now),
            quiet_until: None,
            failing: Failing::default(),
            is_behind: false,
            rate: Pace::new(endpoint.rate, now),
            drain: Pace::new(endpoint.drain_rate, now),
            claim_size: endpoint.concurrency * endpoint.batch,
            claimed_at: now,
            endpoint,
        }
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Deliveries that wait in memory.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len() + self.behind.values().map(VecDeque::len).sum::<usize>()
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.ready.is_empty()
    }

    /// When what cannot be sent now is due; none while something may be sent.
    fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some(until) = self.agreement.shut_until(now) {
            return Some(until);
        }
        match (self.quiet_until, self.gate) {
            (Some(until), _) if until > now => Some(until),
            (_, Gate::Free) => None,
            (_, Gate::Probe { until }) if until > now => None,
            (_, Gate::Probe { .. } | Gate::Shut) => Some(now),
        }
    }

    fn max_flights(&self) -> usize {
        match self.gate {
            Gate::Probe { .. } => 1,
            Gate::Free | Gate::Shut => self.endpoint.concurrency,
        }
    }

    /// Takes a delivery from the topic, or says that it is parked. `is_held` tells that the store has
    /// something of its line parked. An endpoint that is behind is given what keeps it busy, and the rest
    /// is parked at once: it would only hold up the others again.
    pub(super) fn offer(&mut self, job: Job, is_held: bool, now: Timestamp) -> Option<Ended> {
        self.is_behind &= !self.is_idle();
        let has_enough =
            self.is_behind && self.waiting() >= self.endpoint.concurrency * self.endpoint.batch;
        let is_held = is_held && self.endpoint.is_ordered || self.unrecorded.contains_key(&job.account);
        let has_probe = matches!(self.gate, Gate::Probe { .. }) && !self.is_idle();
        let due_at = self.shut_until(now).or((is_held || has_probe || has_enough).then_some(now));
        if self.endpoint.is_ordered
            && let Some(line) = self.behind.get_mut(&job.account)
        {
            // Whatever becomes of the one in front decides about this one too.
            line.push_back(job);
            return None;
        }
        if let Some(due_at) = due_at {
            return Some(self.park(job, due_at));
        }
        if self.endpoint.is_ordered {
            self.behind.insert(Arc::clone(&job.account), VecDeque::new());
        }
        self.ready.push_back(job);
        None
    }

    /// Takes deliveries that were leased.
    pub(super) fn add_leased(&mut self, jobs: Vec<Job>, now: Timestamp) {
        if jobs.is_empty() {
            return;
        }
        self.drain.spend(jobs.len());
        self.claimed_at = now;
        self.ready.extend(jobs);
    }

    /// What to lease now; nothing before half of what was leased is under way, so that the store is asked
    /// while there is something to send. When that went fast, more is leased at a time; when it went
    /// slowly, less, so that no lease ends while its delivery waits.
    pub(super) fn claim(&mut self, now: Timestamp, max: usize) -> Option<Claim> {
        let is_leased = |job: &Job| job.origin != Origin::Topic;
        if self.shut_until(now).is_some()
            || !self.agreement.is_given()
            || self.ready.iter().filter(|job| is_leased(job)).count() > self.claim_size / 2
        {
            return None;
        }
        let limit = match self.gate {
            Gate::Probe { .. } => usize::from(self.is_idle()),
            Gate::Free | Gate::Shut => {
                let size = self.next_claim_size(now, max);
                self.drain.allows(size, now)
            }
        };
        (limit > 0).then(|| Claim { endpoint: self.endpoint.name.clone(), limit })
    }

    fn next_claim_size(&mut self, now: Timestamp, max: usize) -> usize {
        let least = (self.endpoint.concurrency * self.endpoint.batch).min(max);
        let changed = if now <= later(self.claimed_at, CLAIM_LASTS) {
            self.claim_size.saturating_mul(2)
        } else {
            self.claim_size / 2
        };
        self.claim_size = changed.clamp(least, max);
        self.claim_size
    }

    /// Whether a delivery waits or is under way.
    pub(super) fn has(&self, key: &DeliveryKey) -> bool {
        let behind = self.behind.values().flatten();
        self.ready.iter().chain(behind).chain(self.flights.values().flatten()).any(|job| job.key == *key)
    }

    /// What to ask the receiver now, if anything; the answer is to be handed to [`Outbox::answered`].
    pub(super) fn ask(&mut self, now: Timestamp) -> Option<Question> {
        if self.gate == Gate::Shut {
            return None;
        }
        let question = self.endpoint.handshake.as_ref()?;
        self.agreement.ask(now).then(|| question.clone())
    }

    /// Takes what the receiver answered.
    pub(super) fn answered(
        &mut self,
        answered: Result<Permission, NoAnswer>,
        now: Timestamp,
        options: &DelivererOptions,
    ) -> Option<Outcome> {
        let question = self.endpoint.handshake.as_ref()?;
        Some(self.agreement.answered(question, answered, now, &options.breaker))
    }

    /// The next request that may go: the number of its flight, and its events. What is under a lease
    /// that ends before `margin` is over is left to whoever leases it next.
    pub(super) fn take_off(
        &mut self,
        now: Timestamp,
        margin: Duration,
    ) -> Option<(u64, Vec<Arc<CloudEvent>>)> {
        if self.shut_until(now).is_some() || self.flights.len() >= self.max_flights() {
            return None;
        }
        let safe_until = later(now, margin);
        self.drop_front_while(
            |origin| matches!(origin, Origin::Store { until, .. } if until < safe_until),
        );
        let count = self.rate.allows(self.ready.len().min(self.endpoint.batch), now);
        if count == 0 || !self.agreement.allows_request(now) {
            return None;
        }
        self.rate.spend(count);
        self.agreement.spend_request();
        let jobs: Vec<Job> = self.ready.drain(..count).collect();
        let events = jobs.iter().map(|job| Arc::clone(&job.event)).collect();
        let flight = self.next_flight;
        self.next_flight += 1;
        self.flights.insert(flight, jobs);
        Some((flight, events))
    }

    fn drop_front_while(&mut self, is_dropped: impl Fn(Origin) -> bool) {
        while self.ready.front().is_some_and(|job| is_dropped(job.origin)) {
            self.ready.pop_front();
        }
    }

    /// Ends an attempt.
    pub(super) fn land(
        &mut self,
        landing: Landing,
        now: Timestamp,
        random: f64,
        options: &DelivererOptions,
    ) -> (Vec<Ended>, Option<Signal>) {
        let Landing { flight, answered, at, duration } = landing;
        let jobs = self.flights.remove(&flight).unwrap_or_default();
        let verdict = Verdict::of(&answered);
        let (status, answer) = match answered {
            Ok(answer) => (Some(answer.status), answer.body),
            Err(none) => (None, none.0),
        };
        let attempt = Attempt { at, duration, status, answer };
        let mut ended = Vec::with_capacity(jobs.len());
        for job in jobs {
            let (ending, failures) = go_on(job.progress, verdict, now, &options.schedule, random);
            let line = (job.origin == Origin::Topic).then(|| Arc::clone(&job.account));
            self.note_parked(&job, ending);
            ended.push(Ended { job, ending, failures, attempt: Some(attempt.clone()) });
            if let Some(line) = line {
                self.move_line(&line, ending, now, &mut ended);
            }
        }
        (ended, self.signal(verdict, now, options))
    }

    /// Lets the next of a line come up, or parks all of it behind a parked one.
    fn move_line(&mut self, line: &Arc<str>, ending: Ending, now: Timestamp, ended: &mut Vec<Ended>) {
        let Some(mut behind) = self.behind.remove(line) else { return };
        if let Ending::Parked { .. } = ending {
            ended.extend(behind.into_iter().map(|job| self.park(job, now)));
        } else if let Some(next) = behind.pop_front() {
            self.ready.push_front(next);
            self.behind.insert(Arc::clone(line), behind);
        }
    }

    fn signal(
        &mut self,
        verdict: Verdict,
        now: Timestamp,
        options: &DelivererOptions,
    ) -> Option<Signal> {
        let expects_nothing = self.gate != Gate::Free;
        match verdict {
            Verdict::Delivered => {
                self.failing.succeeded();
                expects_nothing.then_some(Signal::Works)
            }
            Verdict::Throttled(wait) => {
                let wait = options.schedule.asked(Some(wait)).unwrap_or_default();
                self.quiet_until = self.quiet_until.max(Some(later(now, wait)));
                self.failing.succeeded();
                expects_nothing.then_some(Signal::Works)
            }
            Verdict::Gone => Some(Signal::Gone),
            Verdict::Failed if expects_nothing => {
                self.gate = Gate::Shut;
                None
            }
            Verdict::Failed => self.failing.failed(now, &options.breaker).then_some(Signal::Fails),
        }
    }

    /// While nothing may be sent, what waits is parked, or given back.
    pub(super) fn give_back_if_shut(&mut self, now: Timestamp) -> Vec<Ended> {
        match self.shut_until(now) {
            Some(due_at) => self.give_back(due_at, |_| true),
            None => Vec::new(),
        }
    }

    /// Parks what has waited since before `entered_before`, so that it holds up nothing else. A line
    /// whose first is under way passes to the store with it: that one is recorded as leased until
    /// `lease_until`, and ends like one that was.
    pub(super) fn make_room(
        &mut self,
        entered_before: Timestamp,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Vec<Ended> {
        let is_late = |job: &Job| job.origin == Origin::Topic && job.entered_at <= entered_before;
        let mut ended = self.give_back(now, is_late);
        let late_lines: Vec<Arc<str>> = self
            .behind
            .iter()
            .filter(|(_, behind)| behind.front().is_some_and(is_late))
            .map(|(line, _)| Arc::clone(line))
            .collect();
        for line in late_lines {
            let in_front = self
                .flights
                .values_mut()
                .flatten()
                .find(|job| job.origin == Origin::Topic && job.account == line);
            let Some(in_front) = in_front else { continue };
            let adopted = in_front.clone();
            in_front.origin = Origin::Store { lease: 0, until: lease_until };
            ended.push(self.park(adopted, lease_until));
            self.move_line(&line, Ending::Parked { due_at: now }, now, &mut ended);
        }
        self.is_behind |= !ended.is_empty();
        ended
    }

    /// Parks those that are ready and meant, each with what stands behind it.
    fn give_back(&mut self, due_at: Timestamp, is_meant: impl Fn(&Job) -> bool) -> Vec<Ended> {
        let mut ended = Vec::new();
        let mut kept = VecDeque::new();
        for job in std::mem::take(&mut self.ready) {
            if !is_meant(&job) {
                kept.push_back(job);
                continue;
            }
            let line = (job.origin == Origin::Topic).then(|| Arc::clone(&job.account));
            ended.push(self.park(job, due_at));
            if let Some(line) = line {
                self.move_line(&line, Ending::Parked { due_at }, due_at, &mut ended);
            }
        }
        self.ready = kept;
        ended
    }

    /// Forgets what came from the topic, is not under way and is meant: somebody else reads it again.
    pub(super) fn forget(&mut self, is_meant: impl Fn(&DeliveryKey) -> bool) {
        let is_kept = |job: &Job| job.origin != Origin::Topic || !is_meant(&job.key);
        for behind in self.behind.values_mut() {
            behind.retain(is_kept);
        }
        let (kept, forgotten): (VecDeque<Job>, VecDeque<Job>) =
            std::mem::take(&mut self.ready).into_iter().partition(is_kept);
        self.ready = kept;
        for job in forgotten {
            // The whole line is of one partition, so nothing of it is left.
            self.behind.remove(&job.account);
        }
    }

    fn park(&mut self, job: Job, due_at: Timestamp) -> Ended {
        self.note_parked(&job, Ending::Parked { due_at });
        job.parked(due_at)
    }

    fn note_parked(&mut self, job: &Job, ending: Ending) {
        let holds_line = self.endpoint.is_ordered && job.origin == Origin::Topic;
        if holds_line && matches!(ending, Ending::Parked { .. }) {
            *self.unrecorded.entry(Arc::clone(&job.account)).or_default() += 1;
        }
    }

    /// What was parked is recorded: from now on the store tells that it holds its line.
    pub(super) fn recorded(&mut self, ended: &Ended) {
        let is_parked = matches!(ended.ending, Ending::Parked { .. });
        if !self.endpoint.is_ordered || ended.job.origin != Origin::Topic || !is_parked {
            return;
        }
        if let Some(count) = self.unrecorded.get_mut(&ended.job.account) {
            *count -= 1;
            if *count == 0 {
                self.unrecorded.remove(&ended.job.account);
            }
        }
    }
}
