//! What may be asked of a source: how far it had got when it was looked at, and what it still keeps.

use std::collections::BTreeMap;

use crate::account::{Coordinates, Generation, Offset, Partition};
use crate::replay::{Bound, Span, Window};

/// By how much partitions may be looked at one after the other, or their brokers' clocks differ.
const SLACK_MS: i64 = 10_000;

/// A partition of the log as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogBounds {
    /// The window on it.
    pub(super) span: Span,
    /// When its first and last record in the window were appended; none when there is none.
    pub(super) appended_ms: Option<(i64, i64)>,
    /// Some of its records were copied from another log, so that they are not in the order in which they were
    /// appended first.
    pub(super) is_copied: bool,
}

impl LogBounds {
    /// Those of a window of which no record was read yet.
    pub(super) fn of(span: Span) -> Self {
        Self { span, appended_ms: None, is_copied: false }
    }

    /// Records were appended between these times, both included.
    pub(super) fn widen(&mut self, (first_ms, last_ms): (i64, i64), is_copied: bool) {
        let (first, last) = self.appended_ms.unwrap_or((first_ms, last_ms));
        self.appended_ms = Some((first.min(first_ms), last.max(last_ms)));
        self.is_copied |= is_copied;
    }
}

/// Times between which, both excluded, every submission of a partition lies in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    after: Option<i64>,
    before: i64,
}

/// What may be asked of the sources.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    generation: Generation,
    spans: BTreeMap<Partition, Span>,
    reaches: BTreeMap<Partition, Reach>,
    reach_of_all: Option<Reach>,
    are_alike: bool,
    /// Some numbers are looked at alone, so that what is not said of others says nothing.
    pub(super) is_narrowed: bool,
    /// What was appended to a partition up to then may have been deleted from it; none when nothing was.
    pub(super) results_deleted_ms: BTreeMap<Partition, i64>,
    pub(super) letters_deleted_ms: BTreeMap<Partition, i64>,
    pub(super) deliveries_removed_ms: i64,
}

impl Bounds {
    /// Those of a log that was read. Events stand on the partition of the same number if `are_alike`.
    pub(super) fn of(
        generation: Generation,
        window: &Window,
        log: &[LogBounds],
        are_alike: bool,
    ) -> Self {
        let newest = log.iter().filter_map(|it| it.appended_ms).map(|(_, last)| last).max();
        let reaches: BTreeMap<_, _> = log
            .iter()
            .filter_map(|it| Some((it.span.partition, reach(generation, window, it, newest?)?)))
            .collect();
        // Whoever knows nothing of one partition knows nothing of all of them.
        let is_whole = window.partitions.is_empty() && reaches.len() == log.len();
        let narrower =
            |a: Reach, b: Reach| Reach { after: a.after.max(b.after), before: a.before.min(b.before) };
        let reach_of_all = reaches.values().copied().reduce(narrower).filter(|_| is_whole);
        Self {
            generation,
            spans: log.iter().map(|it| (it.span.partition, it.span)).collect(),
            reaches,
            reach_of_all,
            are_alike,
            is_narrowed: false,
            results_deleted_ms: BTreeMap::new(),
            letters_deleted_ms: BTreeMap::new(),
            deliveries_removed_ms: i64::MIN,
        }
    }

    /// Whether the log must have a submission there that is settled.
    pub(super) fn is_audited(&self, at: Coordinates) -> bool {
        let is_within = |span: &Span| span.from <= at.offset && at.offset < settled(span);
        at.log.generation == self.generation && self.spans.get(&at.log.partition).is_some_and(is_within)
    }

    /// Whether the submission that an event is of must lie in the window. The partition is the event's, where it is
    /// known.
    pub(super) fn must_be_submitted(&self, partition: Option<u32>, time_ms: Option<i64>) -> bool {
        self.reach(partition).zip(time_ms).is_some_and(|(reach, time)| {
            reach.after.is_none_or(|after| after < time) && time < reach.before
        })
    }

    /// Whether the submission that an event is of may have come after the log was looked at: sent again, or put back.
    pub(super) fn may_have_come_later(&self, partition: Option<u32>, time_ms: Option<i64>) -> bool {
        self.reach(partition).zip(time_ms).is_some_and(|(reach, time)| reach.before < time)
    }

    fn reach(&self, partition: Option<u32>) -> Option<Reach> {
        match partition.filter(|_| self.are_alike) {
            Some(partition) => self.reaches.get(&Partition(partition)).copied(),
            None => self.reach_of_all,
        }
    }

