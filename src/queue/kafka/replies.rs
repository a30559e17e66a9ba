//! Replies across processes: every inbox reads one partition of the replies topic from its end on,
//! outside of any group, and drops what is for others.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, ThreadedProducer};
use uuid::Uuid;

use crate::queue::{ChannelInbox, InboxSender, Reply, ReplyAddress};

use super::client::{Asking, Context, Observing, Role, serve};
use super::error::once_settled;
use super::reply_codec::{decode, encode};

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Also how long the reader may outlive its inbox.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// The replies topic.
pub(super) struct Replies {
    pub(super) topic: String,
    pub(super) partitions: u32,
}

/// Who sends replies, fire and forget.
pub(super) struct Replier {
    replies: Replies,
    producer: ThreadedProducer<Context<Unacknowledged>, NoCustomPartitioner>,
    observing: Observing,
}

/// Nobody waits for a reply's acknowledgement.
struct Unacknowledged;

impl Role for Unacknowledged {}

impl rdkafka::producer::ProducerContext for Context<Unacknowledged> {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

impl Replier {
    pub(super) fn new(
        config: &ClientConfig,
        observing: Observing,
        replies: Replies,
    ) -> Result<Self, KafkaError> {
        let producer = config.create_with_context(observing.context("replier", Unacknowledged))?;
        Ok(Self { replies, producer, observing })
    }

    pub(super) fn send(&self, to: ReplyAddress, replies: &[Reply]) {
        if replies.is_empty() {
            return;
        }
        let payload = encode(to, replies);
        let record = BaseRecord::<(), [u8]>::to(&self.replies.topic)
            .partition(self.replies.partition_of(to))
            .payload(&payload[..]);
        // Full or not sent: the client's wait runs out, the outcome stays.
        let _ = self.producer.send(record);
    }

    /// Opens an inbox with an address of its own. Blocks until its place on the topic is known.
    pub(super) fn open(&self, config: &ClientConfig) -> Result<ChannelInbox, KafkaError> {
        let address = ReplyAddress(Uuid::new_v4().as_fields().0);
        let Replies { topic, .. } = &self.replies;
        let partition = self.replies.partition_of(address);
        let consumer: BaseConsumer<Asking> =
            config.create_with_context(self.observing.context("inbox", ()))?;
        // Brings a token, where one is needed, before anything is asked.
        serve(&consumer);
        let (_, end) = once_settled(|| consumer.fetch_watermarks(topic, partition, LOOKUP_TIMEOUT))?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, partition, rdkafka::Offset::Offset(end))?;
        consumer.assign(&from)?;
        let (sender, inbox) = ChannelInbox::open(address);
        let reader = Reader { consumer, address, sender };
        std::thread::Builder::new()
            .name("kafka-replies".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(inbox)
    }
}

impl Replies {
    fn partition_of(&self, to: ReplyAddress) -> i32 {
        i32::try_from(to.0 % self.partitions.max(1)).unwrap_or(0)
    }
}

struct Reader {
    consumer: BaseConsumer<Asking>,
    address: ReplyAddress,
    sender: InboxSender,
}

impl Reader {
    fn run(self) {
        while !self.sender.is_closed() {
            match self.consumer.poll(POLL_TIMEOUT) {
                None => {}
                Some(Ok(message)) => {
                    let payload = message.payload().unwrap_or_default();
                    if let Some(replies) = decode(payload, self.address) {
                        self.sender.send(replies);
                    }
                }
                Some(Err(error)) => {
                    self.consumer.context().log_error(&error, "reading replies");
                    std::thread::sleep(POLL_TIMEOUT);
                }
            }
        }
    }
}
