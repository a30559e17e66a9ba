//! What is known of the endpoints: read from the store, changed there, told to operators.

use crate::account::Timestamp;
use crate::queue::Queue;
use crate::store::{Applied, Availability, Breaker, Deliveries, EndpointState};

use super::super::error::DelivererError;
use super::super::operational::OperationalEvent;
use super::super::outbox::{Gate, Signal};
use super::super::sender::Sender;
use super::{Deliverer, StepOutcome};

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    /// Reads the shared states, and takes the probes that are due.
    pub(super) async fn refresh_endpoints(&mut self) -> Result<StepOutcome, DelivererError> {
        let read = self.store.endpoint_states();
        let stored = match self.sends.alongside(&self.options, read).await {
            Ok(stored) => stored,
            Err(error) => return self.retry_store(error),
        };
        for known in &mut self.states {
            if let Some(state) = stored.iter().find(|state| state.name == known.name) {
                *known = state.clone();
            }
        }
        let now = self.ambient.now();
        for place in 0..self.states.len() {
            self.set_gate(place, now);
            if let Some(pause) = self.take_probe(place, now).await? {
                return Ok(pause);
            }
        }
        Ok(StepOutcome::Progress)
    }

    /// Opens or shuts an outbox as the endpoint's state says. A probe that is still ours stays.
    fn set_gate(&mut self, place: usize, now: Timestamp) {
        let (Some(state), Some(outbox)) = (self.states.get(place), self.sends.outboxes.get_mut(place))
        else {
            return;
        };
        let has_probe = matches!(outbox.gate(), Gate::Probe { until } if until > now);
        let gate = match (state.availability, state.breaker) {
            (Availability::Active, Breaker::Closed) => Gate::Free,
            (Availability::Active, Breaker::Open { .. }) if has_probe => outbox.gate(),
            (Availability::Active, Breaker::Open { .. })
            | (Availability::Paused | Availability::Disabled, _) => Gate::Shut,
        };
        outbox.set_gate(gate, now);
        let is_open = matches!(state.breaker, Breaker::Open { .. });
        let is_active = state.availability == Availability::Active;
        self.metrics.callbacks().endpoint(state.name.as_str(), is_active, is_open);
    }

    /// Takes the probe of an open breaker, if it is due and nobody else was faster.
    async fn take_probe(
        &mut self,
        place: usize,
        now: Timestamp,
    ) -> Result<Option<StepOutcome>, DelivererError> {
        let Some(state) = self.states.get(place) else { return Ok(None) };
        let probing = self.options.breaker.probing(state.breaker, now);
        let Some(breaker) = probing.filter(|_| state.availability == Availability::Active) else {
            return Ok(None);
        };
        let wanted = EndpointState { breaker, ..state.clone() };
        match self.change(place, wanted).await? {
            Ok(Applied::Done) => {
                if let (Breaker::Open { probe_at: until, .. }, Some(outbox)) =
                    (breaker, self.sends.outboxes.get_mut(place))
                {
                    outbox.set_gate(Gate::Probe { until }, now);
                }
                Ok(None)
            }
            Ok(Applied::Stale) => Ok(None),
            Err(pause) => Ok(Some(pause)),
        }
    }

    /// Does what attempts said of endpoints. A change that somebody else has forestalled is dropped:
    /// what it was made of no longer holds, and the endpoint will say so again.
    pub(super) async fn heed_signals(&mut self) -> Result<StepOutcome, DelivererError> {
        while let Some((place, signal)) = self.signals.first().copied() {
            if let Some((wanted, event)) = self.heed(place, signal) {
                let reason = wanted.reason.clone();
                match self.change(place, wanted).await? {
                    Ok(Applied::Done) => self.tell(place, event, &reason),
                    // The states are read again before anything else is changed.
                    Ok(Applied::Stale) => self.timers.refreshed = None,
                    Err(pause) => return Ok(pause),
                }
            }
            self.signals.remove(0);
            self.set_gate(place, self.ambient.now());
        }
        Ok(StepOutcome::Progress)
    }

    fn heed(&self, place: usize, signal: Signal) -> Option<(EndpointState, OperationalEvent)> {
        let now = self.ambient.now();
        let state = self.states.get(place)?.clone();
        let changed_at = now;
        match signal {
            Signal::Works if self.is_open(place) => Some((
                EndpointState { breaker: Breaker::Closed, reason: String::new(), changed_at, ..state },
                OperationalEvent::Recovered,
            )),
            Signal::Fails if !self.is_open(place) => {
                let name = &state.name;
                let reason = format!(
                    "every attempt fails; `penstock callbacks list --endpoint {name}` tells how"
                );
                let breaker = self.options.breaker.opened(now);
                Some((EndpointState { reason, breaker, changed_at, ..state }, OperationalEvent::Failing))
            }
            Signal::Gone if state.availability != Availability::Disabled => {
                let reason = "it answered 410 Gone".to_owned();
                let availability = Availability::Disabled;
                Some((
                    EndpointState { availability, reason, changed_at, ..state },
                    OperationalEvent::Disabled,
                ))
            }
            Signal::Works | Signal::Fails | Signal::Gone => None,
        }
    }

    /// Changes the shared state; a pause when the store is unavailable.
    async fn change(
        &mut self,
        place: usize,
        wanted: EndpointState,
    ) -> Result<Result<Applied, StepOutcome>, DelivererError> {
        let change = self.store.change_endpoint(&wanted);
        let applied = match self.sends.alongside(&self.options, change).await {
            Ok(applied) => applied,
            Err(error) => return self.retry_store(error).map(Err),
        };
        if let (Applied::Done, Some(state)) = (applied, self.states.get_mut(place)) {
            *state = EndpointState { version: wanted.version + 1, ..wanted };
        }
        Ok(Ok(applied))
    }

    fn tell(&self, place: usize, event: OperationalEvent, reason: &str) {
        let Some(state) = self.states.get(place) else { return };
        let (endpoint, event_name) = (state.name.as_str(), event.name());
        self.metrics.callbacks().operational_event(endpoint, event_name);
        if let Some(reports) = &self.reports {
            reports.report(event, state);
        }
        match event {
            OperationalEvent::Failing => tracing::error!(
                endpoint,
                event = event_name,
                reason,
                "events for the endpoint are parked until a probe is acknowledged"
            ),
            OperationalEvent::Disabled => tracing::error!(
                endpoint,
                event = event_name,
                reason,
                "events for the endpoint are parked until `penstock callbacks resume` lets them go"
            ),
            OperationalEvent::Recovered => tracing::info!(
                endpoint,
                event = event_name,
                "the endpoint works again; what is parked for it goes out"
            ),
        }
    }
}
