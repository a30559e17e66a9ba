//! Real processes of callbacks over a real Kafka and a real PostgreSQL, and receivers of every kind: every
//! event arrives, signed so that others can verify it, in order where that is asked for, whatever dies.
//!
//! `tests/callbacks.sh` runs it. Each test has topics and a database of its own on the servers that
//! `PENSTOCK_TEST_KAFKA` and `PENSTOCK_TEST_POSTGRES` name.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the outcome of a test program")]

mod backlog;
mod events;
mod installation;
mod kinds;
mod options;
mod order;
mod promises;
mod rates;
mod receivers;
mod verification;

#[path = "../support/binary.rs"]
mod binary;
#[path = "../support/checker/mod.rs"]
mod checker;
#[path = "../support/endless.rs"]
mod endless;
#[path = "../support/log.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod log;
#[path = "../support/pair.rs"]
mod pair;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/random.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod random;
#[path = "../support/servers/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod servers;

use std::process::ExitCode;

use clap::Parser;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use options::{Extent, Options};
use program::{Tally, say};

type Run = fn(&Extent) -> LocalBoxFuture<'_, anyhow::Result<String>>;

/// A test: its name, whether it is a measurement that is made only when asked for, and what it says of
/// what it has seen.
const TESTS: [(&str, bool, Run); 5] = [
    ("an independent implementation accepts every delivery", false, |extent| {
        verification::run(extent).boxed_local()
    }),
    ("receivers of every kind while processes are killed", false, |extent| {
        kinds::run(extent).boxed_local()
    }),
    ("the events of an account in order", false, |extent| order::run(extent).boxed_local()),
    ("two processes share a backlog", false, |extent| backlog::run(extent).boxed_local()),
    ("rate of a fast receiver alone and beside the others", true, |extent| {
        rates::run(extent).boxed_local()
    }),
];

async fn run_all(options: &Options) -> bool {
    let mut tally = Tally::new(&options.choice);
    let extent = options.extent();
    for (name, is_measurement, run) in TESTS {
        if is_measurement && !options.choice.is_named(name) {
            continue;
        }
        if let Some(seen) = tally.run(name, run(&extent)).await {
            say(&format!("    {seen}"));
        }
    }
    tally.close()
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.choice.is_list {
        say(&TESTS.map(|(name, ..)| name).join("\n"));
        return ExitCode::SUCCESS;
    }
    program::run(run_all(&options))
}
