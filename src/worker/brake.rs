//! Stops a lane from pouring a whole feed into the dead-letter topic.

use super::options::BrakeOptions;

/// Counts dead letters in windows of records.
#[derive(Debug)]
pub(super) struct Brake {
    options: BrakeOptions,
    records: u32,
    dead: u32,
}

impl Brake {
    pub(super) fn new(options: BrakeOptions) -> Self {
        Self { options, records: 0, dead: 0 }
    }

    /// Counts a batch; true when a window has just filled up with too many dead letters.
    /// Windows follow one another, so after a pause the lane gets a fresh one.
    pub(super) fn trips(&mut self, records: usize, dead: usize) -> bool {
        self.records = self.records.saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
        self.dead = self.dead.saturating_add(u32::try_from(dead).unwrap_or(u32::MAX));
        if self.records < self.options.window_records {
            return false;
        }
        let share = f64::from(self.dead) / f64::from(self.records);
        (self.records, self.dead) = (0, 0);
        share > self.options.max_share
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn brake() -> Brake {
        let pause = Duration::from_secs(30);
        Brake::new(BrakeOptions { max_share: 0.5, window_records: 100, pause })
    }

    #[test]
    fn it_trips_when_a_window_is_full_of_dead_letters() {
        let mut brake = brake();
        assert!(!brake.trips(60, 60));
        assert!(brake.trips(60, 60));
        assert!(!brake.trips(60, 0), "a new window starts empty");
    }

    #[test]
    fn it_leaves_a_few_dead_letters_alone() {
        let mut brake = brake();
        assert!((0..100).all(|_| !brake.trips(10, 5)));
    }
}
