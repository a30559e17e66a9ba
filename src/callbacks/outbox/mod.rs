//! What one endpoint is to get from this process: what waits in memory, what is under way, and what has
//! ended. It decides, and does nothing itself.
//!
//! In an ordered endpoint's outbox a line has at most one delivery from the topic that is ready or under
//! way; the later ones stand behind it. When it is parked they are parked behind it, in their order, and
//! until that is recorded so is whatever comes after them.

#[cfg(test)]
mod any_receiver;
mod clearance;
mod job;
mod leasing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::account::Timestamp;
use crate::events::CloudEvent;
use crate::store::{Attempt, Claim, DeliveryKey, Ending};

use super::attempt::{NoAnswer, Verdict, go_on};
use super::endpoint::{DelivererOptions, Endpoint};
use super::handshake::{Outcome, Permission, Question};

pub(super) use clearance::{Gate, Signal};
pub(super) use job::{Ended, Job, Landing, Origin};

use clearance::Clearance;
use job::Flight;
use leasing::Leasing;

/// An endpoint's outbox.
pub(super) struct Outbox {
    pub(super) endpoint: Arc<Endpoint>,
    /// From the topic, in the order in which they came.
    ready: VecDeque<Job>,
    /// By a lease, the one that ends first in front.
    leased: VecDeque<Job>,
    /// By line, what stands behind the delivery that is ready or under way.
    behind: HashMap<Arc<str>, VecDeque<Job>>,
    /// By line, what is parked but not yet recorded so.
    unrecorded: HashMap<Arc<str>, usize>,
    flights: BTreeMap<u64, Flight>,
    next_flight: u64,
    clearance: Clearance,
    leasing: Leasing,
    /// It has held up others, and has not been idle since.
    is_behind: bool,
    /// Processes that share what may be sent to it, this one among them.
    processes: u32,
}

impl Outbox {
    pub(super) fn new(endpoint: Arc<Endpoint>, now: Timestamp) -> Self {
        Self {
            ready: VecDeque::new(),
            leased: VecDeque::new(),
            behind: HashMap::new(),
            unrecorded: HashMap::new(),
            flights: BTreeMap::new(),
            next_flight: 0,
            clearance: Clearance::new(&endpoint, now),
            leasing: Leasing::new(&endpoint, now),
            is_behind: false,
            processes: 1,
            endpoint,
        }
    }

    /// So many processes deliver to it.
    pub(super) fn share(&mut self, processes: u32) {
        self.processes = processes;
    }

    pub(super) fn gate(&self) -> Gate {
        self.clearance.gate()
    }

    pub(super) fn set_gate(&mut self, gate: Gate, now: Timestamp) {
        self.clearance.set_gate(gate, self.endpoint.handshake.as_ref(), now);
    }

