//! A member of a consumer group.
//!
//! Every method can be dropped at any await without losing anything: the state changes only after the
//! last one, or in steps that the next call takes up.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::account::{Offset, Partition};
use crate::queue::{Assignment, Consumer, PollLimits, Polled, QueueError, Received, Start, Topic};

use super::group::{Group, MemberId};
use super::log::TopicState;
use super::position::Slice;
use super::reader::{self, Range};
use super::writer::{Commit, Request};
use super::{SqliteQueue, broken, queue_error};

/// How far a partition has been read.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    next: Offset,
    /// False until `seek` has said from where to read.
    sought: bool,
}

/// A member of a consumer group of the embedded queue.
#[derive(Debug)]
pub struct SqliteConsumer {
    queue: SqliteQueue,
    topic: Topic,
    group: Arc<str>,
    member: MemberId,
    changes: watch::Receiver<u64>,
    cursors: BTreeMap<Partition, Cursor>,
    /// Held, but the caller does not know yet.
    unannounced: Vec<Partition>,
    /// Where the next poll begins, so that every partition has its turn.
    turn: Partition,
}

impl SqliteConsumer {
    pub(super) fn join(queue: SqliteQueue, topic: Topic, group: &str, member: MemberId) -> Self {
        let group: Arc<str> = Arc::from(group);
        let changes = queue.inner.log.watch(topic);
        let partitions = queue.inner.partitions;
        queue.inner.log.change(topic, |state| {
            let group = state.groups.entry(Arc::clone(&group));
            group.or_insert_with(|| Group::new(partitions)).join(member);
        });
        Self {
            queue,
            topic,
            group,
            member,
            changes,
            cursors: BTreeMap::new(),
            unannounced: Vec::new(),
            turn: Partition(0),
        }
    }

    fn slice(&self, partition: Partition) -> Slice {
        Slice { topic: self.topic, partition }
    }

    fn with_group<T: Default>(&self, act: impl FnOnce(&mut Group) -> T) -> T {
        self.queue
            .inner
            .log
            .with(self.topic, |state| state.groups.get_mut(&self.group).map(act).unwrap_or_default())
    }

    /// Partitions that the caller is to give back.
    fn revoked(&mut self) -> Vec<Partition> {
        let revoked = self.with_group(|group| group.take_revoked(self.member));
        let (unknown, known): (Vec<_>, Vec<_>) =
            revoked.into_iter().partition(|partition| self.unannounced.contains(partition));
        if !unknown.is_empty() {
            // The caller never knew of them, so nothing of them is in flight.
            self.unannounced.retain(|partition| !unknown.contains(partition));
            self.free(&unknown);
        }
        for partition in &known {
            self.cursors.remove(partition);
        }
        known
    }

    /// Partitions that are the caller's from now on.
    async fn assigned(&mut self) -> Result<Vec<Assignment>, QueueError> {
        let taken = self.with_group(|group| group.take_assigned(self.member));
        self.unannounced.extend(taken);
        if self.unannounced.is_empty() {
            return Ok(Vec::new());
        }
        let assignments = self.queue.describe(self.topic, &self.group, &self.unannounced).await?;
        self.unannounced.clear();
        for assignment in &assignments {
            let next = assignment.committed.unwrap_or(assignment.earliest);
            self.cursors.insert(assignment.partition, Cursor { next, sought: false });
        }
        Ok(assignments)
    }

    fn end(&self, partition: Partition) -> Offset {
        self.queue.end(self.topic, partition)
    }

    /// What can be read now, from memory if all of it is there.
    async fn records(&mut self, limits: PollLimits) -> Result<Vec<Received>, QueueError> {
        let (ranges, remembered) = self.queue.inner.log.with(self.topic, |state| {
            let ranges = self.ranges(state, limits.max_records);
            let remembered = from_tail(state, &ranges, limits.max_bytes);
            (ranges, remembered)
        });
        let records = match remembered {
            Some(records) => records,
            None => reader::read(&self.queue.inner.readers, &ranges, limits.max_bytes)
                .await
                .map_err(|cause| queue_error("reading records", Arc::new(cause)))?,
        };
        if records.is_empty() && !ranges.is_empty() {
            return Err(broken("reading records", "records that were appended are not in the file"));
        }
        self.advance(&records)?;
        Ok(records)
    }

    /// The next records of each partition, in turn, `max_records` in all.
    fn ranges(&self, state: &TopicState, max_records: usize) -> Vec<Range> {
        let waiting: Vec<_> = self
            .cursors
            .range(self.turn..)
            .chain(self.cursors.range(..self.turn))
            .filter(|(_, cursor)| cursor.sought)
            .map(|(partition, cursor)| (*partition, cursor.next, state.ends[partition.0 as usize]))
            .filter(|(_, next, end)| next < end)
            .collect();
        let max_records = max_records as u64;
        let share = max_records.div_ceil(waiting.len().max(1) as u64);
        let mut left = max_records;
        let mut ranges: Vec<_> = waiting
            .iter()
            .map(|(partition, next, end)| {
                let count = (end.0 - next.0).min(share).min(left);
                left -= count;
                Range { slice: self.slice(*partition), from: *next, to: Offset(next.0 + count) }
            })
            .collect();
        // What some partitions do not need is the others'.
        for (range, (_, _, end)) in ranges.iter_mut().zip(&waiting) {
            let more = (end.0 - range.to.0).min(left);
            range.to = Offset(range.to.0 + more);
            left -= more;
        }
        ranges.retain(|range| range.from < range.to);
        ranges
    }