    /// Whether the event of a submission may have been deleted. It stands on the submission's partition, where the
    /// topics have as many.
    pub(super) fn may_have_lost_result(&self, partition: Option<Partition>, appended_ms: i64) -> bool {
        let own = partition.filter(|_| self.are_alike);
        let mut deleted = self
            .results_deleted_ms
            .iter()
            .filter(|(partition, _)| own.is_none_or(|own| own == **partition));
        deleted.any(|(_, deleted)| appended_ms <= *deleted)
    }

    /// Whether the letter of a record may have been deleted; it may stand anywhere.
    pub(super) fn may_have_lost_letter(&self, appended_ms: i64) -> bool {
        self.letters_deleted_ms.values().any(|deleted| appended_ms <= *deleted)
    }

    /// Whether a delivery of an event that was told then may have been removed.
    pub(super) fn may_have_lost_delivery(&self, told_ms: i64) -> bool {
        told_ms <= self.deliveries_removed_ms
    }
}

/// The offset up to which a window is settled.
pub(super) fn settled(span: &Span) -> Offset {
    span.to.min(span.settled)
}

/// None when nobody knows: of a window without a record that does not begin at a time, what came before it may be from
/// whenever.
fn reach(generation: Generation, window: &Window, log: &LogBounds, newest: i64) -> Option<Reach> {
    let begins_at_a_time = matches!(window.from, Bound::Time(_)) && log.span.deleted_before.is_none();
    if log.is_copied && log.span.from > Offset(0) && !begins_at_a_time {
        // What stands before the window may have been appended whenever.
        return None;
    }
    let (first, last) = log.appended_ms.unzip();
    let after = match window.from {
        _ if log.span.deleted_before.is_some() => Some(first?),
        Bound::Time(from) => Some(from.unix_millis() - 1),
        // Before the first record of a later generation come those of the one before.
        Bound::Open | Bound::Offset(_) if log.span.from > Offset(0) || generation > Generation(1) => {
            Some(first?)
        }
        Bound::Open | Bound::Offset(_) => None,
    };
    let looked_at = newest - SLACK_MS;
    let before = match window.to {
        Bound::Time(to) => to.unix_millis().min(looked_at).max(last.unwrap_or(i64::MIN)),
        Bound::Offset(_) => last?,
        Bound::Open => last.unwrap_or(i64::MIN).max(looked_at),
    };
    Some(Reach { after, before })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::account::{LogPartition, Timestamp};

    fn window(from: Bound, to: Bound) -> Window {
        Window { from, to, partitions: BTreeSet::new() }
    }

    fn log(partition: u32, from: u64, to: u64, appended_ms: Option<(i64, i64)>) -> LogBounds {
        let span = Span {
            partition: Partition(partition),
            from: Offset(from),
            to: Offset(to),
            settled: Offset(to.saturating_sub(2)),
            deleted_before: None,
        };
        LogBounds { span, appended_ms, is_copied: false }
    }

    #[test]
    fn what_is_not_settled_is_asked_of_nobody() {
        let bounds =
            Bounds::of(Generation(1), &window(Bound::Open, Bound::Open), &[log(0, 5, 9, None)], true);
        let at = |generation, partition, offset| {
            let (generation, partition) = (Generation(generation), Partition(partition));
            LogPartition { generation, partition }.at(Offset(offset))
        };
        let audited: Vec<_> = (0..12).filter(|offset| bounds.is_audited(at(1, 0, *offset))).collect();
        assert_eq!(audited, [5, 6]);
        assert!(!bounds.is_audited(at(2, 0, 5)) && !bounds.is_audited(at(1, 1, 5)));
    }

    #[test]
    fn an_event_must_have_its_submission_where_the_window_has_all_of_them() {
        let both = [log(0, 0, 9, Some((1_000, 2_000))), log(1, 0, 9, Some((1_500, 60_000)))];
        let is_asked =
            |bounds: &Bounds, partition, time| bounds.must_be_submitted(partition, Some(time));
        let open = Bounds::of(Generation(1), &window(Bound::Open, Bound::Open), &both, true);
        assert!(is_asked(&open, Some(0), 0), "nothing was deleted");
        assert!(is_asked(&open, Some(0), 49_999), "its end was looked at after the newest was appended");
        assert!(!is_asked(&open, Some(0), 50_000) && is_asked(&open, Some(1), 59_999));
        assert!(!is_asked(&open, None, 50_000) && is_asked(&open, None, 49_999), "that of all");
        assert!(!open.must_be_submitted(Some(0), None), "nobody knows");
        assert!(
            open.may_have_come_later(Some(1), Some(60_001))
                && open.may_have_come_later(Some(0), Some(50_001))
        );
        assert!(
            !open.may_have_come_later(Some(1), Some(60_000)) && !open.may_have_come_later(Some(0), None)
        );
        let from = Bound::Time(Timestamp::from_unix_millis(1_200));
        let timed = Bounds::of(Generation(1), &window(from, Bound::Open), &both, true);
        assert!(!is_asked(&timed, Some(0), 1_199) && is_asked(&timed, Some(0), 1_200));
        let mut shortened = both;
        shortened[0].span.deleted_before = Some(Offset(3));
        let shortened = Bounds::of(Generation(1), &window(from, Bound::Open), &shortened, true);
        assert!(!is_asked(&shortened, Some(0), 1_000) && is_asked(&shortened, Some(0), 1_001));
        let offsets = window(Bound::Offset(Offset(0)), Bound::Offset(Offset(9)));
        let offsets = Bounds::of(Generation(1), &offsets, &both, true);
        assert!(is_asked(&offsets, Some(0), 1_999) && !is_asked(&offsets, Some(0), 2_000));
    }

    #[test]
    fn what_was_deleted_is_not_missing() {
        let mut bounds = Bounds::of(Generation(1), &window(Bound::Open, Bound::Open), &[], true);
        let own = Some(Partition(1));
        assert!(!bounds.may_have_lost_result(own, 0) && !bounds.may_have_lost_letter(0));
        assert!(!bounds.may_have_lost_delivery(0));
        bounds.results_deleted_ms = BTreeMap::from([(Partition(1), 5)]);
        bounds.deliveries_removed_ms = 7;
        assert!(bounds.may_have_lost_result(own, 5) && !bounds.may_have_lost_result(own, 6));
        assert!(!bounds.may_have_lost_result(Some(Partition(0)), 5), "another partition keeps all");
        assert!(bounds.may_have_lost_result(None, 5), "it may have stood there");
        assert!(bounds.may_have_lost_delivery(7) && !bounds.may_have_lost_delivery(8));
    }

    #[test]
    fn a_later_generation_and_a_copied_log_claim_less() {
        let open = window(Bound::Open, Bound::Open);
        let whole = [log(0, 0, 9, Some((1_000, 60_000)))];
        let first = Bounds::of(Generation(1), &open, &whole, true);
        let second = Bounds::of(Generation(2), &open, &whole, true);
        assert!(first.must_be_submitted(Some(0), Some(999)));
        assert!(!second.must_be_submitted(Some(0), Some(1_000)), "it may be of the generation before");
        assert!(second.must_be_submitted(Some(0), Some(1_001)));
        let mut copied = whole;
        copied[0].is_copied = true;
        let all = Bounds::of(Generation(1), &open, &copied, true);
        assert!(all.must_be_submitted(Some(0), Some(999)), "nothing is deleted of it");
        copied[0].span.from = Offset(3);
        let behind = Bounds::of(Generation(1), &open, &copied, true);
        assert!(!behind.must_be_submitted(Some(0), Some(5_000)), "what stands before is from whenever");
        let since = window(Bound::Time(Timestamp::from_unix_millis(900)), Bound::Open);
        let timed = Bounds::of(Generation(1), &since, &copied, true);
        assert!(timed.must_be_submitted(Some(0), Some(5_000)), "whatever is from then on is in it");
        copied[0].span.deleted_before = Some(Offset(3));
        let deleted = Bounds::of(Generation(1), &open, &copied, true);
        assert!(!deleted.must_be_submitted(Some(0), Some(5_000)), "what is deleted is from whenever");
        let empty = [log(0, 0, 9, Some((1_000, 60_000))), log(1, 4, 4, None)];
        let empty = Bounds::of(Generation(1), &open, &empty, true);
        assert!(!empty.must_be_submitted(Some(1), Some(5_000)), "nobody knows of an empty partition");
        assert!(!empty.must_be_submitted(None, Some(5_000)), "so nobody knows of all of them");
        assert!(empty.must_be_submitted(Some(0), Some(5_000)));
        let never = [log(0, 0, 9, Some((1_000, 60_000))), log(1, 0, 0, None)];
        let never = Bounds::of(Generation(1), &open, &never, true);
        assert!(never.must_be_submitted(None, Some(5_000)), "nothing was ever there");
        assert!(!never.must_be_submitted(Some(1), Some(50_000)), "nor when it was looked at");
    }
}
