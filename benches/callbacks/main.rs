//! Callbacks under load: `penstock callbacks` as a process over one real Apache Kafka and one real
//! PostgreSQL, which are started for it, delivering signed events from a full topic to a receiver on the
//! same machine; beside the HTTP client alone with the same request, in the same run.
//!
//! ```text
//! cargo bench --bench callbacks --features production-tests
//! cargo bench --bench callbacks --features production-tests -- --quick
//! ```
//!
//! The result is printed and written to `target/callbacks.json`. Everything shares the machine; with
//! other work on it no figure means much, the ratios more than the rates.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to tell")]

mod bare_client;
mod figures;
#[path = "../pipeline/installation.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod installation;
#[path = "../pipeline/meter.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod meter;
#[path = "../../tests/support/pair.rs"]
mod pair;
mod phases;
mod receiver;
mod report;
mod results;
#[path = "../pipeline/servers.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
#[path = "../pipeline/topic.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod topic;

use std::path::Path;

use clap::Parser;

use figures::Figures;
use installation::Installation;
use phases::{Endpoint, deliver, park_and_drain};
use report::Result;
use servers::Servers;
use support::run::Run;
use support::{say, write_result};

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    run: Run,
    /// Events of every phase; of the one in batches four times as many [default: 200000, or 50000 with
    /// --quick].
    #[arg(long)]
    events: Option<u64>,
    /// Events of one request in batch mode.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Requests at a time, of penstock and of the bare client.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// First port of the servers, which take three.
    #[arg(long, default_value_t = 29_292)]
    port: u16,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let events = args.events.unwrap_or(if args.run.quick { 50_000 } else { 200_000 });
    let folder = args.run.folder("callbacks");
    let bench = Bench {
        servers: Servers::start(folder.path(), args.port),
        folder: folder.path(),
        args: &args,
        events,
    };
    say("warming up");
    bench.repeat("warmup", events / 4).await;
    let mut measured = Vec::new();
    for number in 1..=args.run.repeats() {
        measured.push(bench.repeat(&format!("repeat{number}"), bench.events).await);
        say(&report::repeat(number, &measured[number - 1]));
    }
    let result = Result::new(measured, events, args.batch, args.concurrency);
    say(&result.tables());
    write_result("callbacks", &result);
    say("also written to target/callbacks.json");
}

/// A run.
struct Bench<'a> {
    // Before the folder: it is stopped first.
    servers: Servers,
    folder: &'a Path,
    args: &'a Args,
    events: u64,
}

impl Bench<'_> {
    async fn repeat(&self, name: &str, events: u64) -> Figures {
        let concurrency = self.args.concurrency;
        let plain = Endpoint { batch: 1, is_ordered: false, concurrency };
        let in_order = Endpoint { is_ordered: true, ..plain };
        let in_batches = Endpoint { batch: self.args.batch, ..plain };
        let (single, request) = self.deliver(&format!("{name}_single"), plain, events).await;
        let bare_single = bare_client::run(&request, events, concurrency).await;
        let (ordered, _) = self.deliver(&format!("{name}_ordered"), in_order, events).await;
        let batched = events * 4;
        let (batch, request) = self.deliver(&format!("{name}_batch"), in_batches, batched).await;
        let requests = batched / self.args.batch as u64;
        #[allow(clippy::cast_precision_loss, reason = "a size")]
        let bare_batch =
            bare_client::run(&request, requests, concurrency).await * self.args.batch as f64;
        let installation = self.install(&format!("{name}_backlog")).await;
        let (parking, backlog) = park_and_drain(&self.servers, &installation, plain, events).await;
        installation.remove(&self.servers).await;
        Figures { single, ordered, bare_single, batch, bare_batch, parking, backlog }
    }

    async fn deliver(
        &self,
        name: &str,
        endpoint: Endpoint,
        events: u64,
    ) -> (figures::Delivered, receiver::Sample) {
        let installation = self.install(name).await;
        let delivered = deliver(&self.servers, &installation, endpoint, events).await;
        installation.remove(&self.servers).await;
        delivered
    }

    async fn install(&self, name: &str) -> Installation {
        Installation::create(&self.servers, self.folder, name).await
    }
}
