//! The queue port: a durable, partitioned log with consumer groups.
//!
//! An implementation promises, and the conformance suite checks: what [`Queue::publish`] has
//! acknowledged survives the process; records of one key stay in order on one partition; a group
//! reads every record at least once from its committed offset on; at any time a partition belongs
//! to at most one consumer of a group that has not been told otherwise.

mod dead_letter;
mod envelope;
mod error;
mod headers;
mod inbox;
#[cfg(feature = "kafka")]
pub mod kafka;
mod partitioner;
mod pending;
pub mod sqlite;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::account::{Offset, Outcome, Partition, Timestamp};

pub use dead_letter::{
    DeadLetter, dead_letter, moved_letter, redriven_from, redriven_origin, with_redriven_origin,
};
pub use envelope::{Envelope, copied, first_appended_at, is_copied};
pub use error::{Cause, QueueError};
pub use headers::Headers;
pub use inbox::{ChannelInbox, InboxSender};
pub use partitioner::partition_of;

/// The topics of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Accounts as received, one record each.
    Submitted,
    /// Result events.
    Results,
    /// What cannot be an account at all.
    DeadLetter,
}

impl Topic {
    /// Every topic with durable records.
    pub const ALL: [Self; 3] = [Self::Submitted, Self::Results, Self::DeadLetter];

    /// Whether its records are in order by key, so that its partition count must stay as it is.
    pub fn is_ordered(self) -> bool {
        match self {
            Self::Submitted | Self::Results => true,
            Self::DeadLetter => false,
        }
    }

    /// The topic's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submitted => "accounts.submitted",
            Self::Results => "accounts.results",
            Self::DeadLetter => "accounts.dead-letter",
        }
    }
}

/// A record to publish. Its `Debug` shows sizes alone: what it holds is personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Chooses the partition; records of one key stay in order.
    pub key: Bytes,
    /// The content.
    pub value: Bytes,
    /// What travels beside the content.
    pub headers: Headers,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("key_bytes", &self.key.len())
            .field("value_bytes", &self.value.len())
            .field("headers", &self.headers)
            .finish()
    }
}

/// A record as read from a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The partition it is on.
    pub partition: Partition,
    /// Its place there.
    pub offset: Offset,
    /// When the queue appended it, to the millisecond.
    pub appended_at: Timestamp,
    /// As published.
    pub record: Record,
}

/// How much one poll takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollLimits {
    /// Most records; with 0 a poll brings only changes of the assignment.
    pub max_records: usize,
    /// Most bytes of values; a single record may be larger.
    pub max_bytes: usize,
    /// How long to wait for the first record.
    pub max_wait: Duration,
}

/// A partition that was given to a consumer, with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: Partition,
    /// The group's committed offset: the next one to read.
    pub committed: Option<Offset>,
    /// The first offset the log still holds (the end when it is empty).
    pub earliest: Offset,
    /// The end of the log when the partition was given; [`Consumer::end_offset`] tells it as of now.
    pub end: Offset,
}

/// What a poll brings.
#[derive(Debug)]
pub enum Polled {
    /// These partitions are the consumer's now. None is read before [`Consumer::seek`] says from where.
    Assigned(Vec<Assignment>),
    /// These partitions are to be given back: commit what is done, then call [`Consumer::release`].
    /// Whatever else is in flight for them must be dropped.
    Revoked(Vec<Partition>),
    /// Records in the order of their offsets within each partition; never empty.
    Records(Vec<Received>),
    /// Nothing arrived in time.
    Idle,
}

/// A place to start reading from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The record with this offset, or the first one after it.
    Offset(Offset),
    /// The first record appended at or after this time; the end when there is none.
    Time(Timestamp),
}

/// A member of a consumer group. Dropping it leaves the group without committing.
pub trait Consumer: Send + 'static {
    /// Waits for the next event, at most `limits.max_wait`. Dropping the future loses nothing: what it
    /// would have brought the next poll brings.
    fn poll(&mut self, limits: PollLimits) -> impl Future<Output = Result<Polled, QueueError>> + Send;

    /// Reads an assigned partition from `start` on; returns the offset found, which is another one than
    /// asked for when the log no longer holds that, or not yet.
    /// [`QueueError::NotAssigned`] when the partition is not this consumer's.
    fn seek(
        &mut self,
        partition: Partition,
        start: Start,
    ) -> impl Future<Output = Result<Offset, QueueError>> + Send;

    /// The offset the next record of an assigned partition will get, as of now.
    /// [`QueueError::NotAssigned`] when the partition is known not to be this consumer's.
    fn end_offset(
        &mut self,
        partition: Partition,
    ) -> impl Future<Output = Result<Offset, QueueError>> + Send;

    /// How far a partition that was sought is read: every record before this offset was brought by a poll.
    /// Offsets are not dense, so it may lie past the last record brought, behind places that hold none;
    /// it never lies past a record that was not brought.
    fn position(&self, partition: Partition) -> Option<Offset>;

    /// Makes `offsets`, each the next one to read, the group's durable position.
    /// A partition the consumer has lost meanwhile is left alone without an error.
    ///
    /// The future does not hold the consumer, so that its owner can go on beside it; nothing is committed
    /// before it is first polled. One commit at a time: what it tells of another begun meanwhile is not
    /// said. Dropping it does not take anything back.
    fn commit(
        &self,
        offsets: Vec<(Partition, Offset)>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static;

    /// Gives revoked partitions back.
    fn release(
        &mut self,
        partitions: &[Partition],
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Records of the assigned partitions that are still to be polled.
    fn backlog_records(&self) -> u64;
}

/// A bounded part of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// The partition.
    pub partition: Partition,
    /// The first offset.
    pub from: Offset,
    /// The offset after the last one.
    pub to: Offset,
}