    /// Deliveries from the topic that wait in memory. What is leased is bounded by itself, and must not keep
    /// anybody from reading.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len() + self.behind.values().map(VecDeque::len).sum::<usize>()
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.ready.is_empty() && self.leased.is_empty()
    }

    /// Takes a delivery from the topic, or says that it is parked. `is_held` tells that the store has
    /// something of its line parked. An endpoint that is behind is given what keeps it busy, and the rest
    /// is parked at once: it would only hold up the others again.
    pub(super) fn offer(&mut self, job: Job, is_held: bool, now: Timestamp) -> Option<Ended> {
        self.is_behind &= !self.is_idle();
        let waiting = self.waiting() + self.leased.len();
        let has_enough = self.is_behind && waiting >= self.endpoint.full_flights();
        let is_held = is_held && self.endpoint.is_ordered || self.unrecorded.contains_key(&job.account);
        let has_probe = self.clearance.is_probing() && !self.is_idle();
        let due_at =
            self.clearance.shut_until(now).or((is_held || has_probe || has_enough).then_some(now));
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
        self.leasing.leased(jobs.len(), now);
        self.leased.extend(jobs);
    }

    /// What to lease now; nothing before half of what was leased is under way, so that the store is asked
    /// while there is something to send.
    pub(super) fn claim(&mut self, now: Timestamp, max: usize) -> Option<Claim> {
        if self.clearance.shut_until(now).is_some()
            || !self.clearance.is_agreed()
            || self.leasing.is_supplied(self.leased.len())
        {
            return None;
        }
        let limit = if self.clearance.is_probing() {
            usize::from(self.is_idle())
        } else {
            let only_fails = self.clearance.failures() >= self.endpoint.full_flights();
            self.leasing.next(now, max, only_fails, self.processes)
        };
        (limit > 0).then(|| Claim { endpoint: self.endpoint.name.clone(), limit })
    }

    /// Until when the receiver wants to be left alone.
    pub(super) fn quiet_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.clearance.quiet_until(now)
    }

    /// Somebody wants the endpoint to be tried as if nothing had been heard of it yet.
    pub(super) fn begin_anew(&mut self, now: Timestamp) {
        self.clearance.begin_anew(self.endpoint.handshake.as_ref(), now);
    }

    /// What waits or is under way.
    pub(super) fn keys(&self) -> impl Iterator<Item = &DeliveryKey> {
        let behind = self.behind.values().flatten();
        let waiting = self.ready.iter().chain(behind).chain(&self.leased);
        waiting.chain(self.flights.values().flat_map(|flight| &flight.jobs)).map(|job| &job.key)
    }

    /// What to ask the receiver now, if anything; the answer is to be handed to [`Outbox::answered`].
    pub(super) fn ask(&mut self, now: Timestamp) -> Option<Question> {
        let question = self.endpoint.handshake.as_ref()?;
        self.clearance.ask(now).then(|| question.clone())
    }

    /// Takes what the receiver answered.
    pub(super) fn answered(
        &mut self,
        answered: Result<Permission, NoAnswer>,
        now: Timestamp,
        options: &DelivererOptions,
    ) -> Option<Outcome> {
        let question = self.endpoint.handshake.as_ref()?;
        Some(self.clearance.answered(question, answered, now, options))
    }

    /// The next request that may go: the number of its flight, and its events. What is under a lease
    /// that has less than half of its time left is left to whoever leases it next.
    pub(super) fn take_off(
        &mut self,
        now: Timestamp,
        options: &DelivererOptions,
    ) -> Option<(u64, Vec<Arc<CloudEvent>>)> {
        let max_flights = if self.clearance.is_probing() { 1 } else { self.endpoint.concurrency };
        if self.clearance.shut_until(now).is_some() || self.flights.len() >= max_flights {
            return None;
        }
        let jobs = self.take_ready(now, options);
        if jobs.is_empty() {
            return None;
        }
        let events = jobs.iter().map(|job| Arc::clone(&job.event)).collect();
        let flight = self.next_flight;
        self.next_flight += 1;
        self.flights.insert(flight, Flight { jobs, era: self.clearance.era() });
        Some((flight, events))
    }

    /// Takes those that go in one request now.
    fn take_ready(&mut self, now: Timestamp, options: &DelivererOptions) -> Vec<Job> {
        let safe_until = now.later(options.lease / 2);
        let (mut jobs, mut most) = (Vec::new(), self.endpoint.batch);
        while jobs.len() < most
            && let Some(job) = self.next()
        {
            if matches!(job.origin, Origin::Store { until, .. } if until < safe_until) {
                continue;
            }
            most = most.min(job.together(&self.endpoint, options));
            if jobs.len() >= most {
                self.put_back(job);
                break;
            }
            jobs.push(job);
        }
        let count = self.clearance.take(jobs.len(), self.processes, now);
        for job in jobs.drain(count..).rev() {
            self.put_back(job);
        }
        jobs
    }

    /// The next to go: who came first, from wherever.
    fn next(&mut self) -> Option<Job> {
        match (self.ready.front(), self.leased.front()) {
            (Some(ready), Some(leased)) if leased.entered_at < ready.entered_at => {
                self.leased.pop_front()
            }
            (Some(_), _) => self.ready.pop_front(),
            (None, _) => self.leased.pop_front(),
        }
    }

    /// It goes next of its kind.
    fn put_back(&mut self, job: Job) {
        let waiting = if job.is_from_topic() { &mut self.ready } else { &mut self.leased };
        waiting.push_front(job);
    }

    /// Gives back what was leased and has waited for long, so that whoever gets to it first may send it.
    pub(super) fn give_back_leases(&mut self, now: Timestamp) -> Vec<Ended> {
        let leased_before = now.earlier(leasing::PATIENCE);
        let mut ended = Vec::new();
        while self.leased.front().is_some_and(|job| job.entered_at < leased_before) {
            ended.extend(self.leased.pop_front().map(|job| job.parked(now)));
        }
        ended
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
        let Some(Flight { jobs, era }) = self.flights.remove(&flight) else { return (Vec::new(), None) };
        let verdict = Verdict::of(&answered);
        let signal = self.clearance.judge(verdict, era, now, random, options);
        if verdict == Verdict::Refused && jobs.len() > 1 {
            self.halve(jobs, now);
            return (Vec::new(), signal);
        }
        let (status, answer) = match answered {
            Ok(answer) => (Some(answer.status), answer.body),
            Err(none) => (None, none.0),
        };
        let attempt = Attempt { at, duration, status, answer };
        let mut ended = Vec::with_capacity(jobs.len());
        for job in jobs {
            let (ending, failures) = go_on(job.failures, verdict, now, &options.schedule, random);
            let line = job.line();
            self.note_parked(&job, ending);
            ended.push(Ended { job, ending, failures, attempt: Some(attempt.clone()) });
            if let Some(line) = line {
                self.move_line(&line, ending, now, &mut ended);
            }
        }
        (ended, signal)
    }

    /// Who refuses several at once may mean one of them: they go again at once, in halves, until the one
    /// that is meant is alone.
    fn halve(&mut self, jobs: Vec<Job>, now: Timestamp) {
        let max_together = jobs.len().div_ceil(2);
        for job in jobs.into_iter().rev() {
            // What is leased is not given back before it went again.
            let entered_at = if job.is_from_topic() { job.entered_at } else { now };
            self.put_back(Job { entered_at, max_together, ..job });
        }
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

    /// While nothing may be sent, what waits is parked, or given back.
    pub(super) fn give_back_if_shut(&mut self, now: Timestamp) -> Vec<Ended> {
        match self.clearance.shut_until(now) {
            Some(due_at) => {
                let leased = std::mem::take(&mut self.leased);
                let mut ended = self.give_back(due_at, |_| true);
                ended.extend(leased.into_iter().map(|job| job.parked(due_at)));
                ended
            }
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
        let is_late = |job: &Job| job.entered_at <= entered_before;
        let mut ended = self.give_back(now, is_late);
        let mut late_lines: Vec<Arc<str>> = self
            .behind
            .iter()
            .filter(|(_, behind)| behind.front().is_some_and(is_late))
            .map(|(line, _)| Arc::clone(line))
            .collect();
        // In an order that does not change from run to run.
        late_lines.sort_unstable();
        for line in late_lines {
            let in_front = self
                .flights
                .values_mut()
                .flat_map(|flight| &mut flight.jobs)
                .find(|job| job.is_from_topic() && job.account == line);
            let Some(in_front) = in_front else { continue };
            let adopted = in_front.clone();
            in_front.origin = Origin::Store { lease: 0, until: lease_until };
            ended.push(self.park(adopted, lease_until));
            self.move_line(&line, Ending::Parked { due_at: now }, now, &mut ended);
        }
        self.is_behind |= !ended.is_empty();
        ended
    }

    /// Parks those from the topic that are ready and meant, each with what stands behind it.
    fn give_back(&mut self, due_at: Timestamp, is_meant: impl Fn(&Job) -> bool) -> Vec<Ended> {
        let mut ended = Vec::new();
        let mut kept = VecDeque::new();
        for job in std::mem::take(&mut self.ready) {
            if !is_meant(&job) {
                kept.push_back(job);
                continue;
            }
            let line = job.line();
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
        let is_kept = |job: &Job| !is_meant(&job.key);
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
        let holds_line = self.endpoint.is_ordered && job.is_from_topic();
        if holds_line && matches!(ending, Ending::Parked { .. }) {
            *self.unrecorded.entry(Arc::clone(&job.account)).or_default() += 1;
        }
    }

    /// What was parked is recorded: from now on the store tells that it holds its line.
    pub(super) fn recorded(&mut self, ended: &Ended) {
        let is_parked = matches!(ended.ending, Ending::Parked { .. });
        if !self.endpoint.is_ordered || !ended.job.is_from_topic() || !is_parked {
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
