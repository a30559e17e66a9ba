//! The queue that the settings name, behind one type.

use futures_util::FutureExt;

use crate::account::{Offset, Partition};
#[cfg(feature = "kafka")]
use crate::queue::kafka::{KafkaConsumer, KafkaQueue, KafkaReader};
use crate::queue::sqlite::{SqliteConsumer, SqliteQueue, SqliteReader};
use crate::queue::{
    Assignment, ChannelInbox, Consumer, PollLimits, Polled, Queue, QueueError, ReadRange, Reader,
    Received, Record, Reply, ReplyAddress, Start, Topic,
};
use crate::settings::{QueueKind, Settings};
use crate::sqlite::queue_file;
use crate::telemetry::Metrics;

use super::directory::Directory;
use crate::cli::options;

/// One of the implementations.
#[derive(Clone, Debug)]
pub(in crate::cli) enum AnyQueue {
    Sqlite(SqliteQueue),
    #[cfg(feature = "kafka")]
    Kafka(KafkaQueue),
}

/// A consumer of one of the implementations.
pub(in crate::cli) enum AnyConsumer {
    Sqlite(SqliteConsumer),
    #[cfg(feature = "kafka")]
    Kafka(KafkaConsumer),
}

/// A reader of one of the implementations.
pub(in crate::cli) enum AnyReader {
    Sqlite(SqliteReader),
    #[cfg(feature = "kafka")]
    Kafka(KafkaReader),
}

/// Asks whichever implementation it is.
macro_rules! ask {
    ($any:ident, $of:expr, $one:ident => $answer:expr) => {
        match $of {
            $any::Sqlite($one) => $answer,
            #[cfg(feature = "kafka")]
            $any::Kafka($one) => $answer,
        }
    };
}

impl AnyQueue {
    /// Opens the queue; the embedded one in the data directory.
    pub(super) async fn open(
        settings: &Settings,
        directory: &mut Directory,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        match settings.queue.kind {
            QueueKind::Sqlite => {
                let options = options::queue(&settings.queue.sqlite);
                let file = directory.opened()?.queue_file();
                Ok(Self::Sqlite(SqliteQueue::open(file, options).await?))
            }
            QueueKind::Kafka => Self::open_kafka(settings, metrics).await,
        }
    }

    /// Opens the queue for a command that reads, beside the processes that have it.
    pub(super) async fn open_beside(settings: &Settings) -> anyhow::Result<Self> {
        match settings.queue.kind {
            QueueKind::Sqlite => {
                Ok(Self::Sqlite(SqliteQueue::open_beside(queue_file(&settings.data_dir)).await?))
            }
            QueueKind::Kafka => Self::open_kafka(settings, &Metrics::disabled()).await,
        }
    }

    #[cfg(feature = "kafka")]
    async fn open_kafka(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Self> {
        let options = options::kafka_queue(&settings.queue.kafka);
        Ok(Self::Kafka(KafkaQueue::open(options, metrics.clone()).await?))
    }

    #[cfg(not(feature = "kafka"))]
    #[allow(clippy::unused_async, reason = "brokers are asked, if there are any")]
    async fn open_kafka(_: &Settings, _: &Metrics) -> anyhow::Result<Self> {
        Err(crate::cli::without_kafka())
    }

    /// Finishes what was asked for and closes it.
    pub(super) async fn close(&self) {
        ask!(Self, self, queue => queue.close().await);
    }
}

impl Queue for AnyQueue {
    type Consumer = AnyConsumer;
    type Reader = AnyReader;
    type Inbox = ChannelInbox;

    fn system(&self) -> &'static str {
        ask!(Self, self, queue => queue.system())
    }

    fn max_record_bytes(&self) -> usize {
        ask!(Self, self, queue => queue.max_record_bytes())
    }

    async fn publish(&self, topic: Topic, records: Vec<Record>) -> Result<(), QueueError> {
        ask!(Self, self, queue => queue.publish(topic, records).await)
    }

    async fn subscribe(&self, topic: Topic, group: &str) -> Result<AnyConsumer, QueueError> {
        match self {
            Self::Sqlite(queue) => queue.subscribe(topic, group).await.map(AnyConsumer::Sqlite),
            #[cfg(feature = "kafka")]
            Self::Kafka(queue) => queue.subscribe(topic, group).await.map(AnyConsumer::Kafka),
        }
    }

    async fn find(
        &self,
        topic: Topic,
        partition: Partition,
        start: Start,
    ) -> Result<Offset, QueueError> {
        ask!(Self, self, queue => queue.find(topic, partition, start).await)
    }

    async fn open_reader(&self, topic: Topic, ranges: Vec<ReadRange>) -> Result<AnyReader, QueueError> {
        match self {
            Self::Sqlite(queue) => queue.open_reader(topic, ranges).await.map(AnyReader::Sqlite),
            #[cfg(feature = "kafka")]
            Self::Kafka(queue) => queue.open_reader(topic, ranges).await.map(AnyReader::Kafka),
        }
    }

    async fn open_inbox(&self) -> Result<ChannelInbox, QueueError> {
        ask!(Self, self, queue => queue.open_inbox().await)
    }

    async fn reply(&self, to: ReplyAddress, replies: Vec<Reply>) {
        ask!(Self, self, queue => queue.reply(to, replies).await);
    }

    async fn check(&self) -> Result<(), QueueError> {
        ask!(Self, self, queue => queue.check().await)
    }

    async fn standing(&self, topic: Topic, group: &str) -> Result<Vec<Assignment>, QueueError> {
        ask!(Self, self, queue => queue.standing(topic, group).await)
    }

    async fn set_committed(
        &self,
        topic: Topic,
        group: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<(), QueueError> {
        ask!(Self, self, queue => queue.set_committed(topic, group, partition, offset).await)
    }
}

impl Reader for AnyReader {
    async fn read(&mut self, limits: PollLimits) -> Result<Vec<Received>, QueueError> {
        ask!(Self, self, reader => reader.read(limits).await)
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        ask!(Self, self, reader => reader.position(partition))
    }

    fn is_done(&self) -> bool {
        ask!(Self, self, reader => reader.is_done())
    }
}

impl Consumer for AnyConsumer {
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, QueueError> {
        ask!(Self, self, consumer => consumer.poll(limits).await)
    }

    async fn seek(&mut self, partition: Partition, start: Start) -> Result<Offset, QueueError> {
        ask!(Self, self, consumer => consumer.seek(partition, start).await)
    }

    async fn end_offset(&mut self, partition: Partition) -> Result<Offset, QueueError> {
        ask!(Self, self, consumer => consumer.end_offset(partition).await)
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        ask!(Self, self, consumer => consumer.position(partition))
    }

    fn commit(
        &self,
        offsets: Vec<(Partition, Offset)>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static {
        ask!(Self, self, consumer => consumer.commit(offsets).boxed())
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), QueueError> {
        ask!(Self, self, consumer => consumer.release(partitions).await)
    }

    fn backlog_records(&self) -> u64 {
        ask!(Self, self, consumer => consumer.backlog_records())
    }
}
