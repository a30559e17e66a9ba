//! The requests of all endpoints that are under way at the same time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::account::Timestamp;
use crate::telemetry::Metrics;

use super::ambient::Ambient;
use super::attempt::NoAnswer;
use super::endpoint::DelivererOptions;
use super::handshake::{Outcome, Permission};
use super::outbox::{Ended, Landing, Outbox, Signal};
use super::sender::{Request, Sender};

/// An outbox's place, and how its attempt ended.
type Flight = BoxFuture<'static, (usize, Landing)>;

/// An outbox's place, and what its receiver answered when it was asked for its consent.
type Question = BoxFuture<'static, (usize, Result<Permission, NoAnswer>)>;

/// Outboxes, what is under way, and what came of it.
pub(super) struct Sends<S> {
    pub(super) outboxes: Vec<Outbox>,
    /// Ends that are to be recorded, each with its outbox's place, in their order.
    pub(super) ended: Vec<(usize, Ended)>,
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
        !self.ended.is_empty() || !self.outboxes.iter().all(Outbox::is_idle)
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

    /// Waits for something else, but no longer than until something has ended. What is waited for must
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
                Poll::Pending if !self.ended.is_empty() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Waits until something has ended; at once when nothing is under way.
    pub(super) async fn next_ended(&mut self, options: &DelivererOptions) {
        if self.in_flight() > 0 {
            let _ = self.until_ended(options, std::future::pending::<()>()).await;
        }
    }

    /// Takes in answers that are there, and lets go what may.
    fn turn(&mut self, options: &DelivererOptions, context: &mut Context<'_>) {
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
            }
        }
    }

    fn take_off(&mut self, options: &DelivererOptions, now: Timestamp) {
        for (place, outbox) in self.outboxes.iter_mut().enumerate() {
            while let Some((flight, events)) = outbox.take_off(now, options.lease / 2) {
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
        let (now, random) = (self.ambient.now(), self.ambient.random());
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