    fn advance(&mut self, records: &[Received]) -> Result<(), QueueError> {
        for received in records {
            let Some(cursor) = self.cursors.get_mut(&received.partition) else { continue };
            if cursor.next != received.offset {
                return Err(broken("reading records", "records of a partition are missing"));
            }
            cursor.next = received.offset.next();
        }
        if let Some(last) = records.last() {
            self.turn = Partition(last.partition.0 + 1);
        }
        Ok(())
    }

    fn free(&self, partitions: &[Partition]) {
        self.queue.inner.log.change(self.topic, |state| {
            if let Some(group) = state.groups.get_mut(&self.group) {
                group.release(self.member, partitions);
            }
        });
    }
}

/// The ranges' records from memory, as many as have `max_bytes` of values and at least one; none when
/// memory does not reach back to the start of every range.
fn from_tail(state: &TopicState, ranges: &[Range], max_bytes: usize) -> Option<Vec<Received>> {
    let tails: Vec<_> = ranges
        .iter()
        .map(|range| {
            let count = usize::try_from(range.to.0 - range.from.0).unwrap_or(usize::MAX);
            Some(state.tail.from(range.slice.partition, range.from)?.take(count))
        })
        .collect::<Option<_>>()?;
    let mut records = Vec::new();
    let mut bytes = 0;
    for received in tails.into_iter().flatten() {
        bytes += received.record.value.len();
        if bytes > max_bytes && !records.is_empty() {
            break;
        }
        records.push(received.clone());
    }
    Some(records)
}

impl Consumer for SqliteConsumer {
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, QueueError> {
        let deadline = Instant::now().checked_add(limits.max_wait);
        loop {
            // Before looking: a change that comes later is not slept through.
            self.changes.borrow_and_update();
            let revoked = self.revoked();
            if !revoked.is_empty() {
                return Ok(Polled::Revoked(revoked));
            }
            let assigned = self.assigned().await?;
            if !assigned.is_empty() {
                return Ok(Polled::Assigned(assigned));
            }
            let records = self.records(limits).await?;
            if !records.is_empty() {
                return Ok(Polled::Records(records));
            }
            let changed = self.changes.changed();
            let waited = match deadline {
                Some(deadline) => timeout_at(deadline, changed).await,
                None => Ok(changed.await),
            };
            // The queue's handle keeps the sender alive, so only time can run out.
            let Ok(Ok(())) = waited else { return Ok(Polled::Idle) };
        }
    }

    async fn seek(&mut self, partition: Partition, start: Start) -> Result<Offset, QueueError> {
        let action = "seeking";
        if !self.cursors.contains_key(&partition) {
            return Err(QueueError::NotAssigned { partition });
        }
        let found = self.queue.place_of(self.slice(partition), start).await;
        let next = found.map_err(|cause| queue_error(action, Arc::new(cause)))?;
        self.cursors.insert(partition, Cursor { next, sought: true });
        Ok(next)
    }

    async fn end_offset(&mut self, partition: Partition) -> Result<Offset, QueueError> {
        if !self.cursors.contains_key(&partition) {
            return Err(QueueError::NotAssigned { partition });
        }
        Ok(self.end(partition))
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        self.cursors.get(&partition).filter(|cursor| cursor.sought).map(|cursor| cursor.next)
    }

    fn commit(
        &self,
        mut offsets: Vec<(Partition, Offset)>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static {
        let (queue, group, topic, member) =
            (self.queue.clone(), Arc::clone(&self.group), self.topic, self.member);
        async move {
            queue.inner.log.with(topic, |state| {
                let known = state.groups.get(&group);
                offsets.retain(|(partition, _)| known.is_some_and(|it| it.holds(member, *partition)));
            });
            if offsets.is_empty() {
                return Ok(());
            }
            let commit = |done| Request::Commit(Commit { group, topic, offsets, done });
            queue.write("committing offsets", commit).await
        }
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), QueueError> {
        for partition in partitions {
            self.cursors.remove(partition);
        }
        self.free(partitions);
        Ok(())
    }

    fn backlog_records(&self) -> u64 {
        self.queue.inner.log.with(self.topic, |state| {
            self.cursors
                .iter()
                .map(|(partition, cursor)| {
                    state.ends[partition.0 as usize].0.saturating_sub(cursor.next.0)
                })
                .sum()
        })
    }
}

impl Drop for SqliteConsumer {
    fn drop(&mut self) {
        self.queue.inner.log.change(self.topic, |state| {
            if let Some(group) = state.groups.get_mut(&self.group) {
                group.leave(self.member);
                if group.is_empty() {
                    state.groups.remove(&self.group);
                }
            }
            if state.groups.is_empty() {
                state.tail.clear();
            }
        });
    }
}
