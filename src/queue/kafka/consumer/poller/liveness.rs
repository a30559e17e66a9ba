//! Whether the client still does its work, decided from what it brings and what the brokers have.
//!
//! A client is stalled when, for the stall timeout, a partition had records that it did not bring
//! although it was asked for them. Brokers that cannot be asked for a partition's end prove nothing,
//! and neither does a lane that takes no records: the time begins anew after either.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::account::Offset;

/// How many looks there are in a stall timeout.
const LOOKS: u32 = 4;
/// A client that was replaced this many stall timeouts ago counts as one that was not.
const FORGIVEN_AFTER: u32 = 10;

/// The partitions that are read, with how long each has been stuck.
#[derive(Debug)]
pub(in super::super) struct Liveness {
    stall_timeout: Duration,
    watched: BTreeMap<i32, Watched>,
    looked_at: Option<Instant>,
    replaced_at: Option<Instant>,
}

#[derive(Debug)]
struct Watched {
    /// The offset after the last record it brought.
    next: u64,
    has_moved: bool,
    moved_at: Instant,
    /// When it was first seen to have records that do not come.
    behind_since: Option<Instant>,
}

/// The end of a partition, if the brokers told it.
pub(in super::super) type End = (i32, Option<Offset>);

impl Liveness {
    pub(in super::super) fn new(stall_timeout: Duration) -> Self {
        Self { stall_timeout, watched: BTreeMap::new(), looked_at: None, replaced_at: None }
    }

    /// A partition is read from `from` on.
    pub(super) fn begin(&mut self, partition: i32, from: Offset, now: Instant) {
        let watched = Watched { next: from.0, has_moved: false, moved_at: now, behind_since: None };
        self.watched.insert(partition, watched);
    }

    /// Partitions that are not read are no longer watched.
    pub(super) fn keep(&mut self, is_read: impl Fn(i32) -> bool) {
        self.watched.retain(|partition, _| is_read(*partition));
    }

    /// A record came.
    pub(super) fn moved(&mut self, partition: i32, offset: Offset) {
        if let Some(watched) = self.watched.get_mut(&partition) {
            watched.next = offset.next().0;
            watched.has_moved = true;
        }
        self.replaced_at = None;
    }

    /// Where each partition stands: the offset after its last record.
    pub(super) fn places(&self) -> impl Iterator<Item = (i32, Offset)> {
        self.watched.iter().map(|(partition, watched)| (*partition, Offset(watched.next)))
    }

    /// There is no record from `from` up to `until`. Whether the partition still stands there.
    pub(super) fn pass(&mut self, partition: i32, from: Offset, until: Offset) -> bool {
        let watched = self.watched.get_mut(&partition).filter(|watched| watched.next == from.0);
        watched.map(|watched| watched.next = until.0).is_some()
    }

    /// The lane takes no records.
    pub(super) fn blocked(&mut self) {
        for watched in self.watched.values_mut() {
            watched.behind_since = None;
        }
    }

