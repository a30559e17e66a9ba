//! What one process does for all, slice by slice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use penstock::account::Timestamp;
use penstock::callbacks::{Ambient, Housekeeper, HousekeepingOptions, Processes};
use penstock::store::{Deliveries, DeliveryState, Ending, EndpointName, NewDelivery};
use penstock::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::memory::deliveries::MemoryDeliveries;
use crate::world::{DEADLINE, parked};

const HOUR_S: i64 = 3_600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
}

fn new(number: u32, account: &str, ending: Ending) -> NewDelivery {
    let parked = parked(&EndpointName::parse("risk").unwrap(), number, at(0));
    NewDelivery { account: account.into(), is_ordered: true, ending, ..parked }
}

/// Lines in which something waits behind a head that was delivered unseen, long ago.
async fn stranded_lines(deliveries: &MemoryDeliveries, accounts: &[&str]) {
    for (number, account) in (0..).step_by(2).zip(accounts) {
        let parked = Ending::Parked { due_at: at(0) };
        let line = [new(number, account, parked), new(number + 1, account, parked)];
        deliveries.record(&line, &[], at(0)).await.unwrap();
        deliveries.record(&[new(number, account, Ending::Delivered)], &[], at(1)).await.unwrap();
    }
}

fn released(deliveries: &MemoryDeliveries) -> usize {
    deliveries.rows().iter().filter(|row| row.state == DeliveryState::Parked).count()
}

fn options(max_sweep: usize) -> HousekeepingOptions {
    HousekeepingOptions {
        interval: Duration::from_secs(30),
        slice_pause: Duration::from_secs(1),
        retention: Duration::from_hours(1),
        max_parked_age: Duration::from_hours(1_000),
        lease: Duration::from_mins(1),
        max_sweep,
    }
}

#[tokio::test]
async fn each_process_hears_how_many_there_are_as_they_come_and_go() {
    let deliveries = MemoryDeliveries::default();
    let time = Arc::new(AtomicI64::new(0));
    let start = || {
        let clock = Arc::clone(&time);
        let ambient = Ambient::new(move || at(clock.load(Ordering::Relaxed)), || 0.0);
        Housekeeper::new(deliveries.clone(), Vec::new(), options(1), ambient, Metrics::disabled())
    };
    let (mut stays, mut dies, ends) = (start(), start(), start());
    let counts = [stays.processes(), dies.processes(), ends.processes()];
    let heard = || counts.each_ref().map(Processes::count);
    assert_eq!(heard(), [1, 1, 1], "nobody has been heard of");
    stays.round().await;
    dies.round().await;
    let stop = CancellationToken::new();
    let ending = tokio::spawn(ends.run(stop.clone()));
    let has_heard = async {
        while counts[2].count() != 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, has_heard).await.unwrap();
    stays.round().await;
    assert_eq!(heard(), [3, 2, 3], "each hears it in its next round");
    stop.cancel();
    ending.await.unwrap();
    stays.round().await;
    assert_eq!(heard()[0], 2, "whoever ends says so");
    for (second, expected) in [(90, 2), (91, 1)] {
        time.store(second, Ordering::Relaxed);
        stays.round().await;
        assert_eq!(heard()[0], expected, "whoever dies is missed after three rounds");
    }
}

#[tokio::test]
async fn stranded_lines_are_looked_for_once_an_interval_however_much_there_is_to_remove() {
    let deliveries = MemoryDeliveries::default();
    stranded_lines(&deliveries, &["a", "b", "c", "d", "e", "f"]).await;
    let time = Arc::new(AtomicI64::new(2 * HOUR_S));
    let clock = Arc::clone(&time);
    let options = options(1);
    let HousekeepingOptions { interval, slice_pause, .. } = options;
    let ambient = Ambient::new(move || at(clock.load(Ordering::Relaxed)), || 0.0);
    let mut housekeeper =
        Housekeeper::new(deliveries.clone(), Vec::new(), options, ambient, Metrics::disabled());
    for second in 0..3 {
        time.store(2 * HOUR_S + second, Ordering::Relaxed);
        assert_eq!(housekeeper.round().await, slice_pause, "there is more to remove");
        assert_eq!(released(&deliveries), 1, "one slice of lines an interval");
    }
    assert_eq!(deliveries.rows().len(), 9, "a slice is removed in each round");
    for interval in 1..=5 {
        time.store(2 * HOUR_S + 30 * interval, Ordering::Relaxed);
        housekeeper.round().await;
    }
    assert_eq!(released(&deliveries), 6, "the search goes on where it was");
    assert_eq!(housekeeper.round().await, interval, "nothing is left to remove");
}
