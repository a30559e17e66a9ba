//! The production queue: Apache Kafka.
//!
//! A record is acknowledged once every in-sync replica has it. Consumer groups are Kafka's own, with
//! cooperative rebalances: a partition moves on only after its owner gave it back, or did not in time.
//! Every consumer polls on a thread of its own, whatever its owner is busy with.

mod client;
mod consumer;
mod error;
mod examine;
mod fitting;
mod group;
mod letters;
mod opening;
mod options;
mod pinned;
mod probe;
mod publisher;
mod ranges;
mod readiness;
mod record;
mod replies;
mod reply_codec;
mod seats;
mod security;
mod start;
mod token;
mod topics;
mod trouble;

use std::fmt;
use std::sync::Arc;

use rdkafka::admin::AdminClient;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;

use super::{
    Assignment, ChannelInbox, Queue, QueueError, ReadRange, Record, Reply, ReplyAddress, Start, Topic,
};
use crate::account::{Offset, Partition};
use crate::telemetry::Metrics;
use client::{Asking, Observing};
use consumer::{Joining, lookup};
use error::{broken, once_settled, queue_error, topic_error, unavailable};
use group::Outsider;
use pinned::Pinned;
use publisher::Publisher;
use readiness::Refused;
use record::raw;
use replies::Replier;
use seats::Seats;

pub use consumer::KafkaConsumer;
pub use error::KafkaOpenError;
pub use examine::examine;
pub use options::KafkaQueueOptions;
pub use ranges::KafkaReader;
pub use security::{
    Gssapi, OauthBearer, Oidc, PasswordMechanism, Sasl, Security, SecurityProtocol, Tls,
};
pub use topics::{SettingChange, TopicAdmin, TopicLayout, TopicPlan, TopicStep};

/// Names the group of readers that commit nothing and never join it.
const REPLY_GROUP: &str = "penstock-replies";
/// Names those of bounded parts.
const RANGE_GROUP: &str = "penstock-replay";

/// A handle to the brokers; cheap to clone.
#[derive(Clone, Debug)]
pub struct KafkaQueue {
    inner: Arc<Inner>,
}

struct Inner {
    options: KafkaQueueOptions,
    observing: Observing,
    publisher: Publisher,
    replier: Replier,
    asking: Arc<BaseConsumer<Asking>>,
    /// The topics whose records are in order by key.
    pinned: [(Topic, Arc<Pinned>); 2],
    seats: Seats,
    refused: Refused,
}

/// Without the records in memory, which are personal data.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("brokers", &self.options.brokers).finish_non_exhaustive()
    }
}

impl KafkaQueue {
    /// Connects and looks at the topics. A topic that is missing, has another partition count than it
    /// was pinned to, or would lose submissions, is refused; settings that are less safe than they
    /// could be are warned of. What the clients tell of themselves goes to `metrics`.
    pub async fn open(options: KafkaQueueOptions, metrics: Metrics) -> Result<Self, KafkaOpenError> {
        let token_file = options.security.token_file();
        let observing =
            Observing { metrics: metrics.kafka().clone(), token_file, troubles: Arc::default() };
        let asking: Arc<BaseConsumer<Asking>> = Arc::new(create(&options, &observing)?);
        let found = opening::look(&asking, &options).await?;
        if options.security.can_administer() {
            let admin: AdminClient<Asking> = create(&options, &observing)?;
            for concern in start::check_settings(&admin, &found, None).await? {
                tracing::warn!("{concern}");
            }
        } else {
            tracing::warn!("{}", opening::UNCHECKED);
        }
        let pinned = [Topic::Submitted, Topic::Results].map(|topic| {
            (topic, Arc::new(Pinned::new(options.topic(topic.name()), found.partitions(topic))))
        });
        pinned::watch(&pinned.clone().map(|(_, pinned)| pinned), &asking)
            .map_err(|error| KafkaOpenError::Client(KafkaError::ClientCreation(error.to_string())))?;
        let pending = options.max_pending_bytes;
        let publisher = Publisher::new(options.durable_producer()?, observing.clone(), pending)?;
        let replier = Replier::new(&options.reply_producer()?, observing.clone(), found.replies)
            .map_err(KafkaOpenError::Client)?;
        let seats = Seats::default();
        let refused = Refused::default();
        let inner = Inner { options, observing, publisher, replier, asking, pinned, seats, refused };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits, for a bounded time, until what was published is acknowledged. What is published
    /// afterwards goes on as before.
    pub async fn close(&self) {
        let queue = self.clone();
        // An error means that the runtime shuts down, and nobody waits any more.
        let _ = tokio::task::spawn_blocking(move || queue.inner.publisher.flush()).await;
    }

    /// Publishes what must stay in order by key.
    async fn publish_pinned(&self, topic: Topic, records: &[Record]) -> Result<(), QueueError> {
        let limit = self.inner.options.max_record_bytes;
        if topic == Topic::Submitted && records.iter().any(|record| record.value.len() > limit) {
            return Err(broken(publisher::ACTION, "a value is larger than max_record_bytes"));
        }
        let pinned = self.pinned(topic).map(Arc::as_ref);
        if let Some(pinned) = pinned {
            pinned.check(publisher::ACTION)?;
        }
        let name = self.topic(topic);
        self.inner.publisher.publish(&name, pinned, records).await.map_err(|error| error.on(&name))
    }

    fn topic(&self, topic: Topic) -> String {
        self.inner.options.topic(topic.name())
    }

    /// What must not change of a topic that this process reads or writes to from now on.
    fn pinned(&self, topic: Topic) -> Option<&Arc<Pinned>> {
        let (_, pinned) = self.inner.pinned.iter().find(|(known, _)| *known == topic)?;
        pinned.used();
        Some(pinned)
    }

    /// Does something about a group without being in it.
    async fn by_outsider<T: Send + 'static>(
        &self,
        group: &str,
        action: &'static str,
        work: impl FnOnce(&Outsider) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let config = self.inner.options.outsider(group).map_err(broken_settings(action))?;
        let observing = self.inner.observing.clone();
        blocking(action, move || {
            let outsider =
                Outsider::new(&config, &observing).map_err(|cause| queue_error(action, cause))?;
            work(&outsider)
        })
        .await
    }
}

