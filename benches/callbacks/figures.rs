//! What is measured, and what it is held against. Processor time is microseconds per event, of the named
//! process alone; memory is the most that was ever resident.

use serde::{Deserialize, Serialize};

use crate::support::aims::{Aim, at_least, at_most};

/// The figures of one repeat, or the medians of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// A request for each event.
    pub(crate) single: Delivered,
    /// As many events of an account at once as one endpoint may get in order.
    pub(crate) ordered: Delivered,
    /// The client alone with the same request; requests per second.
    pub(crate) bare_single: f64,
    /// Many events in one request.
    pub(crate) batch: Delivered,
    /// The client alone with the same request; events per second.
    pub(crate) bare_batch: f64,
    /// What a receiver that fails leaves behind.
    pub(crate) parking: Delivered,
    /// The same once it works again.
    pub(crate) backlog: Delivered,
}

/// Events that reached the receiver, or the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) events_per_second: f64,
    pub(crate) callbacks_cpu_us: f64,
    pub(crate) kafka_cpu_us: f64,
    pub(crate) postgres_cpu_us: f64,
    pub(crate) peak_resident_mib: f64,
}

impl Figures {
    /// What penstock aims at, on two cores that broker, database, callbacks and receiver share.
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let Self { single, bare_single, batch, .. } = self;
        vec![
            at_least(15_000.0, single.events_per_second).named("signed deliveries/s"),
            at_least(0.70, single.events_per_second / bare_single).named("share of the bare client"),
            at_least(50_000.0, batch.events_per_second).named("events/s in batches"),
            at_most(200.0, single.peak_resident_mib * 1.048_576).named("resident MB"),
        ]
    }
}
