use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::account::{EventId, Generation};
use crate::callbacks::DeletedEvents;
use crate::callbacks::attempt::Answer;
use crate::callbacks::breaker::BreakerOptions;
use crate::callbacks::handshake::SenderOrigin;
use crate::callbacks::routing::{DeliverFrom, Filter};
use crate::callbacks::schedule::Schedule;
use crate::callbacks::signature::Keys;
use crate::queue::PollLimits;
use crate::store::EndpointName;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
}

/// Two events keep it busy.
pub(super) fn endpoint() -> Endpoint {
    Endpoint {
        name: EndpointName::parse("risk").unwrap(),
        filter: Filter::default(),
        deliver_from: DeliverFrom::Configured,
        keys: Keys::default(),
        is_ordered: false,
        batch: 1,
        is_structured: false,
        concurrency: 2,
        rate: None,
        drain_rate: None,
        handshake: None,
    }
}

pub(super) fn options() -> DelivererOptions {
    let second = Duration::from_secs(1);
    DelivererOptions {
        generation: Generation(1),
        deleted_events: DeletedEvents::Refuse,
        schedule: Schedule { waits: vec![second], jitter: 0.0, max_retry_after: second },
        breaker: BreakerOptions {
            min_failures: 3,
            failing_for: second,
            probe_interval: 5 * second,
            max_probe_interval: 60 * second,
        },
        poll: PollLimits { max_records: 10, max_bytes: 1 << 20, max_wait: second },
        max_waiting: 10,
        patience: second,
        lease: 60 * second,
        claim_interval: second,
        max_claim: 10,
        refresh_interval: second,
        commit_interval: second,
        retry_wait: second,
    }
}

pub(super) fn job(number: u32, account: &str, now: Timestamp) -> Job {
    let event = CloudEvent {
        id: EventId(Uuid::from_u128(number.into())),
        source: format!("n-{number}"),
        event_type: "penstock.account.accepted".to_owned(),
        further: Vec::new(),
        trace: Vec::new(),
        data: Bytes::from_static(b"{}"),
    };
    Job {
        key: DeliveryKey { endpoint: endpoint().name, event: event.id },
        account: account.into(),
        event: Arc::new(event),
        failures: 0,
        received: None,
        origin: Origin::Topic,
        entered_at: now,
        max_together: usize::MAX,
    }
}

/// Offers events, each of an account of its own; which of them were parked, and until when.
fn offer(outbox: &mut Outbox, numbers: std::ops::Range<u32>, now: Timestamp) -> Vec<(String, Ending)> {
    let offered = numbers.filter_map(|number| {
        let ended = outbox.offer(job(number, &format!("acc-{number}"), now), false, now)?;
        assert_eq!(ended.attempt, None);
        Some((ended.job.event.source.clone(), ended.ending))
    });
    offered.collect()
}

/// Sends all that may go; the flights.
fn take_off(outbox: &mut Outbox, now: Timestamp) -> Vec<u64> {
    std::iter::from_fn(|| outbox.take_off(now, &options()).map(|(flight, _)| flight)).collect()
}

fn land(outbox: &mut Outbox, flights: Vec<u64>, now: Timestamp) {
    for flight in flights {
        let answered = Ok(Answer { status: 204, retry_after: None, body: String::new() });
        let landing = Landing { flight, answered, at: now, duration: Duration::ZERO };
        let (ended, signal) = outbox.land(landing, now, 0.5, &options());
        assert_eq!((ended.len(), signal), (1, None));
    }
}

/// An outbox with five events, two of them under way, that makes room at 10.
fn behind(endpoint: Endpoint) -> (Outbox, Vec<u64>) {
    let mut outbox = Outbox::new(Arc::new(endpoint), at(0));
    assert_eq!(offer(&mut outbox, 1..6, at(0)), [], "who is not behind keeps what it is given");
    let flights = take_off(&mut outbox, at(0));
    assert_eq!((flights.len(), outbox.waiting()), (2, 3));
    let parked = outbox.make_room(at(0), at(10), at(70));
    assert_eq!((parked.len(), outbox.waiting()), (3, 0));
    (outbox, flights)
}

#[test]
fn an_endpoint_that_is_behind_keeps_what_it_is_busy_with_until_it_was_idle() {
    let (mut outbox, flights) = behind(endpoint());
    let parked = |number: u32, due| (format!("n-{number}"), Ending::Parked { due_at: at(due) });
    assert_eq!(offer(&mut outbox, 6..10, at(11)), [parked(8, 11), parked(9, 11)]);

    land(&mut outbox, flights, at(12));
    let flights = take_off(&mut outbox, at(12));
    assert_eq!(flights.len(), 2);
    // It has caught up with what it was given, and is still busy.
    assert_eq!(offer(&mut outbox, 10..13, at(13)), [parked(12, 13)]);

    land(&mut outbox, flights, at(14));
    let flights = take_off(&mut outbox, at(14));
    land(&mut outbox, flights, at(15));
    assert!(outbox.is_idle());
    assert_eq!(offer(&mut outbox, 13..20, at(16)), [], "it has been idle");
}

