//! The queue port in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use penstock::account::{Offset, Partition, Timestamp};
use penstock::queue::{
    Assignment, ChannelInbox, Consumer, InboxSender, PollLimits, Polled, Queue, QueueError, ReadRange,
    Reader, Received, Record, Reply, ReplyAddress, Start, Topic,
};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{point, points_pass};

/// Identity of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId(pub u64);

#[derive(Default)]
struct Group {
    members: BTreeMap<MemberId, Topic>,
    owners: BTreeMap<(Topic, Partition), MemberId>,
    committed: BTreeMap<(Topic, Partition), Offset>,
}

impl Group {
    fn target(&self, topic: Topic, partition: Partition) -> Option<MemberId> {
        let members: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, subscribed)| **subscribed == topic)
            .map(|(member, _)| *member)
            .collect();
        members.get(partition.0 as usize % members.len().max(1)).copied()
    }
}

/// One partition of a topic. Offsets are not dense: a mark takes one up as well.
struct Log {
    /// Every record there ever was.
    records: Vec<Received>,
    /// What lies before this is deleted.
    begin: Offset,
    end: Offset,
}

impl Default for Log {
    fn default() -> Self {
        Self { records: Vec::new(), begin: Offset(0), end: Offset(0) }
    }
}

impl Log {
    /// The first record from `offset` on.
    fn first_from(&self, offset: Offset) -> Option<&Received> {
        self.records.get(self.records.partition_point(|record| record.offset < offset))
    }
}

struct State {
    partitions: u32,
    logs: BTreeMap<(Topic, Partition), Log>,
    groups: BTreeMap<String, Group>,
    inboxes: BTreeMap<u32, InboxSender>,
    replies: Vec<Reply>,
    unacknowledged: Vec<(u64, Topic, Record)>,
    clock_ms: i64,
    next_id: u64,
    outages: u32,
    /// A bit for each publish to come, whether it fails.
    publish_outages: u32,
    publish_points: u32,
    poll_points: u32,
    /// Members that will find an assigned partition gone when they say from where to read it.
    losers: BTreeSet<MemberId>,
    acknowledges_early: bool,
    appends_backwards: bool,
}

/// A queue whose records last as long as any handle to it.
#[derive(Clone)]
pub struct MemoryQueue {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    handle: u64,
}

