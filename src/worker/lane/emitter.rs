//! Tells what is persisted, batch after batch in their order, while the lane works on the next ones.
//!
//! One batch is published at a time and again until it is acknowledged, so no event overtakes an
//! earlier one of its partition. A batch is handed out as told only then.
//!
//! Whoever waits for what comes next is woken by the batch that is on its way, and waits for nothing
//! when none is: there is no state in which it could wait for what nobody will do.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::account::Partition;
use crate::queue::{Queue, QueueError, Topic};
use crate::telemetry::{Metrics, QueueUse};

use super::super::emission::Emission;
use super::batch::{Told, Untold};

/// Batches that are persisted and not told: the one being published, and the next.
const MAX_UNTOLD: usize = 2;

/// What publishing came to.
pub(super) enum Emitted {
    /// A batch is told.
    Told(Told),
    /// The next batch could not be published, and is not tried again before [`Emitter::resume`].
    Failed(QueueError),
}

/// What is left to be published, and why, when that is a failure.
type Published = (Emission, Result<(), QueueError>);

/// A batch on its way.
struct Publishing {
    /// The batch, once it is acknowledged.
    told: Told,
    published: Pin<Box<dyn Future<Output = Published> + Send>>,
}

/// How it stands with the first batch that is not told.
enum Stage {
    /// It waits, if there is one, and may begin.
    Ready,
    /// It is on its way.
    Publishing(Publishing),
    /// It could not be published, which nobody knows yet, and waits again.
    Failed(QueueError),
    /// It could not be published, and waits until it may begin anew.
    Held,
}

pub(super) struct Emitter<Q: Queue> {
    queue: Q,
    metrics: Metrics,
    stage: Stage,
    /// After the one being published.
    waiting: VecDeque<Untold>,
    told: VecDeque<Told>,
}

impl<Q: Queue> Emitter<Q> {
    pub(super) fn new(queue: Q, metrics: Metrics) -> Self {
        let (waiting, told) = (VecDeque::with_capacity(MAX_UNTOLD), VecDeque::new());
        Self { queue, metrics, stage: Stage::Ready, waiting, told }
    }

    /// Takes the batch that follows those it has.
    pub(super) fn push(&mut self, batch: Untold) {
        self.waiting.push_back(batch);
    }

    /// Whether a batch must be told before the next one is taken.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() + usize::from(self.is_publishing()) >= MAX_UNTOLD
    }

    /// Whether everything it was given is told.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.is_publishing()
    }

    /// Whether the first batch could not be published at its last try.
    pub(super) fn is_retrying(&self) -> bool {
        match &self.stage {
            Stage::Publishing(publishing) => publishing.told.has_failed,
            Stage::Ready | Stage::Failed(_) | Stage::Held => {
                self.waiting.front().is_some_and(|batch| batch.told.has_failed)
            }
        }
    }

    fn is_publishing(&self) -> bool {
        matches!(self.stage, Stage::Publishing(_))
    }

    /// Lets publishing go on after a failure that is known.
    pub(super) fn resume(&mut self) {
        if matches!(self.stage, Stage::Held) {
            self.stage = Stage::Ready;
        }
    }

    /// Publishes as far as it goes: until the batch on its way is waited for, which wakes `context`, until
    /// one has failed, or until there is none.
    pub(super) fn advance(&mut self, context: &mut Context<'_>) {
        loop {
            match &mut self.stage {
                Stage::Ready => match self.waiting.pop_front() {
                    Some(batch) => self.stage = Stage::Publishing(self.begin(batch)),
                    None => return,
                },
                Stage::Publishing(publishing) => {
                    let Poll::Ready(published) = publishing.published.as_mut().poll(context) else {
                        return;
                    };
                    self.ended(published);
                }
                Stage::Failed(_) | Stage::Held => return,
            }
        }
    }

    /// What came of publishing, in its order; none when nobody has to be told anything.
    pub(super) fn take(&mut self) -> Option<Emitted> {
        if let Some(told) = self.told.pop_front() {
            return Some(Emitted::Told(told));
        }
        match std::mem::replace(&mut self.stage, Stage::Held) {
            Stage::Failed(error) => Some(Emitted::Failed(error)),
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    /// Waits for what comes of publishing next; none at once when nothing is on its way.
    pub(super) async fn next(&mut self) -> Option<Emitted> {
        poll_fn(|context| {
            self.advance(context);
            match self.take() {
                None if self.is_publishing() => Poll::Pending,
                emitted => Poll::Ready(emitted),
            }
        })
        .await
    }

    /// Forgets partitions: whatever becomes of their events, they are not told by this. Whoever has
    /// the partitions next tells them.
    pub(super) fn drop_partitions(&mut self, partitions: &[Partition]) {
        if let Stage::Publishing(publishing) = &mut self.stage {
            publishing.told.drop_partitions(partitions);
        }
        for told in &mut self.told {
            told.drop_partitions(partitions);
        }
        self.waiting.retain_mut(|batch| batch.told.drop_partitions(partitions));
    }

    fn begin(&self, batch: Untold) -> Publishing {
        let Untold { emission, told } = batch;
        let published = publish(self.queue.clone(), self.metrics.clone(), emission);
        let published = Box::pin(told.work.span.scope(published));
        Publishing { told, published }
    }

    fn ended(&mut self, (emission, published): Published) {
        let Stage::Publishing(Publishing { mut told, .. }) =
            std::mem::replace(&mut self.stage, Stage::Ready)
        else {
            return;
        };
        match published {
            Ok(()) => self.told.push_back(told),
            Err(error) => {
                told.has_failed = true;
                self.waiting.push_front(Untold { emission, told });
                self.stage = Stage::Failed(error);
            }
        }
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
