//! Tells what is persisted, batch after batch in their order, while the lane works on the next ones.
//!
//! One batch is published at a time and again until it is acknowledged, so no event overtakes an
//! earlier one of its partition. A batch is handed out as told only then.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use crate::account::Partition;
use crate::queue::{Queue, QueueError, Topic};
use crate::telemetry::{Metrics, QueueUse};

use super::super::emission::Emission;
use super::batch::{Told, Untold};

/// Batches that are persisted and not told: the one being published, and the next.
const MAX_UNTOLD: usize = 2;

/// What is left to be published, and why, when that is a failure.
type Published = (Emission, Result<(), QueueError>);

/// A batch on its way.
struct Publishing {
    /// The batch, once it is acknowledged.
    told: Told,
    published: Pin<Box<dyn Future<Output = Published> + Send>>,
}

pub(super) struct Emitter<Q: Queue> {
    queue: Q,
    metrics: Metrics,
    publishing: Option<Publishing>,
    /// After the one being published.
    waiting: VecDeque<Untold>,
    told: Vec<Told>,
    failure: Option<QueueError>,
    /// Whether the first batch has failed to be published before.
    is_retrying: bool,
}

impl<Q: Queue> Emitter<Q> {
    pub(super) fn new(queue: Q, metrics: Metrics) -> Self {
        Self {
            queue,
            metrics,
            publishing: None,
            waiting: VecDeque::with_capacity(MAX_UNTOLD),
            told: Vec::new(),
            failure: None,
            is_retrying: false,
        }
    }

    /// Takes the batch that follows those it has.
    pub(super) fn push(&mut self, batch: Untold) {
        self.waiting.push_back(batch);
    }

    /// Whether a batch must be told before the next one is taken.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() + usize::from(self.publishing.is_some()) >= MAX_UNTOLD
    }

    /// Whether everything it was given is told.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.publishing.is_none()
    }

    /// Whether the next batch could not be published at its last try.
    pub(super) fn is_retrying(&self) -> bool {
        self.is_retrying
    }

    /// Does `work`, and publishes meanwhile. What came of that is told by [`Self::take_told`].
    pub(super) async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            // The work comes first: what it asks others for, they do while records are handed over.
            let done = work.as_mut().poll(context);
            while self.poll_one(context).is_ready() {}
            done
        })
        .await
    }

    /// Waits until one batch more is told, or could not be published.
    pub(super) async fn tell_one(&mut self) {
        poll_fn(|context| self.poll_one(context)).await;
    }

    /// Waits until every batch is told, or one could not be published.
    pub(super) async fn tell_all(&mut self) {
        while !self.is_empty() && self.failure.is_none() {
            self.tell_one().await;
        }
    }

    /// The batches told since it was asked last, in their order, and why there are no more, when that
    /// is a failure. Publishing goes on only after it was asked.
    pub(super) fn take_told(&mut self) -> (Vec<Told>, Option<QueueError>) {
        (std::mem::take(&mut self.told), self.failure.take())
    }

    /// Forgets partitions: whatever becomes of their events, they are not told by this. Whoever has
    /// the partitions next tells them.
    pub(super) fn drop_partitions(&mut self, partitions: &[Partition]) {
        if let Some(publishing) = &mut self.publishing {
            publishing.told.drop_partitions(partitions);
        }
        for told in &mut self.told {
            told.drop_partitions(partitions);
        }
        self.waiting.retain_mut(|batch| batch.told.drop_partitions(partitions));
    }

    /// Ready each time a batch has come to an end; pending while one is on its way, after a failure,
    /// and when there is none.
    fn poll_one(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.failure.is_some() {
            return Poll::Pending;
        }
        let Some(publishing) = self.publishing() else { return Poll::Pending };
        let (emission, published) = ready!(publishing.published.as_mut().poll(context));
        self.is_retrying = published.is_err();
        self.failure = published.err();
        if let Some(Publishing { told, .. }) = self.publishing.take() {
            match self.failure {
                None => self.told.push(told),
                Some(_) => self.waiting.push_front(Untold { emission, told }),
            }
        }
        Poll::Ready(())
    }

    /// The batch on its way; the next one begins when there is none.
    fn publishing(&mut self) -> Option<&mut Publishing> {
        if self.publishing.is_none() {
            let Untold { emission, told } = self.waiting.pop_front()?;
            let published = publish(self.queue.clone(), self.metrics.clone(), emission);
            let published = Box::pin(told.work.span.scope(published));
            self.publishing = Some(Publishing { told, published });
        }
        self.publishing.as_mut()
    }
}

async fn publish<Q: Queue>(queue: Q, metrics: Metrics, mut emission: Emission) -> Published {
    // Handing records over takes a while: what others were asked for is sent off before it.
    tokio::task::yield_now().await;
    let published = publish_all(&queue, &metrics, &mut emission).await;
    (emission, published)
}

/// Publishes and empties what is acknowledged, so that a retry sends only the rest.
async fn publish_all<Q: Queue>(
    queue: &Q,
    metrics: &Metrics,
    emission: &mut Emission,
) -> Result<(), QueueError> {
    let error_type = |result: &Result<(), QueueError>| result.as_ref().err().map(QueueError::kind);
    let Emission { dead_letters, results, replies: _ } = emission;
    for (topic, records) in [(Topic::DeadLetter, dead_letters), (Topic::Results, results)] {
        if !records.is_empty() {
            let (count, published) = (records.len(), queue.publish(topic, records.clone()));
            let used = QueueUse { system: queue.system(), topic: topic.name() };
            used.send(metrics, used.forward_span(count), count, published, error_type).await?;
            records.clear();
        }
    }
    Ok(())
}
