//! What is known of the endpoints: read from the store, changed there, told to operators.

use std::time::{Duration, Instant};

use crate::account::Timestamp;
use crate::queue::Queue;
use crate::store::{
    Availability, Breaker, Changed, Deliveries, EndpointName, EndpointState, StoreError,
};

use super::super::breaker::BreakerOptions;
use super::super::error::DelivererError;
use super::super::operational::OperationalEvent;
use super::super::outbox::{Gate, Signal};
use super::super::sender::Sender;
use super::{Deliverer, StepOutcome, is_due};

/// How often operators are told of deliveries that were given up.
const EXHAUSTED_TOLD: Duration = Duration::from_mins(1);
/// How far the clocks of brokers and of this process may differ: a new endpoint is known since so long ago, as an
/// event too many is better than one that is lost.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);

impl<Q: Queue, D: Deliveries, S: Sender> Deliverer<Q, D, S> {
    /// Reads the shared states, and takes the probes that are due.
    pub(super) async fn refresh_endpoints(&mut self) -> Result<StepOutcome, DelivererError> {
        let now = self.ambient.now();
        let (store, names) = (self.store.clone(), self.since_when(now));
        let read = async { registered(&store, &names).await };
        let stored = match self.sends.alongside(&self.options, read).await {
            Ok(stored) => stored,
            Err(error) => return self.retry_store(error),
        };
        let now = self.ambient.now();
        for (known, outbox) in self.states.iter_mut().zip(&mut self.sends.outboxes) {
            // A store that was set back may know nothing of it any more.
            let state = stored.iter().find(|state| state.name == known.name).cloned();
            let state = state.unwrap_or_else(|| EndpointState::unknown(known.name.clone()));
            outbox.share(self.processes.count());
            // Whoever else has changed it wants it to be tried, or knows that it works again.
            if state.changed_at != known.changed_at {
                outbox.begin_anew(now);
            }
            let known_since = state.known_since.or(known.known_since);
            *known = EndpointState { known_since, ..state };
        }
        for place in 0..self.states.len() {
            self.set_gate(place, now);
            if let Some(pause) = self.take_probe(place, now).await? {
                return Ok(pause);
            }
        }
        Ok(StepOutcome::Progress)
    }

    /// The endpoints, each with the time since when it is configured, as far as this process knows.
    fn since_when(&self, now: Timestamp) -> Vec<(EndpointName, Timestamp)> {
        let begun = now.earlier(CLOCKS_DIFFER);
        let since = |state: &EndpointState| (state.name.clone(), state.known_since.unwrap_or(begun));
        self.states.iter().map(since).collect()
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
        let quiet = outbox.quiet_until(now).map_or(0, |until| until.unix_millis() - now.unix_millis());
        let quiet = Duration::from_millis(u64::try_from(quiet).unwrap_or(0));
        if let Some(gauges) = self.gauges.get(place) {
            let is_open = matches!(state.breaker, Breaker::Open { .. });
            gauges.set(state.availability == Availability::Active, is_open, quiet);
        }
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
            Ok(Changed::Done) => {
                if let (Breaker::Open { probe_at: until, .. }, Some(outbox)) =
                    (breaker, self.sends.outboxes.get_mut(place))
                {
                    outbox.set_gate(Gate::Probe { until }, now);
                }
                Ok(None)
            }
            Ok(Changed::TooLate) => Ok(None),
            Err(pause) => Ok(Some(pause)),
        }
    }

    /// Does what attempts said of endpoints. A change that somebody else has forestalled is dropped:
    /// what it was made of no longer holds, and the endpoint will say so again.
    pub(super) async fn heed_signals(&mut self) -> Result<StepOutcome, DelivererError> {
        while let Some((place, signal)) = self.signals.first().copied() {
            let Some(state) = self.states.get(place) else { break };
            if let Signal::Quiet(until) = signal {
                tracing::warn!(
                    endpoint = state.name.as_str(),
                    %until,
                    "the receiver asks to be left alone; events are parked until then"
                );
            }
            let now = self.ambient.now();
            if let Some((wanted, event)) = heeded(state, signal, now, &self.options.breaker) {
                match self.change(place, wanted).await? {
                    Ok(Changed::Done) => event.into_iter().for_each(|event| self.tell(place, event)),
                    // The states are read again before anything else is changed.
                    Ok(Changed::TooLate) => self.timers.refreshed = None,
                    Err(pause) => return Ok(pause),
                }
            }
            self.signals.remove(0);
            self.set_gate(place, self.ambient.now());
        }
        Ok(StepOutcome::Progress)
    }

    /// Changes the shared state; a pause when the store is unavailable.
    async fn change(
        &mut self,
        place: usize,
        wanted: EndpointState,
    ) -> Result<Result<Changed, StepOutcome>, DelivererError> {
        let change = self.store.change_endpoint(&wanted);
        let applied = match self.sends.alongside(&self.options, change).await {
            Ok(applied) => applied,
            Err(error) => return self.retry_store(error).map(Err),
        };
        if let (Changed::Done, Some(state)) = (applied, self.states.get_mut(place)) {
            *state = EndpointState { version: wanted.version + 1, ..wanted };
        }
        Ok(Ok(applied))
    }

    /// Tells how many deliveries were given up since that was told last: once for many, however fast they come.
    pub(super) fn tell_exhausted(&mut self, now: Instant) {
        if self.exhausted.is_empty() || !is_due(self.timers.exhausted_told, EXHAUSTED_TOLD, now) {
            return;
        }
        self.timers.exhausted_told = Some(now);
        let changed_at = self.ambient.now();
        for (place, count) in std::mem::take(&mut self.exhausted) {
            let Some(state) = self.states.get(place) else { continue };
            let reason = format!("{count} deliveries failed as often as the schedule allows");
            self.tell_of(
                &EndpointState { reason, changed_at, ..state.clone() },
                OperationalEvent::Exhausted,
            );
        }
    }

    fn tell(&self, place: usize, event: OperationalEvent) {
        if let Some(state) = self.states.get(place) {
            self.tell_of(state, event);
        }
    }

    fn tell_of(&self, state: &EndpointState, event: OperationalEvent) {
        let reason = state.reason.as_str();
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
            OperationalEvent::Gone => tracing::error!(
                endpoint,
                event = event_name,
                reason,
                "it is paused: its events are parked until `penstock callbacks resume` lets them go; `disable` has \
                 none kept for it"
            ),
            OperationalEvent::Exhausted => tracing::error!(
                endpoint,
                event = event_name,
                reason,
                "deliveries are given up; `penstock callbacks list --state exhausted` shows them, `redeliver` tries \
                 them again"
            ),
            OperationalEvent::Disagreeing => tracing::error!(
                endpoint,
                event = event_name,
                reason,
                "events for the endpoint are parked until its receiver agrees"
            ),
            OperationalEvent::Recovered => tracing::info!(
                endpoint,
                event = event_name,
                "the endpoint works again; what is parked for it goes out"
            ),
        }
    }
}

