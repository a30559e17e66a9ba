//! The requests of all endpoints that are under way at the same time, and the recording of what has
//! ended, which goes on beside them. One recording is under way at a time, so that ends are recorded in
//! their order.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::account::{LogPartition, Timestamp};
use crate::store::{FrontierStep, StoreError};
use crate::telemetry::Metrics;

use super::ambient::Ambient;
use super::attempt::{NoAnswer, Verdict};
use super::endpoint::DelivererOptions;
use super::handshake::{Outcome, Permission};
use super::outbox::{Ended, Landing, Outbox, Signal};
use super::sender::{Request, Sender};

/// An outbox's place, and how its attempt ended.
type Flight = BoxFuture<'static, (usize, Landing)>;

/// An outbox's place, and what its receiver answered when it was asked for its consent.
type Question = BoxFuture<'static, (usize, Result<Permission, NoAnswer>)>;

/// Ends, each with its outbox's place, in their order.
pub(super) type Ends = Vec<(usize, Ended)>;

/// What came of a recording: the partitions whose frontier stood elsewhere than expected. If there are any,
/// nothing was recorded.
pub(super) type RecordOutcome = Result<Vec<LogPartition>, StoreError>;

/// What the store is being told.
struct Recording {
    ends: Ends,
    steps: Vec<FrontierStep>,
    work: BoxFuture<'static, RecordOutcome>,
    outcome: Option<RecordOutcome>,
}

/// A recording that has come to its end.
pub(super) struct Recorded {
    pub(super) ends: Ends,
    pub(super) steps: Vec<FrontierStep>,
    pub(super) outcome: RecordOutcome,
}

/// Outboxes, what is under way, and what came of it.
pub(super) struct Sends<S> {
    pub(super) outboxes: Vec<Outbox>,
    /// Ends that are to be recorded.
    pub(super) ended: Ends,
    recording: Option<Recording>,
    /// A recording that failed, to be tried again before anything else is recorded.
    failed: Option<(Ends, Vec<FrontierStep>)>,
    /// What attempts said of endpoints.
    pub(super) signals: Vec<(usize, Signal)>,
    sender: S,
    flights: FuturesUnordered<Flight>,
    questions: FuturesUnordered<Question>,
    ambient: Ambient,
    metrics: Metrics,
}

impl<S: Sender> Sends<S> {
    pub(super) fn new(outboxes: Vec<Outbox>, sender: S, ambient: Ambient, metrics: Metrics) -> Self {
        Self {
            outboxes,
            ended: Vec::new(),
            recording: None,
            failed: None,
            signals: Vec::new(),
            sender,
            flights: FuturesUnordered::new(),
            questions: FuturesUnordered::new(),
            ambient,
            metrics,
        }
    }

