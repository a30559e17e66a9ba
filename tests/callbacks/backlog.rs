//! An endpoint that drains what was parked for it, and what others notice of that.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use penstock::store::DeliveryState;

use crate::world::{DEADLINE, FRESH, Setup, World};

/// How late an event for another endpoint may be, on however busy a machine.
const BOUND: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_drains_its_backlog_slowly_delays_no_other() {
    let world = World::start(&["fast", "tiring"], Setup::default()).await;
    world.park("tiring", 10_000..13_000).await;
    let is_slow = async {
        while world.receivers["tiring"].requests.load(Ordering::Relaxed) < FRESH + 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, is_slow).await.unwrap();
    for round in 0..5 {
        let published = Instant::now();
        world.publish(round * 20..(round + 1) * 20).await;
        world.until("fast", Some(DeliveryState::Delivered), u64::from((round + 1) * 20)).await;
        let delay = published.elapsed();
        assert!(delay < BOUND, "events for an idle endpoint came after {delay:?} in round {round}");
    }
    assert!(world.count("tiring", Some(DeliveryState::Parked)).await > 1_000, "it is still at it");
    world.end().await;
}