/// The shared states, with those of `endpoints` among them that nobody has told of before: new ones, and those that
/// a store has lost that was set back.
async fn registered<D: Deliveries>(
    store: &D,
    endpoints: &[(EndpointName, Timestamp)],
) -> Result<Vec<EndpointState>, StoreError> {
    let stored = store.endpoint_states().await?;
    let is_known = |(name, _): &&(EndpointName, Timestamp)| {
        stored.iter().any(|state| state.name == *name && state.known_since.is_some())
    };
    let unknown: Vec<_> = endpoints.iter().filter(|endpoint| !is_known(endpoint)).cloned().collect();
    if unknown.is_empty() {
        return Ok(stored);
    }
    store.register(&unknown).await?;
    store.endpoint_states().await
}

/// The state that a signal asks for, and what operators are told of it.
fn heeded(
    state: &EndpointState,
    signal: Signal,
    now: Timestamp,
    options: &BreakerOptions,
) -> Option<(EndpointState, Option<OperationalEvent>)> {
    let is_active = state.availability == Availability::Active;
    let is_open = matches!(state.breaker, Breaker::Open { .. });
    let changed = EndpointState { changed_at: now, ..state.clone() };
    match signal {
        Signal::Works if is_open => {
            // Of an endpoint that an operator has stopped the reason is the operator's.
            let reason = if is_active { String::new() } else { state.reason.clone() };
            let closed = EndpointState { breaker: Breaker::Closed, reason, ..changed };
            Some((closed, Some(OperationalEvent::Recovered)))
        }
        Signal::Fails if !is_open => {
            let name = &state.name;
            let reason =
                format!("every attempt fails; `penstock callbacks list --endpoint {name}` tells how");
            let open = EndpointState { breaker: options.opened(now), reason, ..changed };
            Some((open, Some(OperationalEvent::Failing)))
        }
        // It may mean it for good or be wrong for a minute: nothing is lost before an operator has looked.
        Signal::Gone if is_active => {
            let (availability, reason) = (Availability::Paused, "it answered 410 Gone".to_owned());
            let paused = EndpointState { availability, reason, ..changed };
            Some((paused, Some(OperationalEvent::Gone)))
        }
        // What a receiver asks for changes nothing, and is no reason for others to begin anew.
        Signal::Quiet(until) if is_active && !is_open => {
            let reason = format!("it asks to be left alone until {until}");
            Some((EndpointState { reason, ..state.clone() }, None))
        }
        // It is asked again and again, and told once.
        Signal::Disagrees(denied) if is_active && !is_open => {
            let why = denied.map_or_else(|| "it was not answered".to_owned(), |why| why.to_string());
            let reason = format!("it was asked for its consent, and does not agree: {why}");
            let disagreeing = EndpointState { reason, ..state.clone() };
            (disagreeing != *state).then_some((disagreeing, Some(OperationalEvent::Disagreeing)))
        }
        Signal::Listens if is_active && !is_open && !state.reason.is_empty() => {
            Some((EndpointState { reason: String::new(), ..state.clone() }, None))
        }
        Signal::Works
        | Signal::Fails
        | Signal::Gone
        | Signal::Quiet(_)
        | Signal::Listens
        | Signal::Disagrees(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::handshake::Denied;

    const OPTIONS: BreakerOptions = BreakerOptions {
        min_failures: 3,
        failing_for: Duration::from_secs(10),
        probe_interval: Duration::from_secs(5),
        max_probe_interval: Duration::from_mins(1),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
    }

    fn state(availability: Availability, breaker: Breaker, reason: &str) -> EndpointState {
        let unknown = EndpointState::unknown(EndpointName::parse("risk").unwrap());
        EndpointState { availability, breaker, reason: reason.to_owned(), ..unknown }
    }

    fn heeded_at_9(state: &EndpointState, signal: Signal) -> Option<(EndpointState, bool)> {
        let (changed, event) = heeded(state, signal, at(9), &OPTIONS)?;
        Some((changed, event.is_some()))
    }

    #[test]
    fn a_late_success_closes_the_breaker_and_leaves_an_operators_reason() {
        let open = OPTIONS.opened(at(0));
        let paused = state(Availability::Paused, open, "maintenance");
        let (closed, _) = heeded_at_9(&paused, Signal::Works).unwrap();
        let expected = state(Availability::Paused, Breaker::Closed, "maintenance");
        assert_eq!(closed, EndpointState { changed_at: at(9), ..expected });
        let failing = state(Availability::Active, open, "every attempt fails");
        assert_eq!(heeded_at_9(&failing, Signal::Works).unwrap().0.reason, "");
    }

    #[test]
    fn whoever_answers_410_is_paused_until_an_operator_has_looked() {
        let open = OPTIONS.opened(at(0));
        for breaker in [Breaker::Closed, open] {
            let active = state(Availability::Active, breaker, "");
            let (gone, is_told) = heeded_at_9(&active, Signal::Gone).unwrap();
            let expected = state(Availability::Paused, breaker, "it answered 410 Gone");
            assert_eq!((gone, is_told), (EndpointState { changed_at: at(9), ..expected }, true));
        }
        for availability in [Availability::Paused, Availability::Disabled] {
            let stopped = state(availability, Breaker::Closed, "by an operator");
            assert_eq!(heeded_at_9(&stopped, Signal::Gone), None, "the reason is the operator's");
        }
    }

    #[test]
    fn a_quiet_time_is_seen_by_its_reason_and_begins_nothing_anew() {
        let active = state(Availability::Active, Breaker::Closed, "");
        let (quiet, is_told) = heeded_at_9(&active, Signal::Quiet(at(99))).unwrap();
        assert_eq!(quiet.reason, "it asks to be left alone until 2023-11-14T22:14:59Z");
        assert_eq!((quiet.changed_at, is_told), (active.changed_at, false));
        assert_eq!(heeded_at_9(&quiet, Signal::Listens), Some((active.clone(), false)));
        assert_eq!(heeded_at_9(&active, Signal::Listens), None, "there is nothing to take back");
        for availability in [Availability::Paused, Availability::Disabled] {
            let stopped = state(availability, Breaker::Closed, "by an operator");
            assert_eq!(heeded_at_9(&stopped, Signal::Quiet(at(99))), None);
            assert_eq!(heeded_at_9(&stopped, Signal::Listens), None);
        }
    }

    #[test]
    fn operators_are_told_once_that_a_receiver_does_not_agree() {
        let active = state(Availability::Active, Breaker::Closed, "");
        let denied = Signal::Disagrees(Some(Denied::NoOrigin));
        let (told, is_told) = heeded_at_9(&active, denied).unwrap();
        assert!(is_told && told.reason.ends_with("its answer has no WebHook-Allowed-Origin"));
        assert_eq!(heeded_at_9(&told, denied), None);
        let (silent, is_told) = heeded_at_9(&told, Signal::Disagrees(None)).unwrap();
        assert!(is_told && silent.reason.ends_with("it was not answered"));
        assert_eq!(heeded_at_9(&silent, Signal::Listens), Some((active, false)));
    }
}
