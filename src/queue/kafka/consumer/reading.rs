//! Records that were polled and wait to be taken, per partition, each in its turn.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use crate::account::{Offset, Partition};
use crate::queue::{PollLimits, Received};

use super::flow::Flow;
use super::poller::Tagged;

/// What is read of the partitions that were sought.
#[derive(Default)]
pub(super) struct Reading {
    partitions: BTreeMap<Partition, Sought>,
    last_served: Option<Partition>,
}

/// How long the first records of a partition are waited for, so that one with a large backlog, which
/// arrives at once, does not run ahead of the others.
const START_PATIENCE: Duration = Duration::from_millis(250);

struct Sought {
    /// Until then its first record is waited for.
    awaited_until: Option<Instant>,
    epoch: u64,
    next: Offset,
    end: Offset,
    waiting: VecDeque<Tagged>,
    /// Behind what waits there is no record before this offset.
    passed: Offset,
}

impl Sought {
    /// Goes on past what holds no record, once every record before it is served.
    fn pass(&mut self) {
        if self.waiting.is_empty() {
            self.next = self.next.max(self.passed);
        }
    }
}

impl Reading {
    /// Reads a partition from `from` on, which was `end` away from its end.
    pub(super) fn begin(
        &mut self,
        partition: Partition,
        epoch: u64,
        from: Offset,
        end: Offset,
        flow: &Flow,
    ) {
        self.forget(partition, flow);
        let awaited_until = (from < end).then(|| Instant::now() + START_PATIENCE);
        let (waiting, passed) = (VecDeque::new(), from);
        let sought = Sought { awaited_until, epoch, next: from, end, waiting, passed };
        self.partitions.insert(partition, sought);
    }

    /// Drops what waits of a partition, and what is still on its way.
    pub(super) fn forget(&mut self, partition: Partition, flow: &Flow) {
        let forgotten = self.partitions.remove(&partition);
        for tagged in forgotten.into_iter().flat_map(|sought| sought.waiting) {
            flow.remove(tagged.bytes);
        }
    }

    /// Takes a record in, unless it was read before the partition was sought last.
    pub(super) fn admit(&mut self, tagged: Tagged, flow: &Flow) {
        match self.partitions.get_mut(&tagged.received.partition) {
            Some(sought) if sought.epoch == tagged.epoch && tagged.received.offset >= sought.next => {
                sought.awaited_until = None;
                sought.waiting.push_back(tagged);
            }
            _ => flow.remove(tagged.bytes),
        }
    }

    /// Behind what was taken in of a partition there is no record before `next`.
    pub(super) fn pass(&mut self, partition: Partition, epoch: u64, next: Offset) {
        if let Some(sought) = self.partitions.get_mut(&partition)
            && sought.epoch == epoch
        {
            sought.awaited_until = None;
            sought.passed = sought.passed.max(next);
            sought.pass();
        }
    }

    /// Until when nothing should be served, because a partition's first records are on their way.
    pub(super) fn awaited_until(&self) -> Option<Instant> {
        let latest = self.partitions.values().filter_map(|sought| sought.awaited_until).max();
        latest.filter(|until| *until > Instant::now())
    }

    /// The next records within the limits, beginning with the partition after the last one served.
    pub(super) fn serve(&mut self, limits: PollLimits, flow: &Flow) -> Vec<Received> {
        let mut served = Vec::new();
        let mut bytes = 0;
        for partition in self.turns() {
            let Some(sought) = self.partitions.get_mut(&partition) else { continue };
            while let Some(tagged) = sought.waiting.front() {
                bytes += tagged.received.record.value.len();
                let is_over = served.len() >= limits.max_records || bytes > limits.max_bytes;
                if is_over && !served.is_empty() {
                    return served;
                }
                let Some(tagged) = sought.waiting.pop_front() else { break };
                flow.remove(tagged.bytes);
                sought.next = tagged.received.offset.next();
                sought.pass();
                self.last_served = Some(partition);
                served.push(tagged.received);
            }
        }
        served
    }

    /// The offset up to which every record of a partition was served.
    pub(super) fn position(&self, partition: Partition) -> Option<Offset> {
        self.partitions.get(&partition).map(|sought| sought.next)
    }

