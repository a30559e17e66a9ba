//! What is known of the log in memory: where each partition ends, who reads it, and the newest records,
//! so that a consumer that keeps up need not read them from the file.
//!
//! Only what is durable is ever entered here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::account::{Offset, Partition};
use crate::queue::{Received, Topic};

use super::group::Group;
use super::position::topic_number;

/// Bytes of records kept in memory per topic that is being read.
const TAIL_BYTES: usize = 16 * 1024 * 1024;

/// The topics of the log.
pub(super) struct Log {
    topics: [TopicLog; Topic::ALL.len()],
}

struct TopicLog {
    state: Mutex<TopicState>,
    /// Counts what consumers may be waiting for: records, and partitions that change hands.
    changes: watch::Sender<u64>,
}

/// One topic.
pub(super) struct TopicState {
    /// The offset each partition's next record will get.
    pub(super) ends: Vec<Offset>,
    /// The newest records.
    pub(super) tail: Tail,
    /// The consumer groups that have members.
    pub(super) groups: HashMap<Arc<str>, Group>,
}

impl Log {
    pub(super) fn new(partitions: u32) -> Self {
        let topic = |_| TopicLog {
            state: Mutex::new(TopicState {
                ends: vec![Offset(0); partitions as usize],
                tail: Tail::new(partitions),
                groups: HashMap::new(),
            }),
            changes: watch::Sender::new(0),
        };
        Self { topics: Topic::ALL.map(topic) }
    }

    /// Looks at a topic, or changes it without consumers having to know.
    pub(super) fn with<T>(&self, topic: Topic, act: impl FnOnce(&mut TopicState) -> T) -> T {
        // No code that holds the lock leaves the state half-changed.
        act(&mut self.of(topic).state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes a topic and wakes its consumers.
    pub(super) fn change<T>(&self, topic: Topic, act: impl FnOnce(&mut TopicState) -> T) -> T {
        let result = self.with(topic, act);
        self.of(topic).changes.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Tells of every change from now on.
    pub(super) fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        self.of(topic).changes.subscribe()
    }

    /// Enters records that are durable now.
    pub(super) fn appended(&self, topic: Topic, records: Vec<Received>) {
        self.change(topic, |state| {
            for received in records {
                state.ends[received.partition.0 as usize] = received.offset.next();
                if !state.groups.is_empty() {
                    state.tail.push(received);
                }
            }
        });
    }

    /// Enters where the partitions of every topic end according to the file. The newest records may not be
    /// known.
    pub(super) fn enter_ends(&self, partitions: u32, ends: &HashMap<(Topic, Partition), Offset>) {
        for topic in Topic::ALL {
            let end_of = |partition| ends.get(&(topic, partition)).copied().unwrap_or(Offset(0));
            self.change(topic, |state| {
                state.ends = (0..partitions).map(Partition).map(end_of).collect();
                state.tail.clear();
            });
        }
    }

    fn of(&self, topic: Topic) -> &TopicLog {
        &self.topics[usize::from(topic_number(topic))]
    }
}

/// The newest records of a topic, without gaps up to each partition's end.
pub(super) struct Tail {
    partitions: Vec<VecDeque<Received>>,
    /// The partitions of the records in the order in which they came.
    order: VecDeque<Partition>,
    bytes: usize,
}

impl Tail {
    fn new(partitions: u32) -> Self {
        Self {
            partitions: (0..partitions).map(|_| VecDeque::new()).collect(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, received: Received) {
        self.bytes += weight(&received);
        self.order.push_back(received.partition);
        self.partitions[received.partition.0 as usize].push_back(received);
        while self.bytes > TAIL_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(dropped) = self.partitions[oldest.0 as usize].pop_front() {
                self.bytes -= weight(&dropped);
            }
        }
    }

    /// Forgets everything: without a reader, what follows would leave a gap.
    pub(super) fn clear(&mut self) {
        self.partitions.iter_mut().for_each(|records| *records = VecDeque::new());
        self.order = VecDeque::new();
        self.bytes = 0;
    }

    /// The partition's records from `from` on; none when it no longer reaches back to it.
    pub(super) fn from(
        &self,
        partition: Partition,
        from: Offset,
    ) -> Option<impl Iterator<Item = &Received>> {
        let records = self.partitions.get(partition.0 as usize)?;
        let skipped = from.0.checked_sub(records.front()?.offset.0)?;
        Some(records.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)))
    }
}

fn weight(received: &Received) -> usize {
    size_of::<Received>() + super::writer::weight(&received.record)
}
