//! What one process does for all, slice by slice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use penstock::account::Timestamp;
use penstock::callbacks::{Ambient, Housekeeper, HousekeepingOptions};
use penstock::store::{Deliveries, DeliveryState, Ending, EndpointName, NewDelivery};
use penstock::telemetry::Metrics;

use crate::memory::deliveries::MemoryDeliveries;
use crate::world::parked;

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

#[tokio::test]
async fn stranded_lines_are_looked_for_once_an_interval_however_much_there_is_to_remove() {
    let deliveries = MemoryDeliveries::default();
    stranded_lines(&deliveries, &["a", "b", "c", "d", "e", "f"]).await;
    let time = Arc::new(AtomicI64::new(2 * HOUR_S));
    let clock = Arc::clone(&time);
    let (interval, slice_pause) = (Duration::from_secs(30), Duration::from_secs(1));
    let options = HousekeepingOptions {
        interval,
        slice_pause,
        retention: Duration::from_hours(1),
        max_parked_age: Duration::from_hours(1_000),
        lease: Duration::from_mins(1),
        max_sweep: 1,
    };
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