/// Reads bounded parts of a topic, outside of every group: it commits nothing, and nobody gives way to it.
pub trait Reader: Send + 'static {
    /// The next records, in the order of their offsets within each partition, at most as many as `limits`
    /// say, and none that lies outside of its range. Empty when none came in time, or all are read.
    /// [`QueueError::Broken`] when the log no longer holds what is still to be read. Dropping the future
    /// may lose records: whoever drops it opens another reader.
    fn read(
        &mut self,
        limits: PollLimits,
    ) -> impl Future<Output = Result<Vec<Received>, QueueError>> + Send;

    /// How far a partition is read: every record of its range before this offset was brought. The end of
    /// the range once it is read whole, although offsets are not dense; none when it is not read at all.
    fn position(&self, partition: Partition) -> Option<Offset>;

    /// Whether every range is read whole.
    fn is_done(&self) -> bool;
}

/// Id of a batch: a UUIDv7, so that it tells when the batch was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub Uuid);

impl BatchId {
    /// A new id of the current time.
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    /// When the batch was received, to the millisecond; none for an id that is no UUIDv7.
    pub fn received_at(self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let millis = i64::try_from(seconds).ok()? * 1_000 + i64::from(nanos / 1_000_000);
        Some(Timestamp::from_unix_millis(millis))
    }
}

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// Where an intake process takes its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyAddress(pub u32);

/// How an item of a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was decided and persisted.
    Decided(Outcome),
    /// It was put aside for an operator.
    DeadLettered,
}

/// The answer to one item of a batch that may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The batch.
    pub batch: BatchId,
    /// The item's number within it, from 0.
    pub item: u32,
    /// How it ended.
    pub answer: Answer,
}

/// An intake's inbox of replies.
pub trait ReplyInbox: Send + 'static {
    /// The address to stamp on what is published.
    fn address(&self) -> ReplyAddress;

    /// Waits for replies; never empty. Pending for ever once the queue is gone.
    fn receive(&mut self) -> impl Future<Output = Vec<Reply>> + Send;
}

/// A handle to the queue; cheap to clone.
pub trait Queue: Clone + Send + Sync + 'static {
    /// Its consumers.
    type Consumer: Consumer;
    /// Its readers.
    type Reader: Reader;
    /// Its inboxes.
    type Inbox: ReplyInbox;

    /// The system behind it, as OpenTelemetry's conventions name messaging systems.
    fn system(&self) -> &'static str;

    /// Largest value a record may have, in bytes.
    fn max_record_bytes(&self) -> usize;

    /// Appends records; returns once all are durable. After an error some may be, so whoever
    /// publishes again must be harmless. Dropping the future does not take anything back.
    fn publish(
        &self,
        topic: Topic,
        records: Vec<Record>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Joins a consumer group.
    fn subscribe(
        &self,
        topic: Topic,
        group: &str,
    ) -> impl Future<Output = Result<Self::Consumer, QueueError>> + Send;

    /// Where `start` is in a partition that the topic has: an offset that the log holds, or its end.
    fn find(
        &self,
        topic: Topic,
        partition: Partition,
        start: Start,
    ) -> impl Future<Output = Result<Offset, QueueError>> + Send;

    /// Opens a reader of these ranges, at most one a partition. What lies past the end of a partition is not
    /// waited for.
    fn open_reader(
        &self,
        topic: Topic,
        ranges: Vec<ReadRange>,
    ) -> impl Future<Output = Result<Self::Reader, QueueError>> + Send;

    /// Opens an inbox.
    fn open_inbox(&self) -> impl Future<Output = Result<Self::Inbox, QueueError>> + Send;

    /// Sends replies to an inbox. A courtesy: it never fails and never blocks for long, and what
    /// nobody takes is lost.
    fn reply(&self, to: ReplyAddress, replies: Vec<Reply>) -> impl Future<Output = ()> + Send;

    /// Tells whether records can be published now.
    fn check(&self) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// How a group stands with every partition of a topic, in their order. Asking joins no group.
    fn standing(
        &self,
        topic: Topic,
        group: &str,
    ) -> impl Future<Output = Result<Vec<Assignment>, QueueError>> + Send;

    /// Makes `offset` what a group has committed of a partition. An error while anybody is in the group.
    fn set_committed(
        &self,
        topic: Topic,
        group: &str,
        partition: Partition,
        offset: Offset,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;
}
