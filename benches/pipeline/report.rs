//! The result, for people as tables and for programs as one object.

use std::fmt::Write;

use comfy_table::Table;
use serde::Serialize;

use crate::figures::{Door, Drain, EndToEnd, Figures, Produced};
use crate::servers::Servers;
use crate::support::aims::Aim;
use crate::support::tables::{aims, rounded, table};

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Result {
    cores: usize,
    servers: [String; 2],
    medians: Figures,
    aims: Vec<Aim>,
    backlog: Option<Drain>,
    repeats: Vec<Figures>,
}

impl Result {
    pub(crate) fn new(repeats: Vec<Figures>, backlog: Option<Drain>) -> Self {
        let medians = Figures::medians(&repeats);
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            servers: Servers::settings(),
            aims: medians.aims(),
            medians,
            backlog,
            repeats,
        }
    }

    /// Everything a person wants to see.
    pub(crate) fn tables(&self) -> String {
        let mut text = format!("\nmedians of {} on {} cores\n", self.repeats.len(), self.cores);
        for settings in &self.servers {
            let _infallible = writeln!(text, "{settings}");
        }
        let _infallible = writeln!(text, "{}\n{}", self.figures(), aims(&self.aims));
        text
    }

    fn figures(&self) -> Table {
        let Figures { door_1000, door_100, bare_producer, drain, bare_apply, end_to_end, half_rate } =
            &self.medians;
        let mut table = table(&[
            "",
            "items/s",
            "p50 ms",
            "p99 ms",
            "intake µs",
            "worker µs",
            "load µs",
            "Kafka µs",
            "PostgreSQL µs",
            "intake MiB",
            "worker MiB",
        ]);
        let mut row = |name: &str, line: Line| {
            table.add_row(std::iter::once(name.to_owned()).chain(line.cells()));
        };
        row("door, 1,000 a batch", door_1000.into());
        row("door, 100 a batch", door_100.into());
        row("  bare producer, its µs as the load's", bare_producer.into());
        row("drain", drain.into());
        row("  bare statements, 1 connection", Line::of(bare_apply.on_one_connection));
        row("  bare statements, 2 connections", Line::of(bare_apply.on_two_connections));
        row("end to end, 100 a batch", end_to_end.into());
        row("  at half of the rate", half_rate.into());
        if let Some(backlog) = &self.backlog {
            row("drain of the backlog", backlog.into());
        }
        table
    }
}

/// A line of figures; what a phase does not have stays blank.
#[derive(Default)]
struct Line {
    items_per_second: f64,
    latency_ms: Option<[f64; 2]>,
    intake_cpu_us: Option<f64>,
    worker_cpu_us: Option<f64>,
    load_cpu_us: Option<f64>,
    kafka_cpu_us: Option<f64>,
    postgres_cpu_us: Option<f64>,
    intake_mib: Option<f64>,
    worker_mib: Option<f64>,
}

impl Line {
    fn of(items_per_second: f64) -> Self {
        Self { items_per_second, ..Self::default() }
    }

    fn cells(self) -> [String; 10] {
        [
            Some(self.items_per_second),
            self.latency_ms.map(|[p50, _]| p50),
            self.latency_ms.map(|[_, p99]| p99),
            self.intake_cpu_us,
            self.worker_cpu_us,
            self.load_cpu_us,
            self.kafka_cpu_us,
            self.postgres_cpu_us,
            self.intake_mib,
            self.worker_mib,
        ]
        .map(|figure| figure.map(rounded).unwrap_or_default())
    }
}

impl From<&Door> for Line {
    fn from(door: &Door) -> Self {
        Self {
            intake_cpu_us: Some(door.intake_cpu_us),
            load_cpu_us: Some(door.load_cpu_us),
            kafka_cpu_us: Some(door.kafka_cpu_us),
            intake_mib: Some(door.intake_peak_resident_mib),
            ..Self::of(door.items_per_second)
        }
    }
}

impl From<&Produced> for Line {
    fn from(produced: &Produced) -> Self {
        Self {
            load_cpu_us: Some(produced.cpu_us),
            kafka_cpu_us: Some(produced.kafka_cpu_us),
            ..Self::of(produced.items_per_second)
        }
    }
}

impl From<&Drain> for Line {
    fn from(drain: &Drain) -> Self {
        Self {
            worker_cpu_us: Some(drain.worker_cpu_us),
            kafka_cpu_us: Some(drain.kafka_cpu_us),
            postgres_cpu_us: Some(drain.postgres_cpu_us),
            worker_mib: Some(drain.worker_peak_resident_mib),
            ..Self::of(drain.items_per_second)
        }
    }
}

impl From<&EndToEnd> for Line {
    fn from(whole: &EndToEnd) -> Self {
        Self {
            latency_ms: Some([whole.latency_p50_ms, whole.latency_p99_ms]),
            intake_cpu_us: Some(whole.intake_cpu_us),
            worker_cpu_us: Some(whole.worker_cpu_us),
            load_cpu_us: Some(whole.load_cpu_us),
            kafka_cpu_us: Some(whole.kafka_cpu_us),
            postgres_cpu_us: Some(whole.postgres_cpu_us),
            intake_mib: Some(whole.intake_peak_resident_mib),
            worker_mib: Some(whole.worker_peak_resident_mib),
            ..Self::of(whole.items_per_second)
        }
    }
}

/// One repeat in a line.
pub(crate) fn repeat(number: usize, figures: &Figures) -> String {
    format!(
        "repeat {number}: door {:.0} and {:.0} of {:.0} items/s, drain {:.0} of {:.0}, end to end {:.0}",
        figures.door_1000.items_per_second,
        figures.door_100.items_per_second,
        figures.bare_producer.items_per_second,
        figures.drain.items_per_second,
        figures.bare_apply.on_two_connections,
        figures.end_to_end.items_per_second,
    )
}

/// How the broker became faster.
pub(crate) fn warm_up(rates: &[f64]) -> String {
    let rates: Vec<String> = rates.iter().map(|rate| rounded(*rate)).collect();
    format!("the bare producer while the broker warmed up, records/s: {}", rates.join(", "))
}