/// A client that asks, of any kind.
fn create<C>(options: &KafkaQueueOptions, observing: &Observing) -> Result<C, KafkaOpenError>
where
    C: FromClientConfigAndContext<Asking>,
{
    let context = observing.context("asking", ());
    options.asking()?.create_with_context(context).map_err(KafkaOpenError::Client)
}

/// Runs what blocks before the queue is open where it disturbs nobody.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaOpenError> + Send + 'static,
) -> Result<T, KafkaOpenError> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|_| KafkaOpenError::Client(KafkaError::Canceled))?
}

/// Runs what blocks where it disturbs nobody.
async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, QueueError> + Send + 'static,
) -> Result<T, QueueError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(unavailable(action, "the process is shutting down")),
    }
}

fn broken_settings(action: &'static str) -> impl Fn(KafkaOpenError) -> QueueError {
    move |cause| QueueError::Broken { action, cause: Box::new(cause) }
}

impl Queue for KafkaQueue {
    type Consumer = KafkaConsumer;
    type Reader = KafkaReader;
    type Inbox = ChannelInbox;

    fn system(&self) -> &'static str {
        "kafka"
    }

    fn max_record_bytes(&self) -> usize {
        self.inner.options.max_record_bytes
    }

    async fn publish(&self, topic: Topic, records: Vec<Record>) -> Result<(), QueueError> {
        if records.is_empty() {
            return Ok(());
        }
        let published = match topic {
            Topic::DeadLetter => self.publish_letters(records).await,
            Topic::Submitted | Topic::Results => self.publish_pinned(topic, &records).await,
        };
        self.inner.refused.note(topic, matches!(&published, Err(QueueError::Broken { .. })));
        published
    }

    async fn subscribe(&self, topic: Topic, group: &str) -> Result<KafkaConsumer, QueueError> {
        let action = "joining the group";
        let Inner { options, observing, asking, seats, .. } = &*self.inner;
        let seat = seats.take(group);
        let config = options.member(group, seat.number()).map_err(broken_settings(action))?;
        let joining = Joining {
            config,
            topic: self.topic(topic),
            pinned: self.pinned(topic).cloned(),
            all_pinned: self.inner.pinned.iter().map(|(_, pinned)| Arc::clone(pinned)).collect(),
            name: format!("{group}-{}", seat.number()),
            observing: observing.clone(),
            witness: Arc::clone(asking),
            session_timeout: options.session_timeout,
            stall_timeout: options.stall_timeout,
        };
        KafkaConsumer::join(joining, seat).map_err(|cause| queue_error(action, cause))
    }

    async fn find(
        &self,
        topic: Topic,
        partition: Partition,
        start: Start,
    ) -> Result<Offset, QueueError> {
        let (asking, name) = (Arc::clone(&self.inner.asking), self.topic(topic));
        blocking("finding a place on the log", move || {
            let found = once_settled(|| lookup::find(&asking, &name, raw(partition), start));
            found
                .map(|(found, _)| found)
                .map_err(|cause| topic_error("finding a place on the log", &name, cause))
        })
        .await
    }

    async fn open_reader(
        &self,
        topic: Topic,
        ranges: Vec<ReadRange>,
    ) -> Result<KafkaReader, QueueError> {
        let config = self.inner.options.range_reader(RANGE_GROUP);
        let config = config.map_err(broken_settings(ranges::ACTION))?;
        let (observing, name) = (self.inner.observing.clone(), self.topic(topic));
        blocking(ranges::ACTION, move || KafkaReader::open(&config, &observing, name, &ranges)).await
    }

    async fn open_inbox(&self) -> Result<ChannelInbox, QueueError> {
        let action = "opening an inbox";
        let queue = self.clone();
        blocking(action, move || {
            let config = queue.inner.options.reply_reader(REPLY_GROUP);
            let config = config.map_err(broken_settings(action))?;
            queue.inner.replier.open(&config).map_err(|cause| queue_error(action, cause))
        })
        .await
    }

    async fn reply(&self, to: ReplyAddress, replies: Vec<Reply>) {
        self.inner.replier.send(to, &replies);
    }

    async fn check(&self) -> Result<(), QueueError> {
        self.look().await
    }

    async fn standing(&self, topic: Topic, group: &str) -> Result<Vec<Assignment>, QueueError> {
        let name = self.topic(topic);
        self.by_outsider(group, "asking how a group stands", move |outsider| outsider.standing(&name))
            .await
    }

    async fn set_committed(
        &self,
        topic: Topic,
        group: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<(), QueueError> {
        let name = self.topic(topic);
        let commit = move |outsider: &Outsider| outsider.commit(&name, partition, offset);
        self.by_outsider(group, "setting a committed offset", commit).await
    }
}
