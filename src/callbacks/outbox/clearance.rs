//! Whether an endpoint may be sent anything now: what its state says, what its receiver has agreed to or
//! asked for, and its rate. What attempts come to changes it.

use std::time::Duration;

use crate::account::Timestamp;

use super::super::attempt::{NoAnswer, Verdict};
use super::super::breaker::Failing;
use super::super::endpoint::{DelivererOptions, Endpoint};
use super::super::handshake::{Agreement, Denied, Outcome, Permission, Question};
use super::super::pace::{Pace, Rate};
use super::super::schedule::{Schedule, Wait};

/// The shortest quiet time that operators are told of: what a receiver asks for every few seconds is its
/// way of setting the pace.
const TOLD_FROM: Duration = Duration::from_secs(10);

/// Whether anything may be sent, by the endpoint's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Gate {
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

/// What an attempt, or the answer to a question, says of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Signal {
    /// It works although it was not expected to.
    Works,
    /// It has failed for long enough.
    Fails,
    /// It wants nothing more.
    Gone,
    /// It works, and asks to be left alone until then.
    Quiet(Timestamp),
    /// It takes events again after it was told that it wanted to be left alone or did not agree.
    Listens,
    /// It does not agree to get events, or did not answer when it was asked.
    Disagrees(Option<Denied>),
}

impl Signal {
    /// What it means for the endpoint how a receiver was asked for its consent.
    pub(in super::super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Granted(_) => Self::Listens,
            Outcome::Denied(denied) => Self::Disagrees(Some(*denied)),
            Outcome::Failed(_) => Self::Disagrees(None),
        }
    }
}

/// A stretch of time in which the gate was not changed. What was sent before it says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Era(u64);

/// How far the receiver wants to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quiet {
    /// Not at all.
    No,
    /// Until the wait is over. Afterwards one request goes out, and the others when it is answered.
    Asked {
        wait: Wait,
        /// How often in a row it has asked.
        times: u32,
        /// Operators were told.
        is_told: bool,
    },
}

/// An endpoint's clearance.
pub(super) struct Clearance {
    gate: Gate,
    era: Era,
    /// Whether the receiver wants anything at all.
    agreement: Agreement,
    quiet: Quiet,
    failing: Failing,
    rate: Pace,
}

impl Clearance {
    pub(super) fn new(endpoint: &Endpoint, now: Timestamp) -> Self {
        Self {
            gate: Gate::Free,
            era: Era(0),
            agreement: Agreement::new(endpoint.handshake.as_ref(), now),
            quiet: Quiet::No,
            failing: Failing::default(),
            rate: Pace::new(endpoint.rate.map_or(Rate::Any, Rate::PerSecond), now),
        }
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate
    }

    /// The era in which a request takes off now.
    pub(super) fn era(&self) -> Era {
        self.era
    }

    /// What the endpoint's state says now. One that was shut and is not any longer is asked for its consent
    /// again; what the receiver asked for holds all the same, since an acknowledgement that was under way
    /// may have opened the gate.
    pub(super) fn set_gate(&mut self, gate: Gate, question: Option<&Question>, now: Timestamp) {
        if self.gate == Gate::Shut && gate != Gate::Shut {
            self.agreement.begin_anew(question, now);
        }
        self.turn(gate);
    }

    /// It is as if nothing had been heard of the receiver yet: what it asked for and how often it failed
    /// is forgotten, and it is asked `question` again before it gets anything.
    pub(super) fn begin_anew(&mut self, question: Option<&Question>, now: Timestamp) {
        self.agreement.begin_anew(question, now);
        self.quiet = Quiet::No;
        self.failing = Failing::default();
    }

    /// How often it failed before is no measure of what comes after.
    fn turn(&mut self, gate: Gate) {
        if gate != self.gate {
            self.failing = Failing::default();
            self.gate = gate;
            self.era.0 += 1;
        }
    }

