//! Deliveries over real sockets, to receivers that do what receivers do.

use std::sync::atomic::Ordering;

use penstock::store::{Availability, Deliveries, DeliveryState};
use standardwebhooks::Webhook;
use uuid::Uuid;

use crate::world::{CHARACTERS, EVENTS, Setup, World, keys};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_live_receiver_gets_every_event_whatever_the_others_do() {
    let names = CHARACTERS.map(|(name, _)| name);
    let world = World::start(&names, Setup::default()).await;
    world.publish(0..EVENTS).await;
    let all = u64::from(EVENTS);
    for live in ["fast", "flaky", "throttling", "endless"] {
        world.until(live, Some(DeliveryState::Delivered), all).await;
        let acknowledged = world.receivers[live].acknowledged.lock().unwrap().clone();
        assert_eq!(acknowledged.len() as u64, all, "{live}");
        for (id, (headers, body)) in acknowledged {
            let number = Uuid::parse_str(&id).unwrap().as_u128();
            assert_eq!(headers["ce-source"], format!("n-{number}%20100%25%20%22%C5%BE%22"));
            assert_eq!(headers["authorization"], "Bearer t");
            assert_eq!(body, format!("{{\"number\": {number}, \"text\": \"ž\"}}"));
            for key in keys() {
                Webhook::new(&key.secret_text()).unwrap().verify(&body, &headers).unwrap();
            }
        }
    }
    for dead in ["gone", "redirecting", "hanging", "resetting"] {
        world.until(dead, None, all).await;
        assert_eq!(world.count(dead, Some(DeliveryState::Delivered)).await, 0, "{dead}");
        assert!(world.receivers[dead].requests.load(Ordering::Relaxed) > 0, "{dead}");
    }
    let states = world.store.endpoint_states().await.unwrap();
    let gone = states.iter().find(|state| state.name.as_str() == "gone").unwrap();
    assert_eq!(gone.availability, Availability::Paused);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_an_address_that_is_refused() {
    let world = World::start(&["fast"], Setup { is_guarded: true, ..Setup::default() }).await;
    world.publish(0..EVENTS).await;
    world.until("fast", None, EVENTS.into()).await;
    let attempt = world.attempt().await;
    assert!(attempt.answer.contains("127.0.0.1 is a loopback address"), "{}", attempt.answer);
    assert_eq!(world.receivers["fast"].requests.load(Ordering::Relaxed), 0);
    world.end().await;
}
