//! Receivers that are asked for their consent first.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use penstock::callbacks::handshake::{Question, SenderOrigin};
use penstock::store::{
    Availability, Changed, Deliveries, DeliveryState, EndpointName, EndpointState, Selection,
};

use crate::world::{DEADLINE, EVENTS, Setup, World};

const ORIGIN: &str = "penstock.bank.example";

fn asking(requests_per_minute: Option<u32>) -> Setup {
    let origin = SenderOrigin::parse(ORIGIN).unwrap();
    Setup { handshake: Some(Question { origin, requests_per_minute }), ..Setup::default() }
}

fn permit(world: &World, name: &str, headers: &[(&'static str, &'static str)]) {
    let mut permission = world.receivers[name].permission.lock().unwrap();
    permission.extend(headers.iter().map(|(name, value)| {
        (axum::http::HeaderName::from_static(name), axum::http::HeaderValue::from_static(value))
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_gets_nothing_before_it_agrees_and_everything_after() {
    let world = World::start(&["fast"], asking(None)).await;
    world.publish(0..EVENTS).await;
    world.until("fast", Some(DeliveryState::Parked), EVENTS.into()).await;
    let receiver = &world.receivers["fast"];
    assert_eq!(receiver.requests.load(Ordering::Relaxed), 0);
    let parked = world.store.list(&Selection::default(), 1_000).await.unwrap();
    assert!(parked.iter().all(|record| record.attempts == 0), "parked without an attempt");
    assert_eq!(receiver.questions.lock().unwrap()[0]["webhook-request-origin"], ORIGIN);

    permit(&world, "fast", &[("webhook-allowed-origin", ORIGIN)]);
    world.until("fast", Some(DeliveryState::Delivered), EVENTS.into()).await;
    for (headers, _) in receiver.acknowledged.lock().unwrap().values() {
        assert_eq!(headers["webhook-request-origin"], ORIGIN);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_agrees_at_once_gets_what_was_read_meanwhile_unparked() {
    let world = World::start(&["fast"], asking(Some(60_000))).await;
    permit(&world, "fast", &[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*")]);
    world.publish(0..EVENTS).await;
    world.until("fast", Some(DeliveryState::Delivered), EVENTS.into()).await;
    let questions = world.receivers["fast"].questions.lock().unwrap().clone();
    assert_eq!(questions.last().unwrap()["webhook-request-rate"], "60000");
    assert!(questions.last().unwrap().contains_key("authorization"), "the endpoint's own headers");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_allowed_rate_is_kept() {
    let world = World::start(&["fast"], asking(Some(600))).await;
    permit(&world, "fast", &[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "180")]);
    let start = Instant::now();
    world.publish(0..EVENTS).await;
    let receiver = world.receivers["fast"].clone();
    world.until("fast", Some(DeliveryState::Delivered), 9).await;
    let count = receiver.count();
    let elapsed = start.elapsed().as_secs();
    // Three a second, and one second's share at once.
    assert!(count as u64 <= (elapsed + 1) * 3 + 3, "{count} in {elapsed} s");
    assert!(elapsed >= 1, "{count} in {elapsed} s");
    world.end().await;
}

/// Changes an endpoint as an operator does.
async fn make(world: &World, name: &str, availability: Availability) {
    let name = EndpointName::parse(name).unwrap();
    let states = world.store.endpoint_states().await.unwrap();
    let known = states.into_iter().find(|state| state.name == name);
    let known = known.unwrap_or_else(|| EndpointState::unknown(name));
    let changed = world.store.change_endpoint(&EndpointState { availability, ..known }).await.unwrap();
    assert_eq!(changed, Changed::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_withdrew_its_consent_while_it_was_paused_gets_nothing_when_it_is_resumed() {
    let world = World::start(&["fast"], asking(None)).await;
    permit(&world, "fast", &[("webhook-allowed-origin", ORIGIN)]);
    world.publish(0..EVENTS).await;
    world.until("fast", Some(DeliveryState::Delivered), EVENTS.into()).await;

    make(&world, "fast", Availability::Paused).await;
    let receiver = world.receivers["fast"].clone();
    // Parked without an attempt is what only a process that knows of the pause leaves.
    let mut published = EVENTS;
    while world.count("fast", Some(DeliveryState::Parked)).await == 0 {
        world.publish(published..published + 1).await;
        published += 1;
        world.until("fast", None, published.into()).await;
    }
    let (sent, asked) = (receiver.count(), receiver.questions.lock().unwrap().len());
    receiver.permission.lock().unwrap().clear();
    make(&world, "fast", Availability::Active).await;
    let asked_again = async {
        while receiver.questions.lock().unwrap().len() < asked + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asked_again).await.unwrap();
    assert_eq!(receiver.count(), sent);

    permit(&world, "fast", &[("webhook-allowed-origin", ORIGIN)]);
    world.until("fast", Some(DeliveryState::Delivered), published.into()).await;
    world.end().await;
}
