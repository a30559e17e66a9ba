//! Pauses of a lane that runs by itself: it commits what is told, hears the group, and obeys a stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock::account::Policy;
use penstock::queue::{Consumer, PollLimits, Polled, Queue, Record, Topic};
use penstock::telemetry::Metrics;
use penstock::worker::{BrakeOptions, Lane, LaneOptions};
use tokio_util::sync::CancellationToken;

use crate::feed::GARBAGE;
use crate::memory::queue::MemoryQueue;
use crate::memory::store::MemoryStore;
use crate::schedule::{GROUP, options};
use crate::scheduler::everything_is_committed;

/// Far shorter than the pause, far longer than what must not wait for its end.
const DEADLINE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_hours(1);
const WAIT: Duration = Duration::from_millis(5);

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn garbage(key: u32) -> Record {
    let (key, value) = (Bytes::from(key.to_string()), Bytes::from_static(GARBAGE));
    Record { key, value, headers: penstock::queue::Headers::default() }
}

#[tokio::test]
async fn a_lane_that_pauses_commits_gives_back_and_stops() {
    let (queue, store) = (MemoryQueue::new(4), MemoryStore::default());
    let brake = BrakeOptions { max_share: 0.5, window_records: 8, pause: PAUSE };
    let poll = PollLimits { max_records: 8, max_bytes: 1 << 20, max_wait: WAIT };
    let options = LaneOptions { brake, poll, ..options(8) };
    let consumer = queue.subscribe(Topic::Submitted, GROUP).await.unwrap();
    let lane = Lane::new(
        0,
        queue.clone(),
        consumer,
        store,
        Arc::new(Policy::default()),
        options,
        Metrics::disabled(),
    );
    (0..8).for_each(|key| queue.append(Topic::Submitted, garbage(key)));
    let stop = CancellationToken::new();
    let running = tokio::spawn(lane.run(stop.clone()));
    until("what is told is committed in time", async || {
        everything_is_committed(&queue, Topic::Submitted, GROUP).is_ok()
    })
    .await;
    queue.append(Topic::Submitted, garbage(0));
    let mut second = queue.subscribe(Topic::Submitted, GROUP).await.unwrap();
    until("partitions are given back in time", async || {
        matches!(second.poll(poll).await, Ok(Polled::Assigned(_)))
    })
    .await;
    assert_eq!(queue.log(Topic::DeadLetter).len(), 8, "the lane does not pause");
    stop.cancel();
    let stopped = tokio::time::timeout(DEADLINE, running).await;
    stopped.expect("the lane stops in time").unwrap().unwrap();
}