#[test]
fn an_endpoint_that_holds_up_nobody_for_long_is_not_behind() {
    let mut outbox = Outbox::new(Arc::new(endpoint()), at(0));
    assert_eq!(offer(&mut outbox, 1..6, at(8)), []);
    take_off(&mut outbox, at(8));
    assert!(outbox.make_room(at(7), at(10), at(70)).is_empty(), "nothing has waited for so long");
    assert_eq!(offer(&mut outbox, 6..12, at(10)), []);
}

#[test]
fn what_stands_behind_another_of_its_line_stays_there_however_far_behind_the_endpoint_is() {
    let (mut outbox, _) = behind(Endpoint { is_ordered: true, ..endpoint() });
    assert_eq!(offer(&mut outbox, 6..8, at(11)), []);
    let mut of_line = |number| outbox.offer(job(number, "acc-6", at(11)), false, at(11));
    assert!(of_line(20).is_none() && of_line(21).is_none(), "its head is in memory");
    let parked = outbox.offer(job(22, "acc-22", at(11)), false, at(11)).unwrap();
    assert_eq!(parked.ending, Ending::Parked { due_at: at(11) });
    // Until it is recorded that this one is parked, nothing of its line passes it.
    let later = outbox.offer(job(23, "acc-22", at(11)), false, at(11)).unwrap();
    assert_eq!(later.ending, Ending::Parked { due_at: at(11) });
}

fn answered(outbox: &mut Outbox, origin: Option<&str>, now: Timestamp) {
    let permission = Permission { origin: origin.map(str::to_owned), rate: None };
    outbox.answered(Ok(permission), now, &options()).unwrap();
}

/// An outbox whose receiver agreed at 0, and that was shut at 10.
fn agreed_and_shut() -> Outbox {
    let origin = SenderOrigin::parse("penstock.bank.example").unwrap();
    let handshake = Some(Question { origin, requests_per_minute: None });
    let mut outbox = Outbox::new(Arc::new(Endpoint { handshake, ..endpoint() }), at(0));
    assert!(outbox.ask(at(0)).is_some());
    answered(&mut outbox, Some("*"), at(0));
    outbox.set_gate(Gate::Free, at(1));
    assert!(outbox.ask(at(1)).is_none(), "a consent holds while the endpoint is in use");
    offer(&mut outbox, 1..2, at(1));
    let flights = take_off(&mut outbox, at(1));
    assert_eq!(flights.len(), 1);
    land(&mut outbox, flights, at(2));
    outbox.set_gate(Gate::Shut, at(10));
    assert!(outbox.ask(at(10)).is_none(), "nobody is asked who gets nothing anyway");
    outbox
}

#[test]
fn a_receiver_is_asked_again_before_an_endpoint_that_was_shut_gets_anything() {
    for gate in [Gate::Free, Gate::Probe { until: at(99) }] {
        let mut outbox = agreed_and_shut();
        outbox.set_gate(gate, at(20));
        assert_eq!(offer(&mut outbox, 2..3, at(20)), []);
        assert!(take_off(&mut outbox, at(20)).is_empty() && outbox.claim(at(20), 9).is_none());
        assert!(outbox.ask(at(20)).is_some());
        answered(&mut outbox, Some("*"), at(21));
        assert_eq!(take_off(&mut outbox, at(21)).len(), 1);
        outbox.set_gate(gate, at(22));
        assert!(outbox.ask(at(22)).is_none(), "once");

        let mut outbox = agreed_and_shut();
        outbox.set_gate(gate, at(20));
        assert!(outbox.ask(at(20)).is_some());
        offer(&mut outbox, 2..3, at(20));
        answered(&mut outbox, None, at(21));
        assert!(take_off(&mut outbox, at(21)).is_empty(), "it has withdrawn its consent");
        assert_eq!(outbox.give_back_if_shut(at(21)).len(), 1);
    }
}

#[test]
fn whoever_is_never_asked_is_not_asked_after_a_pause_either() {
    let mut outbox = Outbox::new(Arc::new(endpoint()), at(0));
    outbox.set_gate(Gate::Shut, at(1));
    outbox.set_gate(Gate::Free, at(2));
    assert!(outbox.ask(at(2)).is_none());
    offer(&mut outbox, 1..2, at(2));
    assert_eq!(take_off(&mut outbox, at(2)).len(), 1);
}
