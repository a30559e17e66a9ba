//! What is to be run.

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use crate::faults::Extent;
use crate::installation::{POLL_TIMEOUT, SESSION_TIMEOUT};
use crate::servers::Ports;

/// First of the ports that are used, unless another is asked for.
const FIRST_PORT: u16 = 26_000;

/// How much longer than a timeout a pause lasts.
const BEYOND: Duration = Duration::from_secs(4);

/// The command line.
pub struct Options {
    pub extent: Extent,
    /// Only what has one of these in its name; everything when empty.
    pub names: Vec<String>,
    pub is_list: bool,
    pub ports: Ports,
    /// Where the servers are and stay; none for servers that go with the run.
    pub servers: Option<PathBuf>,
    /// Where the logs of what failed are kept.
    pub logs: PathBuf,
    /// Items per second of each load.
    pub items_per_second: u32,
}

const USAGE: &str = "usage: faults [--long] [--seed N] [--rate ITEMS_PER_SECOND] [--port FIRST] \
                     [--servers DIR] [--list] [NAME…]";

impl Options {
    /// Reads the command line; an error is what to say.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            extent: Extent {
                submissions_since_backup: 3_000,
                pause: SESSION_TIMEOUT + BEYOND,
                mixed_faults: 8,
                seed: new_seed(),
            },
            names: Vec::new(),
            is_list: false,
            ports: Ports(FIRST_PORT),
            servers: None,
            logs: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults"),
            items_per_second: 200,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| USAGE.to_owned());
            match argument.as_str() {
                "--long" => {
                    options.extent.submissions_since_backup = 100_000;
                    options.extent.pause = POLL_TIMEOUT + BEYOND;
                    options.extent.mixed_faults = 150;
                    options.items_per_second = options.items_per_second.max(500);
                }
                "--seed" => options.extent.seed = number(value()?)?,
                "--rate" => options.items_per_second = number(value()?)?,
                "--port" => options.ports = Ports(number(value()?)?),
                "--servers" => options.servers = Some(PathBuf::from(value()?)),
                "--list" => options.is_list = true,
                // What cargo may pass to every test program.
                "--nocapture" | "--quiet" | "-q" => {}
                name if !name.starts_with('-') => options.names.push(name.to_owned()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether something of this name is to be run.
    pub fn includes(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| name.contains(wanted.as_str()))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| USAGE.to_owned())
}

/// Short enough to be typed.
fn new_seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0 >> 32
}
