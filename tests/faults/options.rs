//! What is to be run.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::faults::Extent;
use crate::installation::{POLL_TIMEOUT, SESSION_TIMEOUT};
use crate::program::Choice;
use crate::servers::Ports;

/// How much longer than a timeout a pause lasts.
const BEYOND: Duration = Duration::from_secs(4);

/// What is to be run.
#[derive(Debug, Parser)]
#[command(name = "faults")]
pub struct Options {
    #[command(flatten)]
    pub choice: Choice,
    /// A restored backup of many submissions, a pause beyond what clients bear, a long random mix, a replay while
    /// everything breaks
    #[arg(long)]
    long: bool,
    /// Items a second of each load [default: 200, or 500 with --long]
    #[arg(long, value_name = "ITEMS_PER_SECOND")]
    rate: Option<u32>,
    /// First of the ports that are used
    #[arg(long, default_value_t = 26_000)]
    port: u16,
    /// Where the servers are and stay, for the next run; they go with this one otherwise
    #[arg(long, value_name = "DIR")]
    pub servers: Option<PathBuf>,
}

impl Options {
    /// How much faults take upon themselves.
    pub fn extent(&self) -> Extent {
        let timeout = if self.long { POLL_TIMEOUT } else { SESSION_TIMEOUT };
        Extent {
            submissions_since_backup: if self.long { 100_000 } else { 3_000 },
            pause: timeout + BEYOND,
            mixed_faults: if self.long { 150 } else { 8 },
            seed: self.choice.seed,
        }
    }

    /// Whether what takes minutes is run too.
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// Items a second of each load.
    pub fn items_per_second(&self) -> u32 {
        self.rate.unwrap_or(if self.long { 500 } else { 200 })
    }

    /// Which ports are whose.
    pub fn ports(&self) -> Ports {
        Ports(self.port)
    }

    /// Where the logs of what failed are kept.
    pub fn logs() -> PathBuf {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults")
    }
}
