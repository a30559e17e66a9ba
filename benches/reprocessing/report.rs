//! The result, for people as tables and for programs as one object.

use std::fmt::Write;

use comfy_table::Table;
use serde::Serialize;

use crate::beside::Beside;
use crate::reprocessed::{Gone, Reprocessed};
use crate::servers::Servers;
use crate::support::aims::{Aim, medians};
use crate::support::tables::{aims, rounded, table};

/// Submissions of the sheet.
const EXTENDED_TO: f64 = 100_000_000.0;

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Result {
    cores: usize,
    servers: [String; 2],
    items: u64,
    medians: Reprocessed,
    aims: Vec<Aim>,
    repeats: Vec<Reprocessed>,
}

impl Result {
    pub(crate) fn new(repeats: Vec<Reprocessed>, items: u64) -> Self {
        let medians: Reprocessed = medians(&repeats);
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            servers: Servers::settings(),
            items,
            aims: medians.aims(),
            medians,
            repeats,
        }
    }

    /// Everything a person wants to see.
    pub(crate) fn tables(&self) -> String {
        let Self { cores, repeats, items, .. } = self;
        let mut text = format!("\nmedians of {} on {cores} cores, {items} submissions\n", repeats.len());
        for settings in &self.servers {
            let _infallible = writeln!(text, "{settings}");
        }
        let _infallible = writeln!(text, "{}", figures(&self.medians));
        let _infallible = writeln!(text, "{}\n{}", latencies(&self.medians.beside), aims(&self.aims));
        text
    }
}

fn figures(figures: &Reprocessed) -> Table {
    let Reprocessed { drain, plan, run, audit, deep_audit, rebuild, beside: _ } = figures;
    let header = ["", "submissions/s", "own CPU µs", "resident MiB", "hours for 100 million"];
    let mut table = table(&header);
    let mut row = |name: &str, figures: [f64; 3]| {
        let [rate, ..] = figures;
        let hours = EXTENDED_TO / rate / 3_600.0;
        let cells = figures.into_iter().chain([hours]).map(rounded);
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    let of = |gone: &Gone| [gone.items_per_second, gone.cpu_us, gone.peak_resident_mib];
    row(
        "a worker's drain",
        [drain.items_per_second, drain.worker_cpu_us, drain.worker_peak_resident_mib],
    );
    row("replay plan", of(plan));
    row("replay run, one of twenty changes", of(run));
    row("audit", of(audit));
    row("audit --deep", of(deep_audit));
    row("replay run --no-events into an empty store", of(rebuild));
    table
}

fn latencies(beside: &Beside) -> Table {
    let mut table = table(&["live batches of 100", "p50 ms", "p99 ms"]);
    for (name, latency) in
        [("alone", &beside.alone), ("beside a replay and its callbacks", &beside.replay)]
    {
        let figures = [latency.p50_ms, latency.p99_ms].map(rounded);
        table.add_row(std::iter::once(name.to_owned()).chain(figures));
    }
    table
}

/// One repeat in a line.
pub(crate) fn repeat(number: usize, figures: &Reprocessed) -> String {
    let Reprocessed { drain, plan, run, audit, deep_audit, rebuild, beside } = figures;
    format!(
        "repeat {number}: drain {:.0}, plan {:.0}, run {:.0}, audit {:.0} (deep {:.0}), rebuild {:.0} a second; live \
         p99 {:.0} ms alone, {:.0} ms beside a replay",
        drain.items_per_second,
        plan.items_per_second,
        run.items_per_second,
        audit.items_per_second,
        deep_audit.items_per_second,
        rebuild.items_per_second,
        beside.alone.p99_ms,
        beside.replay.p99_ms,
    )
}
