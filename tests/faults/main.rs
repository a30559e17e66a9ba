//! Real processes over a real Kafka cluster and a real PostgreSQL while things break: nothing is lost,
//! nothing is there twice, and every outcome has one event id.
//!
//! `tests/faults.sh` runs it. Every fault is played under constant load in an installation of its own
//! and checked on its own; a table of what came of each is printed at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the outcome of a test program")]

mod controls;
mod database;
mod faults;
mod installation;
mod options;
mod proxy;
mod sabotage;
mod scale;
mod servers;
mod suite;

#[path = "../support/binary.rs"]
mod binary;
#[path = "../support/checker/mod.rs"]
mod checker;
#[path = "../support/log.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod log;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "../support/random.rs"]
mod random;

use std::io::Write;
use std::process::ExitCode;

use options::Options;
use suite::Suite;

/// Prints a line at once, whoever reads it.
pub fn say(line: &str) {
    let mut out = std::io::stdout();
    // Whoever closed the output does not want to know.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    if let Some(("lane", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return match runtime.block_on(sabotage::run_lane(rest)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("the lane ends: {error:#}"));
                ExitCode::FAILURE
            }
        };
    }
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(problem) => {
            say(&problem);
            return ExitCode::from(2);
        }
    };
    runtime.block_on(async {
        tokio::select! {
            passed = Suite::run(&options) => if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE },
            // What was started is stopped when it goes out of scope.
            _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
        }
    })
}
