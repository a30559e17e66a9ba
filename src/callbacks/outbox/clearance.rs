//! Whether an endpoint may be sent anything now: what its state says, what its receiver has agreed to or
//! asked for, and its rate. What attempts come to changes it.

use crate::account::Timestamp;

use super::super::attempt::{NoAnswer, Verdict};
use super::super::breaker::Failing;
use super::super::endpoint::{DelivererOptions, Endpoint};
use super::super::handshake::{Agreement, Outcome, Permission, Question};
use super::super::pace::Pace;
use super::super::schedule::later;

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

/// What an attempt says of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Signal {
    /// It works although it was not expected to.
    Works,
    /// It has failed for long enough.
    Fails,
    /// It wants nothing more.
    Gone,
}

/// An endpoint's clearance.
pub(super) struct Clearance {
    gate: Gate,
    /// Whether the receiver wants anything at all.
    agreement: Agreement,
    /// The receiver has asked for quiet until then.
    quiet_until: Option<Timestamp>,
    failing: Failing,
    rate: Pace,
}

impl Clearance {
    pub(super) fn new(endpoint: &Endpoint, now: Timestamp) -> Self {
        Self {
            gate: Gate::Free,
            agreement: Agreement::new(endpoint.handshake.as_ref(), now),
            quiet_until: None,
            failing: Failing::default(),
            rate: Pace::new(endpoint.rate, now),
        }
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate
    }

    /// What the endpoint's state says now. One that was shut and is not any longer begins anew: its receiver
    /// is asked `question` again before it gets anything.
    pub(super) fn set_gate(&mut self, gate: Gate, question: Option<&Question>, now: Timestamp) {
        if self.gate == Gate::Shut && gate != Gate::Shut {
            self.agreement.begin_anew(question, now);
        }
        self.gate = gate;
    }

    /// When what cannot be sent now is due; none while something may be sent.
    pub(super) fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
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

    /// Whether one request is to show that the endpoint works.
    pub(super) fn is_probing(&self) -> bool {
        matches!(self.gate, Gate::Probe { .. })
    }

    /// Whether the receiver has agreed, or needs not be asked.
    pub(super) fn is_agreed(&self) -> bool {
        self.agreement.is_given()
    }

    /// How many of `wanted` events may go in one request now; they count as sent.
    pub(super) fn take(&mut self, wanted: usize, now: Timestamp) -> usize {
        let count = self.rate.allows(wanted, now);
        if count == 0 || !self.agreement.allows_request(now) {
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

    /// Takes what an attempt came to.
    pub(super) fn judge(
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
}
