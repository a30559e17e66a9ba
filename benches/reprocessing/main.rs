//! Reprocessing: what `penstock replay plan`, `replay run`, `audit` and a rebuild go through a second, as processes
//! over one real Apache Kafka and one real PostgreSQL that are started for it, beside the rate at which a worker
//! drains the same topic in the same run.
//!
//! ```text
//! cargo bench --bench reprocessing --features production-tests
//! cargo bench --bench reprocessing --features production-tests -- --quick
//! cargo bench --bench reprocessing --features production-tests -- --items 5000000
//! ```
//!
//! One submission of twenty is rejected for an account type that the list lacks; then the list is completed. What
//! each command says it did is held against that. Then the same again, smaller, beside clients and an endpoint. The
//! result is printed and written to `target/reprocessing.json`. Everything shares the machine; with other work on it
//! no figure means much, the ratios more than the rates.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to tell")]

mod beside;
mod commands;
#[path = "../pipeline/figures.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod figures;
#[path = "../pipeline/installation.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod installation;
#[path = "../pipeline/meter.rs"]
mod meter;
#[path = "../../tests/support/pair.rs"]
mod pair;
#[path = "../pipeline/phases.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod phases;
#[path = "../callbacks/receiver.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod receiver;
mod report;
mod reprocessed;
#[path = "../pipeline/servers.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
#[path = "../pipeline/topic.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod topic;

use std::path::Path;

use clap::Parser;

use commands::{COMPLETED, LIST};
use installation::Installation;
use report::Result;
use reprocessed::Reprocessed;
use servers::Servers;
use support::run::Run;
use support::{say, write_result};

/// Submissions, at most, of the replay beside live traffic.
const BESIDE: u64 = 400_000;

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    run: Run,
    /// Submissions on the topic, in two hundreds [default: 1000000, or 100000 with --quick].
    #[arg(long)]
    items: Option<u64>,
    /// First port of the servers, which take three.
    #[arg(long, default_value_t = 29_392)]
    port: u16,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let items = args.items.unwrap_or(if args.run.quick { 100_000 } else { 1_000_000 });
    let items = items - items % commands::OF;
    let folder = args.run.folder("reprocessing");
    let servers = Servers::start(folder.path(), args.port);
    let mut repeats = Vec::new();
    for number in 1..=args.run.repeats_or(1) {
        repeats.push(repeat(&servers, folder.path(), number, items).await);
        say(&report::repeat(number, &repeats[number - 1]));
    }
    let result = Result::new(repeats, items);
    say(&result.tables());
    write_result("reprocessing", &result);
    say("also written to target/reprocessing.json");
}

async fn repeat(servers: &Servers, folder: &Path, number: usize, items: u64) -> Reprocessed {
    let installation = Installation::create(servers, folder, &format!("repeat{number}")).await;
    installation.add_settings(LIST);
    let rejected = commands::fill(&installation, items);
    servers.settle().await;
    let (worker, drain) = phases::drain(servers, &installation, items);
    worker.stop();
    installation.change_settings(LIST, COMPLETED);
    servers.settle().await;
    let plan = commands::plan(&installation, items, rejected);
    let run = commands::run(&installation, items, rejected);
    servers.settle().await;
    let audit = commands::audit(&installation, folder, items, &[]);
    let deep_audit = commands::audit(&installation, folder, items, &["--deep"]);
    let rebuild = commands::rebuild(servers, &installation, folder, items).await;
    installation.remove(servers).await;
    let beside = beside::measure(servers, folder, number, items.min(BESIDE)).await;
    Reprocessed { drain, plan, run, audit, deep_audit, rebuild, beside }
}
