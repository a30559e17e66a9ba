//! When the next batch goes out: at once, or as the asked rate allows.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Spreads the items of all connections evenly over time.
#[derive(Debug)]
pub(super) struct Pace {
    schedule: Option<(f64, Mutex<Instant>)>,
}

impl Pace {
    /// At most `items_per_second` (above 0), or as fast as answers come.
    pub(super) fn new(items_per_second: Option<f64>, start: Instant) -> Self {
        Self { schedule: items_per_second.map(|rate| (rate, Mutex::new(start))) }
    }

    /// Waits for the turn of a batch of `items`. Returns when it was due, so that a server that
    /// falls behind the rate shows in the latency.
    pub(super) async fn turn(&self, items: usize) -> Instant {
        let Some((rate, next)) = &self.schedule else { return Instant::now() };
        #[allow(clippy::cast_precision_loss, reason = "batches are far smaller than 2^52 items")]
        let gap = Duration::from_secs_f64(items as f64 / rate);
        let due = {
            let mut next = next.lock().await;
            let due = *next;
            *next += gap;
            due
        };
        tokio::time::sleep_until(due).await;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn batches_are_due_as_the_rate_says() {
        let start = Instant::now();
        let pace = Pace::new(Some(1_000.0), start);
        for batch in 0..4 {
            assert_eq!(pace.turn(500).await, start + Duration::from_millis(500) * batch);
        }
        assert_eq!(start.elapsed(), Duration::from_millis(1_500));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        Pace::new(None, start).turn(1_000_000).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