    /// Whether anything is under way or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.unrecorded() > 0 || !self.outboxes.iter().all(Outbox::is_idle)
    }

    /// Ends that the store does not have yet.
    pub(super) fn unrecorded(&self) -> usize {
        self.ended.len() + self.recorded_now().len()
    }

    /// Ends that are being recorded, or are to be once more.
    pub(super) fn recorded_now(&self) -> &[(usize, Ended)] {
        match (&self.recording, &self.failed) {
            (Some(Recording { ends, .. }), _) | (None, Some((ends, _))) => ends,
            (None, None) => &[],
        }
    }

    /// Whether a recording is under way, or its outcome not taken yet.
    pub(super) fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Begins a recording of `ends`, which were the first of those that ended.
    pub(super) fn record(
        &mut self,
        ends: Ends,
        steps: Vec<FrontierStep>,
        work: BoxFuture<'static, RecordOutcome>,
    ) {
        self.recording = Some(Recording { ends, steps, work, outcome: None });
    }

    /// A recording failed, and may have been taken all the same: only the very same is tried again, so that
    /// there are no two states of the store with the same stamp.
    pub(super) fn try_again(&mut self, ends: Ends, steps: Vec<FrontierStep>) {
        self.failed = Some((ends, steps));
    }

    /// What is to be recorded once more.
    pub(super) fn take_failed(&mut self) -> Option<(Ends, Vec<FrontierStep>)> {
        self.failed.take()
    }

    /// The recording that has come to its end.
    pub(super) fn take_recorded(&mut self) -> Option<Recorded> {
        self.recording.as_ref()?.outcome.as_ref()?;
        let Recording { ends, steps, outcome, .. } = self.recording.take()?;
        Some(Recorded { ends, steps, outcome: outcome? })
    }

    /// Whether the next thing to do is to take a recording's outcome, or to begin one.
    fn has_work(&self) -> bool {
        match &self.recording {
            Some(recording) => recording.outcome.is_some(),
            None => !self.ended.is_empty() || self.failed.is_some(),
        }
    }

    /// Requests that are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Waits for something else while requests go out and answers come in.
    pub(super) async fn alongside<T>(
        &mut self,
        options: &DelivererOptions,
        other: impl Future<Output = T>,
    ) -> T {
        let mut other = pin!(other);
        poll_fn(|context| {
            self.turn(options, context);
            other.as_mut().poll(context)
        })
        .await
    }

    /// Waits for something else, but no longer than until there is something to record, or something
    /// is recorded. What is waited for must
    /// lose nothing when it is dropped.
    pub(super) async fn until_ended<T>(
        &mut self,
        options: &DelivererOptions,
        other: impl Future<Output = T>,
    ) -> Option<T> {
        let mut other = pin!(other);
        poll_fn(|context| {
            self.turn(options, context);
            match other.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if self.has_work() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Waits until there is something to record or something is recorded; at once when nothing is under
    /// way.
    pub(super) async fn next_ended(&mut self, options: &DelivererOptions) {
        if self.in_flight() > 0 || self.is_recording() {
            let _ = self.until_ended(options, std::future::pending::<()>()).await;
        }
    }

    /// Takes in answers that are there, and lets go what may.
    fn turn(&mut self, options: &DelivererOptions, context: &mut Context<'_>) {
        if let Some(recording) = &mut self.recording
            && recording.outcome.is_none()
            && let Poll::Ready(outcome) = recording.work.poll_unpin(context)
        {
            recording.outcome = Some(outcome);
        }
        loop {
            let now = self.ambient.now();
            self.ask_receivers(options, now, context);
            self.take_off(options, now);
            match self.flights.poll_next_unpin(context) {
                Poll::Ready(Some((place, landing))) => self.land(place, landing, options),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// Asks receivers for their consent where that is due, and takes in what they answer.
    fn ask_receivers(&mut self, options: &DelivererOptions, now: Timestamp, context: &mut Context<'_>) {
        for (place, outbox) in self.outboxes.iter_mut().enumerate() {
            let Some(question) = outbox.ask(now) else { continue };
            let (sender, name) = (self.sender.clone(), outbox.endpoint.name.clone());
            self.questions.push(Box::pin(async move { (place, sender.ask(name, question).await) }));
        }
        while let Poll::Ready(Some((place, answered))) = self.questions.poll_next_unpin(context) {
            let Some(outbox) = self.outboxes.get_mut(place) else { continue };
            if let Some(outcome) = outbox.answered(answered, now, options) {
                tell_handshake(&self.metrics, outbox.endpoint.name.as_str(), &outcome);
                self.signals.push((place, Signal::of(&outcome)));
            }
        }
    }

    fn take_off(&mut self, options: &DelivererOptions, now: Timestamp) {
        for (place, outbox) in self.outboxes.iter_mut().enumerate() {
            while let Some((flight, events)) = outbox.take_off(now, options) {
                let request = Request::of(&outbox.endpoint, &events, now);
                let sender = self.sender.clone();
                self.flights.push(Box::pin(async move {
                    let begun = Instant::now();
                    let answered = match request {
                        Ok(request) => sender.send(request).await,
                        Err(_) => Err(NoAnswer("the event could not be encoded".to_owned())),
                    };
                    (place, Landing { flight, answered, at: now, duration: begun.elapsed() })
                }));
            }
        }
    }

    fn land(&mut self, place: usize, landing: Landing, options: &DelivererOptions) {
        let now = self.ambient.now();
        // Chance is asked of the system, and only what failed needs it.
        let is_delivered = Verdict::of(&landing.answered) == Verdict::Delivered;
        let random = if is_delivered { 0.0 } else { self.ambient.random() };
        let Some(outbox) = self.outboxes.get_mut(place) else { return };
        let status = landing.answered.as_ref().ok().map(|answer| answer.status);
        self.metrics.callbacks().attempt(outbox.endpoint.name.as_str(), status, landing.duration);
        let (ended, signal) = outbox.land(landing, now, random, options);
        self.ended.extend(ended.into_iter().map(|ended| (place, ended)));
        self.signals.extend(signal.map(|signal| (place, signal)));
    }
}

fn tell_handshake(metrics: &Metrics, endpoint: &str, outcome: &Outcome) {
    const PARKED: &str = "the receiver does not agree to get events; they are parked until it does";
    match outcome {
        Outcome::Granted(allowed) => {
            metrics.callbacks().handshake(endpoint, "granted");
            tracing::info!(endpoint, %allowed, "the receiver agrees to get events");
        }
        Outcome::Denied(reason) => {
            metrics.callbacks().handshake(endpoint, "denied");
            tracing::warn!(endpoint, %reason, "{PARKED}");
        }
        Outcome::Failed(reason) => {
            metrics.callbacks().handshake(endpoint, "failed");
            tracing::warn!(endpoint, %reason, "{PARKED}");
        }
    }
}