    /// Records up to the ends that are known and not served yet.
    pub(super) fn backlog(&self, known_end: impl Fn(Partition) -> u64) -> u64 {
        let behind = |(partition, sought): (&Partition, &Sought)| {
            sought.end.0.max(known_end(*partition)).saturating_sub(sought.next.0)
        };
        self.partitions.iter().map(behind).sum()
    }

    fn turns(&self) -> Vec<Partition> {
        let last = self.last_served.unwrap_or(Partition(u32::MAX));
        let after = self.partitions.range((Bound::Excluded(last), Bound::Unbounded));
        after.chain(self.partitions.range(..=last)).map(|(partition, _)| *partition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::Fill;
    use super::*;
    use crate::account::Timestamp;
    use crate::queue::{Headers, Record};

    fn tagged(partition: u32, offset: u64, epoch: u64) -> Tagged {
        let value = vec![b'x'; 10].into();
        let record = Record { key: bytes::Bytes::new(), value, headers: Headers::default() };
        let received = Received {
            partition: Partition(partition),
            offset: Offset(offset),
            appended_at: Timestamp::from_unix_millis(0),
            record,
        };
        Tagged { epoch, bytes: 10, received }
    }

    fn limits(max_records: usize, max_bytes: usize) -> PollLimits {
        PollLimits { max_records, max_bytes, max_wait: Duration::ZERO }
    }

    fn admit(reading: &mut Reading, flow: &Flow, partition: u32, offset: u64, epoch: u64) {
        let tagged = tagged(partition, offset, epoch);
        flow.add(tagged.bytes);
        reading.admit(tagged, flow);
    }

    #[test]
    fn partitions_take_turns() {
        let (mut reading, flow) = (Reading::default(), Flow::default());
        for partition in 0..3 {
            reading.begin(Partition(partition), 1, Offset(0), Offset(9), &flow);
            for offset in 0..2 {
                admit(&mut reading, &flow, partition, offset, 1);
            }
        }
        let mut turns = Vec::new();
        for _ in 0..6 {
            turns.extend(reading.serve(limits(1, 99), &flow));
        }
        let order: Vec<_> = turns.iter().map(|r| (r.partition.0, r.offset.0)).collect();
        assert_eq!(order, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
        assert_eq!(reading.backlog(|_| 0), 21);
    }

    #[test]
    fn limits_are_kept_but_one_record_passes() {
        let (mut reading, flow) = (Reading::default(), Flow::default());
        reading.begin(Partition(0), 1, Offset(0), Offset(9), &flow);
        for offset in 0..9 {
            admit(&mut reading, &flow, 0, offset, 1);
        }
        assert_eq!(reading.serve(limits(9, 35), &flow).len(), 3);
        assert_eq!(reading.serve(limits(2, 99), &flow).len(), 2);
        assert_eq!(reading.serve(limits(9, 1), &flow).len(), 1);
    }

    #[test]
    fn what_holds_no_record_is_passed_once_every_record_before_it_is_served() {
        let (mut reading, flow) = (Reading::default(), Flow::default());
        reading.begin(Partition(0), 2, Offset(4), Offset(9), &flow);
        admit(&mut reading, &flow, 0, 4, 2);
        reading.pass(Partition(0), 1, Offset(99));
        reading.pass(Partition(0), 2, Offset(9));
        assert_eq!(reading.position(Partition(0)), Some(Offset(4)));
        assert_eq!(reading.serve(limits(9, 99), &flow).len(), 1);
        assert_eq!(reading.position(Partition(0)), Some(Offset(9)));
        assert_eq!(reading.backlog(|_| 0), 0);
    }

    #[test]
    fn what_was_read_before_a_seek_is_dropped() {
        let (mut reading, flow) = (Reading::default(), Flow::default());
        admit(&mut reading, &flow, 0, 4, 1);
        reading.begin(Partition(0), 1, Offset(4), Offset(9), &flow);
        admit(&mut reading, &flow, 0, 4, 1);
        reading.begin(Partition(0), 2, Offset(2), Offset(9), &flow);
        admit(&mut reading, &flow, 0, 5, 1);
        admit(&mut reading, &flow, 0, 2, 2);
        let served = reading.serve(limits(9, 99), &flow);
        assert_eq!(served.iter().map(|r| r.offset.0).collect::<Vec<_>>(), [2]);
        assert_eq!(flow.fill(), Fill::HalfEmpty);
        assert_eq!(reading.backlog(|_| 0), 6);
    }
}
