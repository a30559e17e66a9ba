//! The result, for people as tables and for programs as one object.

use std::fmt::Write;

use comfy_table::Table;
use serde::Serialize;

use crate::figures::{Delivered, Figures};
use crate::servers::Servers;
use crate::support::aims::{Aim, medians};
use crate::support::tables::{aims, rounded, table};

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Result {
    cores: usize,
    servers: [String; 2],
    events: u64,
    batch: usize,
    concurrency: usize,
    medians: Figures,
    aims: Vec<Aim>,
    repeats: Vec<Figures>,
}

impl Result {
    pub(crate) fn new(repeats: Vec<Figures>, events: u64, batch: usize, concurrency: usize) -> Self {
        let medians: Figures = medians(&repeats);
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            servers: Servers::settings(),
            events,
            batch,
            concurrency,
            aims: medians.aims(),
            medians,
            repeats,
        }
    }

    /// Everything a person wants to see.
    pub(crate) fn tables(&self) -> String {
        let Self { cores, repeats, events, batch, concurrency, .. } = self;
        let mut text = format!(
            "\nmedians of {} on {cores} cores, {events} events, {concurrency} requests at a time\n",
            repeats.len()
        );
        for settings in &self.servers {
            let _infallible = writeln!(text, "{settings}");
        }
        let _infallible = writeln!(text, "{}\n{}", figures(&self.medians, *batch), aims(&self.aims));
        text
    }
}

fn figures(figures: &Figures, batch_size: usize) -> Table {
    let Figures { single, ordered, bare_single, batch, bare_batch, parking, backlog } = figures;
    let mut table =
        table(&["", "events/s", "callbacks µs", "Kafka µs", "PostgreSQL µs", "callbacks MiB"]);
    let mut row = |name: &str, delivered: &Delivered| {
        let figures = [
            delivered.events_per_second,
            delivered.callbacks_cpu_us,
            delivered.kafka_cpu_us,
            delivered.postgres_cpu_us,
            delivered.peak_resident_mib,
        ];
        table.add_row(std::iter::once(name.to_owned()).chain(figures.map(rounded)));
    };
    row("one event a request", single);
    row("the same, ordered", ordered);
    row(&format!("{batch_size} events a request"), batch);
    row("parking at a receiver that fails", parking);
    row("the backlog once it works", backlog);
    for (name, rate) in [
        ("  bare client, one event a request", *bare_single),
        ("  bare client, the same batch", *bare_batch),
    ] {
        table.add_row([name.to_owned(), rounded(rate)]);
    }
    table
}

/// One repeat in a line.
pub(crate) fn repeat(number: usize, figures: &Figures) -> String {
    let Figures { single, ordered, bare_single, batch, bare_batch, parking, backlog } = figures;
    format!(
        "repeat {number}: {:.0} (ordered {:.0}) of {bare_single:.0} requests/s, in batches {:.0} of \
         {bare_batch:.0} events/s, parking {:.0}, backlog {:.0}",
        single.events_per_second,
        ordered.events_per_second,
        batch.events_per_second,
        parking.events_per_second,
        backlog.events_per_second,
    )
}