    /// When what cannot be sent now is due; none while something may be sent.
    pub(super) fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some(until) = self.agreement.shut_until(now).or_else(|| self.quiet_until(now)) {
            return Some(until);
        }
        match self.gate {
            Gate::Free => None,
            Gate::Probe { until } if until > now => None,
            Gate::Probe { .. } | Gate::Shut => Some(now),
        }
    }

    /// Until when the receiver wants to be left alone.
    pub(super) fn quiet_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.quiet {
            Quiet::No => None,
            Quiet::Asked { wait, .. } => wait.until(now),
        }
    }

    /// Whether one request is to show that the endpoint works, or does not want to be left alone any more.
    pub(super) fn is_probing(&self) -> bool {
        matches!(self.gate, Gate::Probe { .. }) || matches!(self.quiet, Quiet::Asked { .. })
    }

    /// Attempts that have failed since the last one that did not.
    pub(super) fn failures(&self) -> usize {
        self.failing.count()
    }

    /// Whether the receiver has agreed, or needs not be asked.
    pub(super) fn is_agreed(&self) -> bool {
        self.agreement.is_given()
    }

    /// How many of `wanted` events may go in one request now from one of so many processes; they count as sent.
    pub(super) fn take(&mut self, wanted: usize, processes: u32, now: Timestamp) -> usize {
        let count = self.rate.allows(wanted, processes, now);
        if count == 0 || !self.agreement.allows_request(processes, now) {
            return 0;
        }
        self.rate.spend(count);
        self.agreement.spend_request();
        count
    }

    /// Whether to ask the receiver for its consent now; who is told so asks.
    pub(super) fn ask(&mut self, now: Timestamp) -> bool {
        self.gate != Gate::Shut && self.agreement.ask(now)
    }

    /// Takes what the receiver answered.
    pub(super) fn answered(
        &mut self,
        question: &Question,
        answered: Result<Permission, NoAnswer>,
        now: Timestamp,
        options: &DelivererOptions,
    ) -> Outcome {
        self.agreement.answered(question, answered, now, &options.breaker)
    }

    /// Takes what an attempt came to that took off in `era`. Of one that took off before the gate was last
    /// changed only what is good for the receiver is heard: that it works, or wants to be left alone.
    pub(super) fn judge(
        &mut self,
        verdict: Verdict,
        era: Era,
        now: Timestamp,
        random: f64,
        options: &DelivererOptions,
    ) -> Option<Signal> {
        let is_of_now = era == self.era;
        let expects_nothing = self.gate != Gate::Free;
        match verdict {
            Verdict::Delivered => {
                self.failing.succeeded();
                let was_told = self.has_listened(now);
                let listens = was_told.then_some(Signal::Listens);
                if expects_nothing { Some(Signal::Works) } else { listens }
            }
            Verdict::Throttled(asked) => {
                self.failing.succeeded();
                let told = self.leave_alone(asked, now, random, &options.schedule);
                let works = (expects_nothing && is_of_now).then_some(Signal::Works);
                works.or(told.map(Signal::Quiet))
            }
            Verdict::Gone | Verdict::Refused | Verdict::Failed if !is_of_now => None,
            Verdict::Gone => {
                self.turn(Gate::Shut);
                Some(Signal::Gone)
            }
            Verdict::Refused | Verdict::Failed if expects_nothing => {
                self.turn(Gate::Shut);
                None
            }
            Verdict::Refused | Verdict::Failed => {
                self.failing.failed(now, &options.breaker).then_some(Signal::Fails)
            }
        }
    }

    /// A request was acknowledged; tells whether operators were told that none would be sent. What was
    /// under way when the receiver asked to be left alone does not end that.
    fn has_listened(&mut self, now: Timestamp) -> bool {
        match self.quiet {
            Quiet::Asked { wait, is_told, .. } if wait.until(now).is_none() => {
                self.quiet = Quiet::No;
                is_told
            }
            Quiet::Asked { .. } | Quiet::No => false,
        }
    }

    /// The receiver asks to be left alone. What several requests at a time are answered is one wish. The
    /// end of the quiet time, when operators are to be told of it.
    fn leave_alone(
        &mut self,
        asked: Duration,
        now: Timestamp,
        random: f64,
        schedule: &Schedule,
    ) -> Option<Timestamp> {
        let (before, running, was_told) = match self.quiet {
            Quiet::No => (0, None, false),
            Quiet::Asked { wait, times, is_told } => match wait.until(now) {
                Some(until) => (times - 1, Some((wait, until)), is_told),
                None => (times, None, is_told),
            },
        };
        let wait = Wait::new(now, schedule.quiet(asked, before, random));
        let wait = match (running, wait.until(now)) {
            (Some((running, until)), Some(new)) if new <= until => running,
            _ => wait,
        };
        let until = wait.until(now)?;
        let is_long = until.unix_millis() - now.unix_millis()
            >= i64::try_from(TOLD_FROM.as_millis()).unwrap_or(i64::MAX);
        let tells = is_long && !(was_told && running.is_some());
        let times = before.saturating_add(1);
        self.quiet = Quiet::Asked { wait, times, is_told: was_told || is_long };
        tells.then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::breaker::BreakerOptions;
    use crate::callbacks::outbox::tests::{endpoint, options};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
    }

    /// Patient enough to see what a receiver asks for.
    fn patient() -> DelivererOptions {
        let options = options();
        let max_retry_after = Duration::from_mins(1);
        let breaker = BreakerOptions { failing_for: Duration::ZERO, ..options.breaker };
        DelivererOptions {
            schedule: Schedule { max_retry_after, ..options.schedule.clone() },
            breaker,
            ..options
        }
    }

    fn throttled(seconds: u64) -> Verdict {
        Verdict::Throttled(Duration::from_secs(seconds))
    }

    fn clearance() -> Clearance {
        Clearance::new(&endpoint(), at(0))
    }

    fn judge(clearance: &mut Clearance, verdict: Verdict, now: i64) -> Option<Signal> {
        let era = clearance.era();
        clearance.judge(verdict, era, at(now), 0.0, &patient())
    }

    #[test]
    fn whoever_asks_for_no_wait_is_left_alone_for_longer_and_longer() {
        let mut clearance = clearance();
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..8 {
            judge(&mut clearance, throttled(0), now);
            let until = clearance.shut_until(at(now)).unwrap();
            let wait = (until.unix_millis() - at(now).unix_millis()) / 1_000;
            // Others that were under way say the same again.
            judge(&mut clearance, throttled(0), now);
            assert_eq!(clearance.shut_until(at(now)), Some(until));
            waits.push(wait);
            now += wait;
            assert!(clearance.shut_until(at(now)).is_none() && clearance.is_probing(), "one goes out");
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        judge(&mut clearance, Verdict::Delivered, now);
        assert!(!clearance.is_probing());
        judge(&mut clearance, throttled(0), now);
        assert_eq!(clearance.shut_until(at(now)), Some(at(now + 1)), "one success starts anew");
    }

    #[test]
    fn operators_are_told_of_a_long_quiet_time_once_and_of_its_end() {
        let mut clearance = clearance();
        assert_eq!(judge(&mut clearance, throttled(5), 0), None);
        assert_eq!(judge(&mut clearance, throttled(30), 1), Some(Signal::Quiet(at(31))));
        assert_eq!(judge(&mut clearance, throttled(40), 2), None, "it is told already");
        assert_eq!(judge(&mut clearance, throttled(5), 2), None);
        assert_eq!(clearance.quiet_until(at(2)), Some(at(42)), "the longest of several wishes holds");
        assert_eq!(judge(&mut clearance, Verdict::Delivered, 3), None, "it was under way");
        assert_eq!(clearance.quiet_until(at(3)), Some(at(42)));
        assert_eq!(judge(&mut clearance, throttled(30), 42), Some(Signal::Quiet(at(72))));
        assert_eq!(judge(&mut clearance, Verdict::Delivered, 72), Some(Signal::Listens));
        assert_eq!(judge(&mut clearance, Verdict::Delivered, 73), None);
    }

    #[test]
    fn a_quiet_time_ends_when_somebody_begins_anew_or_the_clock_is_set_back() {
        let mut opened = clearance();
        judge(&mut opened, throttled(60), 0);
        opened.begin_anew(None, at(1));
        assert!(opened.shut_until(at(1)).is_none() && !opened.is_probing());
        let mut set_back = clearance();
        judge(&mut set_back, throttled(60), 0);
        assert_eq!(set_back.shut_until(at(-3_600)), None);
    }

    #[test]
    fn an_acknowledgement_that_was_under_way_opens_the_gate_and_ends_no_quiet_time() {
        let mut clearance = clearance();
        let before = clearance.era();
        clearance.set_gate(Gate::Shut, None, at(1));
        assert_eq!(
            clearance.judge(throttled(60), before, at(2), 0.0, &patient()),
            Some(Signal::Quiet(at(62)))
        );
        let late = clearance.judge(Verdict::Delivered, before, at(3), 0.0, &patient());
        assert_eq!(late, Some(Signal::Works));
        clearance.set_gate(Gate::Free, None, at(3));
        assert_eq!(clearance.shut_until(at(3)), Some(at(62)));
    }

    #[test]
    fn failures_before_an_endpoint_was_shut_do_not_shut_it_again() {
        let mut clearance = clearance();
        for _ in 0..2 {
            assert_eq!(judge(&mut clearance, Verdict::Failed, 0), None);
        }
        let before = clearance.era();
        assert_eq!(judge(&mut clearance, Verdict::Failed, 0), Some(Signal::Fails));
        clearance.set_gate(Gate::Shut, None, at(0));
        clearance.set_gate(Gate::Free, None, at(10));
        for _ in 0..9 {
            let late = clearance.judge(Verdict::Failed, before, at(10), 0.0, &patient());
            assert_eq!(late, None, "what was sent before says nothing of now");
        }
        for _ in 0..2 {
            assert_eq!(judge(&mut clearance, Verdict::Failed, 10), None, "the count begins anew");
        }
        assert_eq!(judge(&mut clearance, Verdict::Failed, 10), Some(Signal::Fails));
    }

    #[test]
    fn only_the_probe_itself_shuts_its_window() {
        let mut clearance = clearance();
        let before = clearance.era();
        clearance.set_gate(Gate::Shut, None, at(0));
        let probe = Gate::Probe { until: at(60) };
        clearance.set_gate(probe, None, at(10));
        for late in [Verdict::Failed, Verdict::Refused, Verdict::Gone, throttled(0)] {
            assert_eq!(clearance.judge(late, before, at(11), 0.0, &patient()), None);
            assert_eq!(clearance.gate(), probe, "{late:?}");
        }
        assert_eq!(judge(&mut clearance, Verdict::Failed, 20), None);
        assert_eq!(clearance.gate(), Gate::Shut);
    }

    #[test]
    fn nothing_more_goes_to_whom_has_gone() {
        let mut clearance = clearance();
        assert_eq!(judge(&mut clearance, Verdict::Gone, 0), Some(Signal::Gone));
        assert_eq!(clearance.shut_until(at(0)), Some(at(0)));
    }
}
