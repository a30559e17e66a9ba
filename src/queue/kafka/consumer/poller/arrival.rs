//! How long new partitions keep their member waiting.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// From new partitions to the first record of them, or to knowing that there is none.
#[derive(Debug, Default)]
pub(in super::super) struct Arrival {
    begun_at: Option<Instant>,
    awaited: BTreeSet<i32>,
}

impl Arrival {
    /// Whether something is awaited.
    pub(super) fn is_awaited(&self) -> bool {
        self.begun_at.is_some()
    }

    /// Partitions are new.
    pub(super) fn begin(&mut self, partitions: &[i32], now: Instant) {
        if !partitions.is_empty() {
            self.begun_at.get_or_insert(now);
            self.awaited.extend(partitions);
        }
    }

    /// A record came. Returns how long it was awaited, if it was.
    #[must_use]
    pub(super) fn record(&mut self, partition: i32, now: Instant) -> Option<Duration> {
        self.awaited.contains(&partition).then(|| self.finish(now)).flatten()
    }

    /// A partition is read and there is no record yet. Returns how long all took, if it was the last.
    #[must_use]
    pub(super) fn nothing(&mut self, partition: i32, now: Instant) -> Option<Duration> {
        let is_last = self.awaited.remove(&partition) && self.awaited.is_empty();
        is_last.then(|| self.finish(now)).flatten()
    }

    /// Partitions that are not kept are no longer waited for.
    pub(super) fn keep(&mut self, is_kept: impl Fn(i32) -> bool) {
        self.awaited.retain(|partition| is_kept(*partition));
        if self.awaited.is_empty() {
            self.begun_at = None;
        }
    }

    fn finish(&mut self, now: Instant) -> Option<Duration> {
        self.awaited.clear();
        self.begun_at.take().map(|begun_at| now.duration_since(begun_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_of_a_new_partition_ends_the_wait() {
        let (mut arrival, start) = (Arrival::default(), Instant::now());
        let later = start + Duration::from_secs(2);
        arrival.begin(&[1, 2], start);
        assert_eq!(arrival.record(0, later), None, "it was there before");
        assert_eq!(arrival.nothing(1, later), None);
        assert_eq!(arrival.record(2, later), Some(Duration::from_secs(2)));
        assert_eq!(arrival.record(2, later), None);
    }

    #[test]
    fn it_also_ends_when_there_are_no_records() {
        let (mut arrival, start) = (Arrival::default(), Instant::now());
        let later = start + Duration::from_secs(2);
        arrival.begin(&[1, 2], start);
        assert_eq!(arrival.nothing(1, later), None);
        assert_eq!(arrival.nothing(2, later), Some(Duration::from_secs(2)));
        arrival.begin(&[1], start);
        arrival.keep(|partition| partition != 1);
        assert!(!arrival.is_awaited());
    }
}
