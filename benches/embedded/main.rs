//! `penstock load` against `penstock dev`, beside a bare loop that writes the same rows with the same
//! statements into the same schema: what the pipeline costs over the writes alone.
//!
//! ```text
//! cargo bench --bench embedded -- --items 200000 --repeats 5
//! cargo bench --bench embedded -- --items 1000000 --repeats 1
//! ```
//!
//! The result is printed and written to `target/embedded.json`. Both sides write to the same disk,
//! taking turns; with other work on the machine neither figure means much.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to tell")]

mod bare;
mod pipeline;
#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use serde::Serialize;

use support::{median, say, write_result};

#[derive(Debug, Parser)]
struct Args {
    /// Items of each run.
    #[arg(long, default_value_t = 200_000)]
    items: u64,
    /// Items of one batch, and of one transaction of the bare loop.
    #[arg(long, default_value_t = 1_000)]
    batch_size: u64,
    /// Connections of the load.
    #[arg(long, default_value_t = 4)]
    connections: u64,
    /// How often both are run.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What was measured; rates in items per second.
#[derive(Debug, Serialize)]
struct Result {
    items: u64,
    batch_size: u64,
    connections: u64,
    cores: usize,
    penstock: Vec<f64>,
    bare: Vec<f64>,
    penstock_median: f64,
    bare_median: f64,
    ratio: f64,
    peak_resident_mib: f64,
    latency_p99_ms: f64,
}

fn main() {
    let args = Args::parse();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (mut penstock, mut bare) = (Vec::new(), Vec::new());
    let (mut peak_resident_mib, mut latency_p99_ms) = (0.0_f64, Vec::new());
    for repeat in 0..args.repeats {
        let data = folder.path().join(format!("penstock-{repeat}"));
        let run = pipeline::run(&data, &args);
        peak_resident_mib = peak_resident_mib.max(run.peak_resident_mib);
        latency_p99_ms.push(run.loaded.latency_p99_ms);
        penstock.push(run.loaded.items_per_second);
        let copy = folder.path().join(format!("bare-{repeat}"));
        bare.push(bare::run(&data, &copy, args.batch_size));
        say(&format!(
            "run {}: penstock {:.0} items/s, bare {:.0} items/s",
            repeat + 1,
            penstock[repeat],
            bare[repeat]
        ));
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::remove_dir_all(&copy).unwrap();
    }
    let (penstock_median, bare_median) = (median(&penstock), median(&bare));
    let result = Result {
        items: args.items,
        batch_size: args.batch_size,
        connections: args.connections,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        penstock_median,
        bare_median,
        ratio: penstock_median / bare_median,
        penstock,
        bare,
        peak_resident_mib,
        latency_p99_ms: median(&latency_p99_ms),
    };
    say(&write_result("embedded", &result));
}
