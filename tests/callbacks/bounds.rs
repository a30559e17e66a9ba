//! How much a receiver that misbehaves may cost: itself a bounded number of requests, and others nothing.

use std::time::{Duration, Instant};

use penstock::account::Timestamp;
use penstock::store::{Changed, Deliveries, DeliveryState, EndpointName, EndpointState, Selection};

use crate::world::{DEADLINE, EVENTS, Setup, World};

/// How late an event may be because of what others do, on however busy a machine.
const MOST_DELAY: Duration = Duration::from_secs(5);
/// Requests at a time.
const CONCURRENCY: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_misbehave_get_few_requests_and_hold_up_no_other() {
    let bad = ["insistent", "erratic", "hanging", "resetting", "endless"];
    let names: Vec<&str> = bad.into_iter().chain(["fast"]).collect();
    let world = World::start(&names, Setup::default()).await;
    let (fast, insistent) = (&world.receivers["fast"], &world.receivers["insistent"]);
    let mut most_delay = Duration::ZERO;
    for number in 0..EVENTS {
        let published = Instant::now();
        world.publish(number..number + 1).await;
        while fast.count() <= number as usize {
            assert!(published.elapsed() < DEADLINE, "{number} did not come");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        most_delay = most_delay.max(published.elapsed());
    }
    assert!(most_delay < MOST_DELAY, "{most_delay:?}");
    let times = || insistent.times.lock().unwrap().clone();
    let begun = Instant::now();
    while times().len() < CONCURRENCY + 3 {
        assert!(begun.elapsed() < DEADLINE, "it is left alone for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let times = times();
    for (place, first) in times.iter().enumerate() {
        let second = Duration::from_secs(1);
        let within =
            times[place..].iter().take_while(|time| time.duration_since(*first) < second).count();
        // Sent a second apart, two may arrive within one.
        assert!(within <= CONCURRENCY + 1, "{within} requests in a second");
    }
    for name in bad {
        let endpoint = Some(EndpointName::parse(name).unwrap());
        let selection = Selection { endpoint, ..Selection::default() };
        for delivery in world.store.list(&selection, 1_000).await.unwrap() {
            assert!(delivery.attempts <= 41, "{name}: {} attempts", delivery.attempts);
        }
    }
    world.end().await;
}

/// With a whole rate each, they are done within two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_the_rate_of_an_endpoint() {
    const EVENTS: u32 = 240;
    let setup = Setup { processes: 4, rate: Some(40.0), ..Setup::default() };
    let world = World::start(&["fast"], setup).await;
    world.until_all_have_heard_of_each_other().await;
    let begun = Instant::now();
    world.publish(0..EVENTS).await;
    world.until("fast", Some(DeliveryState::Delivered), EVENTS.into()).await;
    let taken = begun.elapsed();
    assert!(taken > Duration::from_secs(4), "{EVENTS} events at 40 a second within {taken:?}");
    world.end().await;
}

async fn state(world: &World, name: &str) -> EndpointState {
    let states = world.store.endpoint_states().await.unwrap();
    let state = states.into_iter().find(|state| state.name.as_str() == name);
    state.unwrap_or_else(|| EndpointState::unknown(EndpointName::parse(name).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_quiet_time_is_seen_and_ends_when_an_operator_wants_it() {
    let day = Some(Duration::from_hours(24));
    let world = World::start(&["throttling"], Setup { max_retry_after: day, ..Setup::default() }).await;
    *world.receivers["throttling"].retry_after.lock().unwrap() = "86400".to_owned();
    world.publish(0..EVENTS).await;
    let begun = Instant::now();
    while !state(&world, "throttling").await.reason.contains("asks to be left alone until") {
        assert!(begun.elapsed() < DEADLINE, "nobody sees that it is left alone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.until("throttling", None, EVENTS.into()).await;
    world.until("throttling", Some(DeliveryState::Parked), 1).await;

    // As `redeliver --state parked` does it, more than once, for what is parked meanwhile.
    let parked = Selection { state: Some(DeliveryState::Parked), ..Selection::default() };
    while world.count("throttling", Some(DeliveryState::Delivered)).await < EVENTS.into() {
        assert!(begun.elapsed() < DEADLINE, "it is left alone all the same");
        let known = state(&world, "throttling").await;
        let now = Timestamp::from(std::time::SystemTime::now());
        let (Changed::Done | Changed::TooLate) =
            world.store.change_endpoint(&EndpointState { changed_at: now, ..known }).await.unwrap();
        world.store.hasten(&parked, now, 1_000, now).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.end().await;
}
