//! What is to be run.

use std::path::PathBuf;

use clap::Parser;

use crate::program::Choice;

/// How much a run takes upon itself.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Of the random choices.
    pub seed: u64,
    /// Processes that are killed while receivers of every kind are delivered to.
    pub kills: u32,
    /// Items a second of the load meanwhile.
    pub items_per_second: u32,
    /// Times that a process is killed, stopped or started while order is watched.
    pub disturbances: u32,
    /// Parked deliveries that two processes share.
    pub backlog: u32,
    /// Events of a measurement of rates.
    pub measured: u32,
    /// Where the logs of what failed are kept.
    pub logs: PathBuf,
}

/// What is to be run. Measurements are made only when one of the names asks for them.
#[derive(Debug, Parser)]
#[command(name = "callbacks_production")]
pub struct Options {
    #[command(flatten)]
    pub choice: Choice,
    /// More of everything
    #[arg(long)]
    long: bool,
    /// Processes that are killed [default: 20, or 100 with --long]
    #[arg(long)]
    kills: Option<u32>,
    /// Items a second meanwhile [default: 40, or 100 with --long]
    #[arg(long, value_name = "ITEMS_PER_SECOND")]
    rate: Option<u32>,
    /// Parked deliveries that two processes share [default: 20000, or 1000000 with --long]
    #[arg(long)]
    backlog: Option<u32>,
    /// Events of a measurement of rates
    #[arg(long, default_value_t = 20_000)]
    events: u32,
}

impl Options {
    /// What was asked for, and what is usual otherwise.
    pub fn extent(&self) -> Extent {
        let usual = |short, long| if self.long { long } else { short };
        Extent {
            seed: self.choice.seed,
            kills: self.kills.unwrap_or(usual(20, 100)),
            items_per_second: self.rate.unwrap_or(usual(40, 100)),
            disturbances: usual(8, 50),
            backlog: self.backlog.unwrap_or(usual(20_000, 1_000_000)),
            measured: self.events,
            logs: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("callbacks"),
        }
    }
}
