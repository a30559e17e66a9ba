//! What is measured, and what it is held against. Processor time is microseconds per item, of the
//! named process alone; memory is the most that was ever resident.

use serde::{Deserialize, Serialize};

use crate::support::aims::{Aim, at_least, at_most, medians};

/// The figures of one repeat, or the medians of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Batches of 1,000.
    pub(crate) door_1000: Door,
    /// Batches of 100.
    pub(crate) door_100: Door,
    pub(crate) bare_producer: Produced,
    pub(crate) drain: Drain,
    pub(crate) bare_apply: Applied,
    pub(crate) end_to_end: EndToEnd,
    /// At half of the rate.
    pub(crate) half_rate: EndToEnd,
}

/// Acknowledged by the broker, without a wait for outcomes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Door {
    pub(crate) items_per_second: f64,
    pub(crate) intake_cpu_us: f64,
    pub(crate) load_cpu_us: f64,
    pub(crate) kafka_cpu_us: f64,
    pub(crate) intake_peak_resident_mib: f64,
}

/// The client alone, with the same records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Produced {
    pub(crate) items_per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) kafka_cpu_us: f64,
}

/// From a full topic into the database, result events acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Drain {
    pub(crate) items_per_second: f64,
    pub(crate) worker_cpu_us: f64,
    pub(crate) kafka_cpu_us: f64,
    pub(crate) postgres_cpu_us: f64,
    pub(crate) worker_peak_resident_mib: f64,
}

/// The statements alone, with the same rows; items per second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) on_one_connection: f64,
    pub(crate) on_two_connections: f64,
}

/// With the wait, in batches of 100, every outcome answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EndToEnd {
    pub(crate) items_per_second: f64,
    pub(crate) latency_p50_ms: f64,
    pub(crate) latency_p99_ms: f64,
    pub(crate) intake_cpu_us: f64,
    pub(crate) worker_cpu_us: f64,
    pub(crate) load_cpu_us: f64,
    pub(crate) kafka_cpu_us: f64,
    pub(crate) postgres_cpu_us: f64,
    pub(crate) intake_peak_resident_mib: f64,
    pub(crate) worker_peak_resident_mib: f64,
}

impl Figures {
    /// Each figure's median.
    pub(crate) fn medians(repeats: &[Self]) -> Self {
        medians(repeats)
    }

    /// What penstock aims at, on two cores that broker, database, roles and load share.
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let share_of_producer =
            |door: &Door| at_least(0.70, door.items_per_second / self.bare_producer.items_per_second);
        let share_of_statements = self.drain.items_per_second / self.bare_apply.on_two_connections;
        let whole = &self.end_to_end;
        vec![
            share_of_producer(&self.door_1000).named("door, 1,000 a batch: share of the bare producer"),
            share_of_producer(&self.door_100).named("door, 100 a batch: share of the bare producer"),
            at_most(6.0, self.door_1000.intake_cpu_us).named("door, 1,000 a batch: µs of the intake"),
            at_most(6.0, self.door_100.intake_cpu_us).named("door, 100 a batch: µs of the intake"),
            at_least(0.65, share_of_statements)
                .named("drain: share of the bare statements on two connections"),
            at_most(200.0, self.drain.worker_peak_resident_mib * 1.048_576)
                .named("drain: resident MB of the worker"),
            at_least(30_000.0, whole.items_per_second).named("end to end: items/s"),
            at_most(15.0, whole.intake_cpu_us + whole.worker_cpu_us)
                .named("end to end: µs of intake and worker"),
            at_most(60.0, self.half_rate.latency_p50_ms)
                .named("end to end at half of that rate: p50 in ms"),
        ]
    }
}
