//! Reads bounded parts of the log from the file, one partition after the other.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::account::{Offset, Partition};
use crate::queue::{Cause, PollLimits, QueueError, ReadRange, Reader, Received, Topic};

use super::position::Slice;
use super::reader::{self, Range};
use super::{SqliteQueue, queue_error};

/// A reader of the embedded queue.
#[derive(Debug)]
pub struct SqliteReader {
    queue: SqliteQueue,
    topic: Topic,
    /// What is still to be read; each begins where it goes on.
    left: VecDeque<ReadRange>,
    done: Vec<ReadRange>,
}

impl SqliteReader {
    pub(super) fn new(queue: SqliteQueue, topic: Topic, ranges: Vec<ReadRange>) -> Self {
        let to_the_end = |range: ReadRange| {
            let to = range.to.min(queue.end(topic, range.partition));
            ReadRange { to, ..range }
        };
        let left = ranges.into_iter().map(to_the_end).collect();
        let mut reader = Self { queue, topic, left, done: Vec::new() };
        reader.set_aside_done();
        reader
    }

    fn set_aside_done(&mut self) {
        while let Some(range) = self.left.pop_front_if(|range| range.from >= range.to) {
            self.done.push(range);
        }
    }
}

impl Reader for SqliteReader {
    async fn read(&mut self, limits: PollLimits) -> Result<Vec<Received>, QueueError> {
        let action = "reading a part of the log";
        let Some(range) = self.left.front_mut() else { return Ok(Vec::new()) };
        let to = range.to.min(Offset(range.from.0.saturating_add(limits.max_records as u64)));
        let slice = Slice { topic: self.topic, partition: range.partition };
        let wanted = Range { slice, from: range.from, to };
        let records = reader::read(&self.queue.inner.readers, &[wanted], limits.max_bytes)
            .await
            .map_err(|cause| queue_error(action, Arc::new(cause)))?;
        for received in &records {
            if received.offset != range.from {
                return Err(missing(action, slice, range.from));
            }
            range.from = received.offset.next();
        }
        if records.is_empty() && limits.max_records > 0 {
            return Err(missing(action, slice, range.from));
        }
        self.set_aside_done();
        Ok(records)
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        let known = self.left.iter().chain(&self.done).find(|range| range.partition == partition);
        known.map(|range| range.from)
    }

    fn is_done(&self) -> bool {
        self.left.is_empty()
    }
}

/// The log has no record where one is to be read: it was deleted, or the file was changed by other hands.
fn missing(action: &'static str, slice: Slice, at: Offset) -> QueueError {
    let Slice { topic, partition } = slice;
    let cause = format!("{} has no record at partition {}, offset {}", topic.name(), partition.0, at.0);
    QueueError::Broken { action, cause: Cause::from(cause) }
}
