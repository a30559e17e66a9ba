//! What a run came to, as a table for people or as JSON for programs.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::run::Ended;

/// Everything that is told of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The seed: the same one and the same options send the same items.
    seed: u64,
    /// Items answered.
    items: u64,
    /// Batches answered.
    batches: u64,
    /// How long it took.
    seconds: f64,
    /// Items per second.
    items_per_second: f64,
    /// Batches per second.
    batches_per_second: f64,
    /// Time from when a batch was due to its final answer.
    latency_ms: Latency,
    /// Items that were acknowledged before their outcome was known; only when none was asked for.
    pending: u64,
    /// Batches sent again because they were not taken (connection lost, 5xx).
    retries: u64,
    /// Batches sent again because outcomes were pending.
    resends: u64,
    /// Items of a number and content that was sent before; they are among the accepted ones.
    repeated: u64,
    /// Per outcome.
    outcomes: Vec<OutcomeCount>,
    /// Answers that were not as they must be.
    differences: u64,
    /// The first of them.
    first_differences: Vec<String>,
    /// Whether every item was sent and answered.
    complete: bool,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct OutcomeCount {
    outcome: &'static str,
    expected: u64,
    answered: u64,
}

impl Report {
    /// Sums a run up.
    #[allow(clippy::cast_precision_loss, reason = "rates and latencies are rounded when shown")]
    pub(super) fn new(seed: u64, ended: &Ended) -> Self {
        let tally = &ended.tally;
        let seconds = ended.duration.max(Duration::from_micros(1)).as_secs_f64();
        let quantile = |q| tally.latency_us.value_at_quantile(q) as f64 / 1_000.0;
        let outcomes = tally.checked.counts().into_iter().map(|(verdict, count)| OutcomeCount {
            outcome: verdict.as_str(),
            expected: count.expected,
            answered: count.answered,
        });
        Self {
            seed,
            items: tally.items,
            batches: tally.batches,
            seconds,
            items_per_second: tally.items as f64 / seconds,
            batches_per_second: tally.batches as f64 / seconds,
            latency_ms: Latency {
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                max: tally.latency_us.max() as f64 / 1_000.0,
            },
            pending: tally.pending,
            retries: tally.retries,
            resends: tally.resends,
            repeated: tally.checked.repeated(),
            outcomes: outcomes.collect(),
            differences: tally.checked.differences(),
            first_differences: tally.checked.shown().iter().map(ToString::to_string).collect(),
            complete: !ended.stopped && ended.failure.is_none(),
        }
    }

    /// Writes it as one JSON object.
    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    /// Writes it as tables.
    pub(super) fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}\n{}", self.rates(), self.outcome_table())?;
        for difference in &self.first_differences {
            writeln!(out, "  {difference}")?;
        }
        match self.differences {
            0 => writeln!(out, "Every answer was right; {} repeated an accepted item.", self.repeated),
            differences => writeln!(out, "{differences} differences; the first ones are listed above."),
        }
    }

    fn rates(&self) -> Table {
        let mut table = table();
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("items", self.items.to_string());
        row("batches", self.batches.to_string());
        row("duration", format!("{:.1} s", self.seconds));
        row("items/s", format!("{:.0}", self.items_per_second));
        row("batches/s", format!("{:.1}", self.batches_per_second));
        row("latency p50", format!("{:.1} ms", self.latency_ms.p50));
        row("latency p90", format!("{:.1} ms", self.latency_ms.p90));
        row("latency p99", format!("{:.1} ms", self.latency_ms.p99));
        row("latency max", format!("{:.1} ms", self.latency_ms.max));
        row("retries", self.retries.to_string());
        row("sent again while pending", self.resends.to_string());
        if self.pending > 0 {
            row("queued, not decided yet", self.pending.to_string());
        }
        row("seed", self.seed.to_string());
        align_right(&mut table, 1..=1);
        table
    }

    fn outcome_table(&self) -> Table {
        let mut table = table();
        table.set_header(["outcome", "expected", "answered"]);
        for count in &self.outcomes {
            table.add_row([count.outcome, &count.expected.to_string(), &count.answered.to_string()]);
        }
        align_right(&mut table, 1..=2);
        table
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table
}

fn align_right(table: &mut Table, columns: std::ops::RangeInclusive<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