    /// The partitions whose ends are to be asked for now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<i32> {
        let pause = self.stall_timeout / LOOKS;
        let mut still = Vec::new();
        for (partition, watched) in &mut self.watched {
            if std::mem::take(&mut watched.has_moved) {
                watched.moved_at = now;
                watched.behind_since = None;
            } else if now.duration_since(watched.moved_at) >= pause {
                still.push(*partition);
            }
        }
        if still.is_empty() || self.looked_at.is_some_and(|at| now.duration_since(at) < pause) {
            return Vec::new();
        }
        self.looked_at = Some(now);
        still
    }

    /// Compares ends with what came; `fetched` tells how far the client itself says to be. Returns a
    /// partition that is stalled.
    #[must_use]
    pub(super) fn compare(
        &mut self,
        ends: &[End],
        fetched: impl Fn(i32) -> u64,
        now: Instant,
    ) -> Option<i32> {
        for (partition, end) in ends {
            let Some(watched) = self.watched.get_mut(partition) else { continue };
            let is_behind = !watched.has_moved
                && end.is_some_and(|end| end.0 > watched.next.max(fetched(*partition)));
            if !is_behind {
                watched.behind_since = None;
                continue;
            }
            let since = *watched.behind_since.get_or_insert(now);
            if now.duration_since(since) >= self.stall_timeout {
                return Some(*partition);
            }
        }
        None
    }

    /// Whether replacing the client may help: it was not replaced lately without a record since.
    /// Forgets all partitions if so.
    #[must_use]
    pub(super) fn may_replace(&mut self, now: Instant) -> bool {
        let forgiven = self.stall_timeout * FORGIVEN_AFTER;
        if self.replaced_at.is_some_and(|at| now.duration_since(at) < forgiven) {
            return false;
        }
        self.replaced_at = Some(now);
        self.watched.clear();
        self.looked_at = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_mins(1);

    struct Watch {
        liveness: Liveness,
        start: Instant,
    }

    impl Watch {
        /// Partition 0 is read from offset 5 on.
        fn begin() -> Self {
            let start = Instant::now();
            let mut liveness = Liveness::new(STALL);
            liveness.begin(0, Offset(5), start);
            Self { liveness, start }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        /// Looks every second as a consumer does; returns the second at which a stall is seen.
        fn run(&mut self, seconds: std::ops::Range<u64>, end: Option<u64>, fetched: u64) -> Option<u64> {
            seconds.into_iter().find(|second| {
                let now = self.at(*second);
                let due = self.liveness.due(now);
                let ends: Vec<End> = due.into_iter().map(|p| (p, end.map(Offset))).collect();
                self.liveness.compare(&ends, |_| fetched, now).is_some()
            })
        }
    }

    #[test]
    fn records_that_do_not_come_are_a_stall() {
        let mut watch = Watch::begin();
        let seen_at = watch.run(0..200, Some(6), 0).unwrap();
        assert!((75..=90).contains(&seen_at), "{seen_at}");
    }

    #[test]
    fn an_idle_partition_is_none_however_long_it_was_idle() {
        let mut watch = Watch::begin();
        assert_eq!(watch.run(0..1_000, Some(5), 0), None);
        assert_eq!(watch.run(1_000..1_060, Some(6), 0), None, "the record came just now");
        assert!(watch.run(1_060..1_100, Some(6), 0).is_some());
    }

    #[test]
    fn movement_begins_the_time_anew() {
        let mut watch = Watch::begin();
        for round in 0..10 {
            assert_eq!(watch.run(round * 70..round * 70 + 70, Some(999), 0), None);
            watch.liveness.moved(0, Offset(6 + round));
        }
        assert!(watch.run(700..800, Some(999), 0).is_some());
    }

    #[test]
    fn brokers_that_are_away_prove_nothing() {
        let mut watch = Watch::begin();
        assert_eq!(watch.run(0..3_600, None, 0), None);
        assert_eq!(watch.run(3_600..3_650, Some(6), 0), None, "they are just back");
        assert_eq!(watch.run(3_650..3_680, None, 0), None);
        assert_eq!(watch.run(3_680..3_739, Some(6), 0), None);
    }

    #[test]
    fn a_lane_that_takes_nothing_is_no_fault_of_the_client() {
        let mut watch = Watch::begin();
        for round in 0..20 {
            assert_eq!(watch.run(round * 50..round * 50 + 50, Some(6), 0), None);
            watch.liveness.blocked();
        }
    }

    #[test]
    fn marks_of_transactions_are_no_records() {
        let mut watch = Watch::begin();
        assert_eq!(watch.run(0..1_000, Some(6), 6), None);
    }

    #[test]
    fn a_client_is_replaced_once_unless_a_record_comes() {
        let mut watch = Watch::begin();
        let (now, soon, late) = (watch.at(0), watch.at(90), watch.at(601));
        assert!(watch.liveness.may_replace(now));
        assert!(watch.liveness.due(soon).is_empty(), "nothing is read until it is sought again");
        assert!(!watch.liveness.may_replace(soon));
        assert!(watch.liveness.may_replace(late));
        watch.liveness.begin(0, Offset(5), late);
        watch.liveness.moved(0, Offset(5));
        assert!(watch.liveness.may_replace(late));
    }
}
