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
mod reprocessing;
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
#[path = "../support/pair.rs"]
mod pair;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/random.rs"]
mod random;

use std::process::ExitCode;

use clap::Parser;

use options::Options;
use program::say;
use suite::Suite;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("lane", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return program::run(run_lane(rest));
    }
    let options = Options::parse();
    if options.choice.is_list {
        say(&suite::names().join("\n"));
        return ExitCode::SUCCESS;
    }
    program::run(Suite::run(&options))
}

/// The process of a lane, which controls start.
async fn run_lane(arguments: &[String]) -> bool {
    let ended = sabotage::run_lane(arguments).await;
    if let Err(error) = &ended {
        say(&format!("the lane ends: {error:#}"));
    }
    ended.is_ok()
}
