//! What an operator may set of an endpoint and of deliveries in general.

use std::time::Duration;

use crate::account::{Generation, LogPartition, Partition};
use crate::queue::PollLimits;
use crate::store::EndpointName;

use super::breaker::BreakerOptions;
use super::handshake::Question;
use super::routing::{DeliverFrom, Filter};
use super::schedule::Schedule;
use super::signature::Keys;
use super::start::DeletedEvents;

/// An endpoint as far as deciding needs it; where it is and how it is reached only the sender knows.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: EndpointName,
    /// What it takes.
    pub filter: Filter,
    /// From when on.
    pub deliver_from: DeliverFrom,
    /// Keys that sign what is sent; every signature is sent.
    pub keys: Keys,
    /// Whether it gets the events of an account one after the other, in the order of the log.
    pub is_ordered: bool,
    /// Events of one request at most. With 1 each has a request of its own.
    pub batch: usize,
    /// Whether an event alone is in structured mode, where the signature covers its attributes too; else it
    /// is in binary mode.
    pub is_structured: bool,
    /// Requests at a time, of one process.
    pub concurrency: usize,
    /// Events a second at most, of all processes together; none leaves it to the receiver.
    pub rate: Option<f64>,
    /// Parked events a second at most, of all processes together, so that a receiver that is back is not run over.
    pub drain_rate: Option<f64>,
    /// What the receiver is asked before it gets anything; none: it is not asked.
    pub handshake: Option<Question>,
}

impl Endpoint {
    /// How many events keep it busy.
    pub(super) fn full_flights(&self) -> usize {
        self.concurrency * self.batch
    }
}

/// Options of a deliverer.
#[derive(Clone, Debug)]
pub struct DelivererOptions {
    /// Generation of the results topic.
    pub generation: Generation,
    /// What to do about events that were deleted before they were recorded.
    pub deleted_events: DeletedEvents,
    /// When what failed is tried again.
    pub schedule: Schedule,
    /// When an endpoint is left alone.
    pub breaker: BreakerOptions,
    /// Bounds of one poll.
    pub poll: PollLimits,
    /// Events that may wait in memory for their first attempt at one endpoint.
    pub max_waiting: usize,
    /// How long an event may wait in memory while other endpoints stand idle; then it is parked.
    pub patience: Duration,
    /// How long a parked delivery is this process's alone; longer than a request may take.
    pub lease: Duration,
    /// How often the store is asked for parked deliveries that are due.
    pub claim_interval: Duration,
    /// Parked deliveries to take over at a time, for one endpoint.
    pub max_claim: usize,
    /// How often the endpoints' shared states are read.
    pub refresh_interval: Duration,
    /// How often offsets are committed while events flow.
    pub commit_interval: Duration,
    /// The wait before the store or the queue is tried again.
    pub retry_wait: Duration,
}

impl DelivererOptions {
    /// A partition of the results topic.
    pub(super) fn log(&self, partition: Partition) -> LogPartition {
        LogPartition { generation: self.generation, partition }
    }
}
