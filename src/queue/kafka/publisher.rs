//! Publishing: what is acknowledged is on every in-sync replica. One counter per call stands for all
//! its records.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use crate::queue::pending::{Pending, Reservation};
use crate::queue::{QueueError, Record};
use crate::telemetry::with_causes;

use super::client::{Context, Observing, Role};
use super::error::{KafkaOpenError, topic_error};
use super::pinned::Pinned;
use super::record::{raw, to_kafka, weight};

/// What publishing is called in errors.
pub(super) const ACTION: &str = "publishing records";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

type Producer = ThreadedProducer<Context<Deliveries>>;

/// Why records are not acknowledged.
#[derive(Debug)]
pub(super) enum PublishError {
    /// Too much waits to be acknowledged; nothing was sent.
    Overloaded,
    /// One of them is not acknowledged, or refused.
    Failed(KafkaError),
}

impl PublishError {
    /// Whether a record is larger than its topic takes.
    pub(super) fn is_too_large(&self) -> bool {
        matches!(self, Self::Failed(cause)
            if cause.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge))
    }

    /// The port's error, which names the topic.
    pub(super) fn on(self, topic: &str) -> QueueError {
        match self {
            Self::Overloaded => QueueError::Overloaded,
            Self::Failed(cause) => topic_error(ACTION, topic, cause),
        }
    }
}

/// An idempotent producer that is replaced when it can no longer keep its promise.
pub(super) struct Publisher {
    config: ClientConfig,
    observing: Observing,
    current: Mutex<Arc<Producer>>,
    pending: Arc<Pending>,
}

impl Publisher {
    pub(super) fn new(
        config: ClientConfig,
        observing: Observing,
        max_pending_bytes: usize,
    ) -> Result<Self, KafkaOpenError> {
        let producer = create(&config, &observing).map_err(KafkaOpenError::Client)?;
        Ok(Self {
            config,
            observing,
            current: Mutex::new(Arc::new(producer)),
            pending: Arc::new(Pending::new(max_pending_bytes)),
        })
    }

    /// Returns once every record is acknowledged or one has failed for good. Where partitions are pinned
    /// each record goes to its key's, otherwise to what the client chooses.
    pub(super) async fn publish(
        &self,
        topic: &str,
        pinned: Option<&Pinned>,
        records: &[Record],
    ) -> Result<(), PublishError> {
        let bytes = records.iter().map(weight).sum();
        let reservation = self.pending.reserve(bytes).ok_or(PublishError::Overloaded)?;
        let producer = Arc::clone(&self.current());
        let acknowledgement = Arc::new(Acknowledgement::of(records.len(), reservation));
        for (sent, record) in records.iter().enumerate() {
            let mut message = BaseRecord::with_opaque_to(topic, Arc::clone(&acknowledgement))
                .key(&record.key[..])
                .payload(&record.value[..])
                .headers(to_kafka(&record.headers));
            message.partition = pinned.map(|pinned| raw(pinned.partition_of(&record.key)));
            if let Err((cause, _)) = producer.send(message) {
                acknowledgement.settle(records.len() - sent, Some(cause));
                break;
            }
        }
        let settled = acknowledgement.settled().await;
        settled.map_err(|cause| {
            self.replace_if_spent(&producer);
            PublishError::Failed(cause)
        })
    }

    /// Waits, on this thread, until what was handed over is acknowledged.
    pub(super) fn flush(&self) {
        let producer = Arc::clone(&self.current());
        if let Err(error) = producer.flush(FLUSH_TIMEOUT) {
            tracing::warn!(error = %with_causes(&error), "records were not acknowledged in time");
        }
    }

    /// A producer that has met a fatal error never sends again.
    fn replace_if_spent(&self, producer: &Arc<Producer>) {
        let Some((_, reason)) = producer.client().fatal_error() else { return };
        let mut current = self.current();
        if !Arc::ptr_eq(&current, producer) {
            return;
        }
        match create(&self.config, &self.observing) {
            Ok(fresh) => {
                tracing::warn!(reason, "the Kafka producer had a fatal error and was replaced");
                producer.context().metrics.rebuilt("fatal");
                discard(std::mem::replace(&mut *current, Arc::new(fresh)));
            }
            Err(error) => {
                tracing::error!(error = %with_causes(&error), reason, "the Kafka producer had a fatal error; no new one yet");
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Arc<Producer>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        discard(Arc::clone(&self.current()));
    }
}

fn create(config: &ClientConfig, observing: &Observing) -> Result<Producer, KafkaError> {
    config.create_with_context(observing.context("publisher", Deliveries))
}

/// Dropping a producer joins its threads: not on a thread that others need.
fn discard(producer: Arc<Producer>) {
    std::thread::spawn(move || drop(producer));
}

/// Hands delivery reports to the calls they belong to.
struct Deliveries;

impl Role for Deliveries {}

impl ProducerContext for Context<Deliveries> {
    type DeliveryOpaque = Arc<Acknowledgement>;

    fn delivery(&self, result: &DeliveryResult<'_>, acknowledgement: Arc<Acknowledgement>) {
        acknowledgement.settle(1, result.as_ref().err().map(|(cause, _)| cause.clone()));
    }
}

/// The records of one call that are not settled yet.
struct Acknowledgement {
    outstanding: AtomicUsize,
    failure: Mutex<Option<KafkaError>>,
    done: Notify,
    /// Room among what waits, kept even when nobody waits for the answer any more.
    _reservation: Reservation,
}

impl Acknowledgement {
    fn of(records: usize, reservation: Reservation) -> Self {
        Self {
            outstanding: AtomicUsize::new(records),
            failure: Mutex::new(None),
            done: Notify::new(),
            _reservation: reservation,
        }
    }

    fn settle(&self, records: usize, failure: Option<KafkaError>) {
        if let Some(failure) = failure {
            self.failure().get_or_insert(failure);
        }
        if self.outstanding.fetch_sub(records, Ordering::AcqRel) == records {
            self.done.notify_one();
        }
    }

    async fn settled(&self) -> Result<(), KafkaError> {
        while self.outstanding.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
        self.failure().take().map_or(Ok(()), Err)
    }

    fn failure(&self) -> MutexGuard<'_, Option<KafkaError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
