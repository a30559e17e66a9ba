//! The result, for people as tables and for programs as one object.

use std::fmt::Write;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::figures::{Aim, Bound, Door, Drain, EndToEnd, Figures};
use crate::servers::Servers;

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
            "peak MiB",
        ]);
        let mut row = |name: &str, figures: [f64; 9]| {
            let figures =
                figures.map(|figure| if figure.is_nan() { String::new() } else { rounded(figure) });
            table.add_row(std::iter::once(name.to_owned()).chain(figures));
        };
        let none = f64::NAN;
        let door = |door: &Door| {
            let Door {
                items_per_second,
                intake_cpu_us,
                load_cpu_us,
                kafka_cpu_us,
                intake_peak_resident_mib,
            } = *door;
            [
                items_per_second,
                none,
                none,
                intake_cpu_us,
                none,
                load_cpu_us,
                kafka_cpu_us,
                none,
                intake_peak_resident_mib,
            ]
        };
        row("door, 1,000 a batch", door(door_1000));
        row("door, 100 a batch", door(door_100));
        row(
            "  bare producer (own µs as the load's)",
            [
                bare_producer.items_per_second,
                none,
                none,
                none,
                none,
                bare_producer.cpu_us,
                bare_producer.kafka_cpu_us,
                none,
                none,
            ],
        );
        row("drain", of_drain(drain));
        let only_rate = |rate| [rate, none, none, none, none, none, none, none, none];
        row("  bare statements, 1 connection", only_rate(bare_apply.on_one_connection));
        row("  bare statements, 2 connections", only_rate(bare_apply.on_two_connections));
        row("end to end, 100 a batch", of_whole(end_to_end));
        row("  at half of the rate", of_whole(half_rate));
        if let Some(backlog) = &self.backlog {
            row("drain of the backlog", of_drain(backlog));
        }
        table
    }
}

fn of_drain(drain: &Drain) -> [f64; 9] {
    let none = f64::NAN;
    let Drain {
        items_per_second,
        worker_cpu_us,
        kafka_cpu_us,
        postgres_cpu_us,
        worker_peak_resident_mib,
    } = *drain;
    [
        items_per_second,
        none,
        none,
        none,
        worker_cpu_us,
        none,
        kafka_cpu_us,
        postgres_cpu_us,
        worker_peak_resident_mib,
    ]
}

fn of_whole(whole: &EndToEnd) -> [f64; 9] {
    [
        whole.items_per_second,
        whole.latency_p50_ms,
        whole.latency_p99_ms,
        whole.intake_cpu_us,
        whole.worker_cpu_us,
        whole.load_cpu_us,
        whole.kafka_cpu_us,
        whole.postgres_cpu_us,
        f64::NAN,
    ]
}

fn aims(aims: &[Aim]) -> Table {
    let mut table = table(&["", "aim", "measured", ""]);
    for aim in aims {
        let bound = match aim.bound {
            Bound::AtLeast => "≥",
            Bound::AtMost => "≤",
        };
        let wanted = format!("{bound} {}", rounded(aim.value));
        table.add_row([
            aim.what,
            &wanted,
            &rounded(aim.measured),
            if aim.met { "met" } else { "missed" },
        ]);
    }
    table
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

/// Three digits that count, or all before the point.
fn rounded(figure: f64) -> String {
    match figure {
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.2}"),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(header);
    for index in 1..header.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
