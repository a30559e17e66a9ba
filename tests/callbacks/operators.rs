//! What operators are told of endpoints, by a webhook of their own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use penstock::store::{Deliveries, DeliveryState};
use standardwebhooks::Webhook;

use crate::world::{DEADLINE, EVENTS, Setup, World, keys};

/// Types and endpoints of the reports so far, in the order in which they were sent.
fn reports(world: &World) -> Vec<(String, String)> {
    let acknowledged = world.operator.acknowledged.lock().unwrap();
    let mut reports: Vec<_> = acknowledged.values().collect();
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    reports.sort_by_key(|(headers, _)| text(&headers["ce-time"]));
    reports
        .iter()
        .map(|(headers, _)| (text(&headers["ce-type"]), text(&headers["ce-subject"])))
        .collect()
}

async fn until_told(world: &World, event: &str) {
    let told = async {
        while !reports(world).iter().any(|(known, _)| known == event) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, told).await.is_ok();
    assert!(in_time, "nobody told of {event}, only of {:?}", reports(world));
}

fn told(events: &[&str], endpoint: &str) -> Vec<(String, String)> {
    events.iter().map(|event| (format!("penstock.endpoint.{event}"), endpoint.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_tell_once_of_an_endpoint_that_answers_410() {
    let world = World::start(&["gone"], Setup { processes: 3, ..Setup::default() }).await;
    world.publish(0..EVENTS).await;
    world.until("gone", Some(DeliveryState::Parked), 1).await;
    until_told(&world, "penstock.endpoint.gone").await;
    // Every process has seen the state by now, or meets the endpoint once more.
    world.publish(EVENTS..2 * EVENTS).await;
    world.until("gone", None, (2 * EVENTS).into()).await;
    assert_eq!(reports(&world), told(&["gone"], "gone"));
    let acknowledged = world.operator.acknowledged.lock().unwrap().clone();
    for (headers, body) in acknowledged.values() {
        let key = keys()[0].secret_text();
        Webhook::new(&key).unwrap().verify(body, headers).unwrap();
        let data: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(data["reason"], "it answered 410 Gone");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_tell_once_of_an_endpoint_that_fails_and_once_that_it_recovered() {
    let world = World::start(&["healing"], Setup { processes: 2, ..Setup::default() }).await;
    world.publish(0..EVENTS).await;
    until_told(&world, "penstock.endpoint.failing").await;
    let states = world.store.endpoint_states().await.unwrap();
    assert_eq!(states.len(), 1, "{states:?}");
    world.receivers["healing"].is_healed.store(true, Ordering::Relaxed);
    world.until("healing", Some(DeliveryState::Delivered), EVENTS.into()).await;
    until_told(&world, "penstock.endpoint.recovered").await;
    assert_eq!(reports(&world), told(&["failing", "recovered"], "healing"));
    world.end().await;
}
