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
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "../support/random.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod random;
#[path = "../support/servers/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod servers;

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::anyhow;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use options::{Extent, Options};

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

/// Prints a line at once, whoever reads it.
pub fn say(line: &str) {
    let mut out = std::io::stdout();
    // Whoever closed the output does not want to know.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

async fn run_all(options: &Options) -> bool {
    say(&format!("seed {}", options.extent.seed));
    let begun = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for (name, is_measurement, run) in TESTS {
        if !options.includes(name, is_measurement) {
            continue;
        }
        let begun = Instant::now();
        let outcome = AssertUnwindSafe(run(&options.extent)).catch_unwind().await;
        let seconds = begun.elapsed().as_secs_f64();
        match outcome.unwrap_or_else(|_| Err(anyhow!("it panicked"))) {
            Ok(seen) => {
                passed += 1;
                say(&format!("test {name} ... ok, {seconds:.0} s: {seen}"));
            }
            Err(error) => {
                failed += 1;
                let seed = options.extent.seed;
                say(&format!("test {name} ... FAILED, {seconds:.0} s, --seed {seed}: {error:#}"));
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; \
         finished in {:.2}s",
        begun.elapsed().as_secs_f64()
    ));
    failed == 0
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(problem) => {
            say(&problem);
            return ExitCode::from(2);
        }
    };
    if options.is_list {
        for (name, ..) in TESTS {
            say(name);
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    runtime.block_on(async {
        tokio::select! {
            passed = run_all(&options) => if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE },
            // What was started is stopped when it goes out of scope.
            _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
        }
    })
}