impl MemoryQueue {
    pub fn new(partitions: u32) -> Self {
        let state = State {
            partitions,
            logs: BTreeMap::new(),
            groups: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            replies: Vec::new(),
            unacknowledged: Vec::new(),
            clock_ms: 1_700_000_000_000,
            next_id: 1,
            outages: 0,
            publish_outages: 0,
            publish_points: 0,
            poll_points: 0,
            losers: BTreeSet::new(),
            acknowledges_early: false,
            appends_backwards: false,
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default(), handle: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Another handle, whose unacknowledged records can be told from those of others.
    pub fn new_handle(&self) -> Self {
        let handle = self.lock().new_id();
        Self { state: Arc::clone(&self.state), changed: Arc::clone(&self.changed), handle }
    }

    /// Guard off: publishing returns before the records are durable; until [`Self::settle`] a crash
    /// of the handle loses them.
    pub fn acknowledge_early(&self) {
        self.lock().acknowledges_early = true;
    }

    /// Guard off: events that are published together are appended in the opposite order.
    pub fn append_backwards(&self) {
        self.lock().appends_backwards = true;
    }

    /// Publishing takes this many points more before records are appended, and again before they are
    /// acknowledged.
    pub fn slow_publishing(&self, points: u32) {
        self.lock().publish_points = points;
    }

    /// Polls take this many points more before they bring anything.
    pub fn slow_polls(&self, points: u32) {
        self.lock().poll_points = points;
    }

    async fn publish_delay(&self) {
        let points = self.lock().publish_points;
        points_pass(points).await;
    }

    /// Makes what was acknowledged early durable.
    pub fn settle(&self) {
        let mut state = self.lock();
        for (_, topic, record) in std::mem::take(&mut state.unacknowledged) {
            state.append(topic, record);
        }
    }

    /// The process behind a handle dies.
    pub fn crash(&self) {
        let handle = self.handle;
        self.lock().unacknowledged.retain(|(owner, _, _)| *owner != handle);
    }

    /// The next `operations` calls fail; half of the publishes among them reach the log all the same.
    pub fn fail_next(&self, operations: u32) {
        self.lock().outages = operations;
    }

    /// Publishing fails where `pattern` has a bit, from its lowest on, one bit for each call to come.
    pub fn fail_publishing(&self, pattern: u32) {
        self.lock().publish_outages = pattern;
    }

    /// Deletes what lies before an offset.
    pub fn trim(&self, topic: Topic, partition: Partition, to: Offset) {
        let mut state = self.lock();
        let log = state.logs.entry((topic, partition)).or_default();
        log.begin = log.begin.max(to.min(log.end));
    }

    /// The first offset a partition still holds.
    pub fn begin(&self, topic: Topic, partition: Partition) -> Offset {
        self.lock().logs.get(&(topic, partition)).map_or(Offset(0), |log| log.begin)
    }

    /// The end of each partition that holds anything.
    pub fn ends(&self, topic: Topic) -> BTreeMap<Partition, Offset> {
        let state = self.lock();
        let of_topic = state.logs.iter().filter(|((of, _), _)| *of == topic);
        of_topic.map(|((_, partition), log)| (*partition, log.end)).collect()
    }

    /// The end of a partition.
    pub fn end(&self, topic: Topic, partition: Partition) -> Offset {
        self.lock().end(topic, partition)
    }

    /// Appends what is no record, as transactions do.
    pub fn append_mark(&self, topic: Topic, partition: Partition) {
        let mut state = self.lock();
        let log = state.logs.entry((topic, partition)).or_default();
        log.end = log.end.next();
        drop(state);
        self.changed.notify_waiters();
    }

    /// The next new partition that a member wants to read is gone by then, without a word.
    pub fn lose_when_sought(&self, member: MemberId) {
        self.lock().losers.insert(member);
    }

    /// A member stops answering: the group goes on without it, which it learns at its next poll.
    pub fn expire(&self, member: MemberId) {
        for group in self.lock().groups.values_mut() {
            group.members.remove(&member);
            group.owners.retain(|_, owner| *owner != member);
        }
        self.changed.notify_waiters();
    }

    pub fn log(&self, topic: Topic) -> Vec<Received> {
        let state = self.lock();
        let logs = state.logs.iter().filter(|((of, _), _)| *of == topic);
        logs.flat_map(|(_, log)| log.records.iter().cloned()).collect()
    }

    pub fn committed(&self, topic: Topic, group: &str) -> BTreeMap<Partition, Offset> {
        let state = self.lock();
        let Some(group) = state.groups.get(group) else { return BTreeMap::new() };
        let of_topic = group.committed.iter().filter(|((of, _), _)| *of == topic);
        of_topic.map(|((_, partition), offset)| (*partition, *offset)).collect()
    }

    /// Sets a group back, as an operator may.
    pub fn set_back(&self, topic: Topic, group: &str, partition: Partition, offset: Offset) {
        let mut state = self.lock();
        if let Some(group) = state.groups.get_mut(group)
            && let Some(committed) = group.committed.get_mut(&(topic, partition))
        {
            *committed = (*committed).min(offset);
        }
    }

    pub fn replies(&self) -> Vec<Reply> {
        self.lock().replies.clone()
    }

    /// Appends without going through the port.
    pub fn append(&self, topic: Topic, record: Record) {
        self.lock().append(topic, record);
        self.changed.notify_waiters();
    }

    fn place_of(&self, topic: Topic, partition: Partition, start: Start) -> Offset {
        let (begin, end) = (self.begin(topic, partition), self.end(topic, partition));
        let found = match start {
            Start::Offset(offset) => offset,
            Start::Time(time) => {
                let state = self.lock();
                let log = state.logs.get(&(topic, partition));
                let first = |log: &Log| {
                    log.records.iter().find(|record| record.appended_at >= time).map(|it| it.offset)
                };
                log.and_then(first).unwrap_or(end)
            }
        };
        found.max(begin).min(end)
    }

    fn unavailable(&self, action: &'static str) -> Result<(), QueueError> {
        if self.lock().fails() { Err(outage(action)) } else { Ok(()) }
    }
}

fn outage(action: &'static str) -> QueueError {
    QueueError::Unavailable { action, cause: "an outage of the test".into() }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn append(&mut self, topic: Topic, record: Record) {
        let hash = record.key.iter().fold(7u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(*byte));
        let partition = Partition(hash % self.partitions);
        self.clock_ms += 1;
        let appended_at = Timestamp::from_unix_millis(self.clock_ms);
        let log = self.logs.entry((topic, partition)).or_default();
        log.records.push(Received { partition, offset: log.end, appended_at, record });
        log.end = log.end.next();
    }

    /// Whether the next call fails that is not told otherwise.
    fn fails(&mut self) -> bool {
        let fails = self.outages > 0;
        self.outages = self.outages.saturating_sub(1);
        fails
    }

    fn publishing_fails(&mut self) -> bool {
        let fails = self.publish_outages & 1 == 1;
        self.publish_outages >>= 1;
        fails || self.fails()
    }

    fn end(&self, topic: Topic, partition: Partition) -> Offset {
        self.logs.get(&(topic, partition)).map_or(Offset(0), |log| log.end)
    }
}

impl Queue for MemoryQueue {
    type Consumer = MemoryConsumer;
    type Reader = MemoryReader;
    type Inbox = ChannelInbox;

    fn system(&self) -> &'static str {
        "memory"
    }

    fn max_record_bytes(&self) -> usize {
        1 << 20
    }

    async fn publish(&self, topic: Topic, mut records: Vec<Record>) -> Result<(), QueueError> {
        point().await;
        self.publish_delay().await;
        let published;
        {
            let mut state = self.lock();
            published = if state.publishing_fails() { Err(outage("publish")) } else { Ok(()) };
            let possibly_persisted = published.is_err() && state.clock_ms % 2 == 0;
            if state.appends_backwards && topic == Topic::Results {
                records.reverse();
            }
            for record in records {
                if state.acknowledges_early && topic == Topic::Results {
                    state.unacknowledged.push((self.handle, topic, record));
                } else if published.is_ok() || possibly_persisted {
                    state.append(topic, record);
                }
            }
        }
        self.changed.notify_waiters();
        self.publish_delay().await;
        point().await;
        published
    }

    async fn subscribe(&self, topic: Topic, group: &str) -> Result<MemoryConsumer, QueueError> {
        let id = MemberId(self.lock().new_id());
        Ok(MemoryConsumer {
            queue: self.clone(),
            topic,
            group: group.to_owned(),
            id,
            held: BTreeSet::new(),
            positions: BTreeMap::new(),
            turn: Partition(0),
        })
    }

    async fn find(
        &self,
        topic: Topic,
        partition: Partition,
        start: Start,
    ) -> Result<Offset, QueueError> {
        point().await;
        self.unavailable("find")?;
        Ok(self.place_of(topic, partition, start))
    }

    async fn open_reader(
        &self,
        topic: Topic,
        ranges: Vec<ReadRange>,
    ) -> Result<MemoryReader, QueueError> {
        point().await;
        self.unavailable("read")?;
        let to_the_end = |range: ReadRange| {
            let to = range.to.min(self.end(topic, range.partition));
            ReadRange { to, ..range }
        };
        let ranges = ranges.into_iter().map(to_the_end).collect();
        Ok(MemoryReader { queue: self.clone(), topic, ranges })
    }

    async fn open_inbox(&self) -> Result<ChannelInbox, QueueError> {
        let mut state = self.lock();
        let address = u32::try_from(state.inboxes.len()).unwrap();
        let (sender, inbox) = ChannelInbox::open(ReplyAddress(address));
        state.inboxes.insert(address, sender);
        Ok(inbox)
    }

    async fn reply(&self, to: ReplyAddress, replies: Vec<Reply>) {
        let mut state = self.lock();
        state.replies.extend(&replies);
        if let Some(inbox) = state.inboxes.get(&to.0) {
            inbox.send(replies);
        }
    }

    async fn check(&self) -> Result<(), QueueError> {
        Ok(())
    }

    async fn standing(&self, topic: Topic, group: &str) -> Result<Vec<Assignment>, QueueError> {
        let committed = self.committed(topic, group);
        let partitions = self.lock().partitions;
        let standing = |partition| Assignment {
            partition,
            committed: committed.get(&partition).copied(),
            earliest: self.begin(topic, partition),
            end: self.end(topic, partition),
        };
        Ok((0..partitions).map(Partition).map(standing).collect())
    }

    async fn set_committed(
        &self,
        topic: Topic,
        group: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<(), QueueError> {
        let mut state = self.lock();
        let group = state.groups.entry(group.to_owned()).or_default();
        if !group.members.is_empty() {
            return Err(QueueError::Broken { action: "commit", cause: "the group is in use".into() });
        }
        group.committed.insert((topic, partition), offset);
        Ok(())
    }
}

/// Reads one range after the other; what is read whole begins where it ends.
pub struct MemoryReader {
    queue: MemoryQueue,
    topic: Topic,
    ranges: Vec<ReadRange>,
}

impl Reader for MemoryReader {
    async fn read(&mut self, limits: PollLimits) -> Result<Vec<Received>, QueueError> {
        point().await;
        self.queue.unavailable("read")?;
        let state = self.queue.lock();
        let (mut records, mut bytes): (Vec<Received>, usize) = (Vec::new(), 0);
        for range in &mut self.ranges {
            let Some(log) = state.logs.get(&(self.topic, range.partition)) else { continue };
            if range.from < range.to && range.from < log.begin {
                let cause = "records were deleted before they were read".into();
                return Err(QueueError::Broken { action: "read", cause });
            }
            while range.from < range.to {
                let next = log.first_from(range.from).filter(|next| next.offset < range.to);
                let Some(next) = next else {
                    range.from = range.to;
                    break;
                };
                let size = next.record.value.len();
                let is_full = bytes + size > limits.max_bytes && !records.is_empty();
                if is_full || records.len() == limits.max_records {
                    return Ok(records);
                }
                bytes += size;
                range.from = next.offset.next();
                records.push(next.clone());
            }
        }
        Ok(records)
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        self.ranges.iter().find(|range| range.partition == partition).map(|range| range.from)
    }

    fn is_done(&self) -> bool {
        self.ranges.iter().all(|range| range.from >= range.to)
    }
}

pub struct MemoryConsumer {
    queue: MemoryQueue,
    topic: Topic,
    group: String,
    id: MemberId,
    held: BTreeSet<Partition>,
    positions: BTreeMap<Partition, Offset>,
    turn: Partition,
}

impl MemoryConsumer {
    pub fn id(&self) -> MemberId {
        self.id
    }

    fn with_group<T>(&self, work: impl FnOnce(&mut Group) -> T) -> T {
        work(self.queue.lock().groups.entry(self.group.clone()).or_default())
    }

    /// A partition that was not sought yet may be gone without the consumer having been told.
    fn must_hold(&mut self, partition: Partition) -> Result<(), QueueError> {
        let is_new = !self.positions.contains_key(&partition);
        if is_new && self.queue.lock().losers.remove(&self.id) {
            self.held.remove(&partition);
            let (id, topic) = (self.id, self.topic);
            self.with_group(|group| {
                group.owners.retain(|key, owner| *key != (topic, partition) || *owner != id);
            });
            self.queue.changed.notify_waiters();
        }
        if self.held.contains(&partition) { Ok(()) } else { Err(QueueError::NotAssigned { partition }) }
    }

    fn partitions(&self) -> Vec<Partition> {
        (0..self.queue.lock().partitions).map(Partition).collect()
    }

    /// Rebalances first, records afterwards.
    fn next(&mut self, limits: PollLimits) -> Result<Polled, QueueError> {
        let (id, topic) = (self.id, self.topic);
        let partitions = self.partitions();
        let held = self.held.clone();
        let (has_joined, given_up, gained) = self.with_group(|group| {
            let has_joined = group.members.insert(id, topic).is_none();
            let is_mine = |group: &Group, partition| group.target(topic, partition) == Some(id);
            let given_up: Vec<Partition> = held
                .iter()
                .copied()
                .filter(|partition| {
                    group.owners.get(&(topic, *partition)) != Some(&id) || !is_mine(group, *partition)
                })
                .collect();
            if !given_up.is_empty() {
                return (has_joined, given_up, Vec::new());
            }
            let mut gained = partitions;
            gained.retain(|partition| {
                let is_free = !group.owners.contains_key(&(topic, *partition));
                is_free && is_mine(group, *partition)
            });
            for partition in &gained {
                group.owners.insert((topic, *partition), id);
            }
            (has_joined, given_up, gained)
        });
        if has_joined {
            self.queue.changed.notify_waiters();
        }
        if !given_up.is_empty() {
            for partition in &given_up {
                self.held.remove(partition);
                self.positions.remove(partition);
            }
            return Ok(Polled::Revoked(given_up));
        }
        if !gained.is_empty() {
            self.held.extend(&gained);
            return Ok(Polled::Assigned(
                gained.into_iter().map(|partition| self.assignment(partition)).collect(),
            ));
        }
        self.records(limits)
    }

    fn assignment(&self, partition: Partition) -> Assignment {
        let committed = self.with_group(|group| group.committed.get(&(self.topic, partition)).copied());
        let earliest = self.queue.begin(self.topic, partition);
        let end = self.queue.end(self.topic, partition);
        Assignment { partition, committed, earliest, end }
    }

    /// One record of each partition in turn, so that a busy partition holds up no other.
    fn records(&mut self, limits: PollLimits) -> Result<Polled, QueueError> {
        let mut records: Vec<Received> = Vec::new();
        let mut bytes = 0;
        let later = self.positions.range(self.turn..);
        let in_turn: Vec<Partition> =
            later.chain(self.positions.range(..self.turn)).map(|(partition, _)| *partition).collect();
        let state = self.queue.state.lock().unwrap();
        loop {
            let before = records.len();
            for partition in &in_turn {
                let Some(position) = self.positions.get_mut(partition) else { continue };
                let Some(log) = state.logs.get(&(self.topic, *partition)) else { continue };
                if *position < log.begin {
                    let cause = "records were deleted before they were read".into();
                    return Err(QueueError::Broken { action: "poll", cause });
                }
                let Some(received) = log.first_from(*position) else {
                    *position = log.end;
                    continue;
                };
                if records.len() >= limits.max_records {
                    continue;
                }
                let size = received.record.value.len();
                if bytes + size <= limits.max_bytes || records.is_empty() {
                    bytes += size;
                    *position = received.offset.next();
                    records.push(received.clone());
                }
            }
            if records.len() == before {
                break;
            }
        }
        drop(state);
        if let Some(last) = records.last() {
            self.turn = Partition(last.partition.0 + 1);
        }
        Ok(if records.is_empty() { Polled::Idle } else { Polled::Records(records) })
    }
}

impl Consumer for MemoryConsumer {
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, QueueError> {
        point().await;
        let points = self.queue.lock().poll_points;
        points_pass(points).await;
        self.queue.unavailable("poll")?;
        let changed = Arc::clone(&self.queue.changed);
        // A driver without a clock asks for no wait.
        let deadline = (!limits.max_wait.is_zero()).then(|| Instant::now() + limits.max_wait);
        loop {
            let change = changed.notified();
            let polled = self.next(limits)?;
            let (Polled::Idle, Some(deadline)) = (&polled, deadline) else { return Ok(polled) };
            if timeout_at(deadline, change).await.is_err() {
                return Ok(polled);
            }
        }
    }

    async fn seek(&mut self, partition: Partition, start: Start) -> Result<Offset, QueueError> {
        point().await;
        self.queue.unavailable("seek")?;
        self.must_hold(partition)?;
        let found = self.queue.place_of(self.topic, partition, start);
        self.positions.insert(partition, found);
        point().await;
        Ok(found)
    }

    async fn end_offset(&mut self, partition: Partition) -> Result<Offset, QueueError> {
        point().await;
        self.must_hold(partition)?;
        Ok(self.queue.lock().end(self.topic, partition))
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        self.positions.get(&partition).copied()
    }

    fn commit(
        &self,
        offsets: Vec<(Partition, Offset)>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static {
        let (queue, group) = (self.queue.clone(), self.group.clone());
        let (id, topic) = (self.id, self.topic);
        async move {
            point().await;
            queue.unavailable("commit")?;
            {
                let mut state = queue.lock();
                let group = state.groups.entry(group).or_default();
                for (partition, offset) in offsets {
                    if group.owners.get(&(topic, partition)) == Some(&id) {
                        group.committed.insert((topic, partition), offset);
                    }
                }
            }
            point().await;
            Ok(())
        }
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), QueueError> {
        let (id, topic) = (self.id, self.topic);
        self.with_group(|group| {
            for partition in partitions {
                if group.owners.get(&(topic, *partition)) == Some(&id) {
                    group.owners.remove(&(topic, *partition));
                }
            }
        });
        self.queue.changed.notify_waiters();
        for partition in partitions {
            self.held.remove(partition);
            self.positions.remove(partition);
        }
        Ok(())
    }

    fn backlog_records(&self) -> u64 {
        let state = self.queue.lock();
        self.positions
            .iter()
            .map(|(partition, position)| state.end(self.topic, *partition).0.saturating_sub(position.0))
            .sum()
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.queue.expire(self.id);
    }
}
