//! What an operator may set of a lane.

use std::time::Duration;

use crate::account::Generation;
use crate::queue::PollLimits;

/// Options of one lane.
#[derive(Clone, Debug)]
pub struct LaneOptions {
    /// Generation of the submitted topic.
    pub generation: Generation,
    /// Prefix of event types.
    pub event_type_prefix: String,
    /// Bounds of one poll.
    pub poll: PollLimits,
    /// How often offsets are committed while records flow.
    pub commit_interval: Duration,
    /// Waits between tries while the store or the queue is unavailable.
    pub backoff: Backoff,
    /// When to pause instead of filling the dead-letter topic.
    pub brake: BrakeOptions,
}

/// Exponential waits between tries.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait after failure number `failures`, counted from 1.
    pub fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }
}

/// Limits of dead letters.
#[derive(Clone, Copy, Debug)]
pub struct BrakeOptions {
    /// Share of dead letters, 0 to 1, past which the lane pauses.
    pub max_share: f64,
    /// The share is taken of this many records; fewer never pause a lane.
    pub window_records: u32,
    /// How long the lane pauses before it tries the next records.
    pub pause: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_limit() {
        let backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(5) };
        let waits: Vec<u128> = (1..=8).map(|failures| backoff.wait(failures).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff.wait(u32::MAX), backoff.max);
    }
}
