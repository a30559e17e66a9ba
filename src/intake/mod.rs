//! HTTP in: batches are checked against the schema, published, and answered with their outcomes.
//!
//! Whatever is answered other than with an error is durable on the queue, every item of it. Nothing
//! is published of a request that is refused for what it says. The queue is needed to accept, the
//! store never is.

mod answers;
mod arrival;
mod auth;
mod batch;
mod body;
mod endpoints;
mod errors;
mod linger;
mod lookup;
mod observe;
mod openapi;
mod patience;
mod prefer;
mod receive;
mod routes;
mod server;
mod trouble;
mod validate;
mod waiting;
mod waves;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::{BatchLimits, Policy, Timestamp};
use crate::queue::{Queue, QueueError, ReplyAddress, ReplyInbox};
use crate::store::Store;
use crate::telemetry::Metrics;

use body::Gate;
use trouble::Trouble;
use waiting::Waiting;

pub use auth::{Authenticator, BusinessUnits, Scope, Token, TokenDigest};
pub use server::{ServerOptions, serve};

/// Longest time a readiness check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Bounds and times of an intake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeOptions {
    /// How long outcomes are waited for unless the client says otherwise.
    pub outcome_wait: Duration,
    /// The longest wait a client may ask for, in whole seconds.
    pub max_wait: Duration,
    /// How long the queue may take to acknowledge.
    pub publish_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Most accounts of one batch.
    pub max_items: usize,
    /// Most bytes of a body, before and after decoding.
    pub max_body_bytes: usize,
    /// Most bytes of bodies that are being worked on; at least one body always fits.
    pub max_bytes_in_flight: usize,
    /// Most bytes of a request's headers.
    pub max_header_bytes: usize,
    /// Prefix of the types of result events.
    pub event_type_prefix: String,
}

/// Why an intake cannot accept batches now.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It is shutting down: send requests elsewhere.
    #[error("the intake is shutting down")]
    Draining,
    /// Replies are read no more, by a bug: restart it.
    #[error("the intake reads no replies any more; the log says where it failed")]
    Deaf,
    /// The queue does not take records: look at the queue.
    #[error("the queue does not take records")]
    Queue(#[source] QueueError),
    /// The queue does not answer: look at the queue.
    #[error("the queue did not answer within {} s", CHECK_TIMEOUT.as_secs())]
    QueueSilent,
}

/// A handle to the intake; cheap to clone.
#[derive(Debug)]
pub struct Intake<Q, S> {
    shared: Arc<Shared<Q, S>>,
}

impl<Q, S> Clone for Intake<Q, S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<Q, S> {
    queue: Q,
    store: Option<S>,
    options: IntakeOptions,
    authenticator: Authenticator,
    policy: Arc<Policy>,
    metrics: Metrics,
    gate: Gate,
    queue_trouble: Trouble,
    store_trouble: Trouble,
    waiting: Arc<Waiting>,
    reply_to: ReplyAddress,
    tasks: TaskTracker,
    draining: CancellationToken,
    drained: CancellationToken,
    /// Nobody reads replies any more.
    deaf: CancellationToken,
}

impl<Q: Queue, S: Store> Intake<Q, S> {
    /// Opens the intake's inbox and begins to read replies. Without a store, validation and look-ups
    /// are answered 503.
    pub async fn open(
        queue: Q,
        store: Option<S>,
        options: IntakeOptions,
        authenticator: Authenticator,
        policy: Arc<Policy>,
        metrics: Metrics,
    ) -> Result<Self, QueueError> {
        let inbox = queue.open_inbox().await?;
        let gate = Gate::new(
            options.max_body_bytes,
            options.max_bytes_in_flight,
            options.body_timeout,
            metrics.clone(),
        );
        let opened_at = Timestamp::from(SystemTime::now());
        let waiting = Arc::new(Waiting::new(options.outcome_wait, options.max_wait, opened_at));
        let drained = CancellationToken::new();
        let reply_to = inbox.address();
        let deaf = CancellationToken::new();
        let reading = read_replies(inbox, Arc::clone(&waiting), drained.clone());
        // Cancelled however the reading ends, also by a panic.
        let ended = deaf.clone().drop_guard();
        tokio::spawn(async move {
            let _ended = ended;
            reading.await;
        });
        let shared = Shared {
            queue,
            store,
            options,
            authenticator,
            policy,
            metrics,
            gate,
            queue_trouble: Trouble::new("the queue"),
            store_trouble: Trouble::new("the store"),
            waiting,
            reply_to,
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            drained,
            deaf,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Everything the intake serves.
    pub fn router(&self) -> Router {
        routes::router(self)
    }

    /// Whether batches can be accepted now.
    pub async fn ready(&self) -> Result<(), NotReady> {
        if self.shared.draining.is_cancelled() {
            return Err(NotReady::Draining);
        }
        if self.shared.deaf.is_cancelled() {
            return Err(NotReady::Deaf);
        }
        match tokio::time::timeout(CHECK_TIMEOUT, self.shared.queue.check()).await {
            Ok(checked) => checked.map_err(NotReady::Queue),
            Err(_) => Err(NotReady::QueueSilent),
        }
    }

    /// Waits until replies are read no more. Before [`Intake::drain`] that is a defect: batches go on being
    /// accepted, and none gets its outcomes.
    pub async fn deaf(&self) {
        self.shared.deaf.cancelled().await;
    }

    /// Makes [`Intake::ready`] say no, so that requests are sent elsewhere. What arrives nevertheless
    /// is served.
    pub fn begin_drain(&self) {
        self.shared.draining.cancel();
    }

    /// Waits until every batch that was begun is settled, at most for `limit`, and stops reading
    /// replies. Call it after [`serve`] has returned. True when nothing was left.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.begin_drain();
        self.shared.tasks.close();
        let settled = tokio::time::timeout(limit, self.shared.tasks.wait()).await.is_ok();
        self.shared.drained.cancel();
        settled
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_items: self.shared.options.max_items,
            max_item_bytes: self.shared.queue.max_record_bytes(),
        }
    }
}

async fn read_replies(mut inbox: impl ReplyInbox, waiting: Arc<Waiting>, stop: CancellationToken) {
    while let Some(replies) = stop.run_until_cancelled(inbox.receive()).await {
        waiting.deliver(&replies, Timestamp::from(SystemTime::now()));
    }
}
