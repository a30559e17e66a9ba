//! What is to be run.

use std::path::PathBuf;

use uuid::Uuid;

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

/// The command line.
pub struct Options {
    pub extent: Extent,
    /// Only what has one of these in its name; everything but measurements when empty.
    pub names: Vec<String>,
    pub is_list: bool,
}

const USAGE: &str = "usage: callbacks_production [--long] [--seed N] [--kills N] [--rate ITEMS_PER_SECOND] \
                     [--backlog N] [--events N] [--list] [NAME…]";

impl Options {
    /// Reads the command line; an error is what to say.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut extent = Extent {
            seed: Uuid::new_v4().as_u64_pair().0 >> 32,
            kills: 20,
            items_per_second: 40,
            disturbances: 8,
            backlog: 20_000,
            measured: 20_000,
            logs: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("callbacks"),
        };
        let (mut names, mut is_list) = (Vec::new(), false);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| USAGE.to_owned());
            match argument.as_str() {
                "--long" => {
                    extent.kills = 100;
                    extent.items_per_second = 100;
                    extent.disturbances = 50;
                    extent.backlog = 1_000_000;
                }
                "--seed" => extent.seed = number(value()?)?,
                "--kills" => extent.kills = number(value()?)?,
                "--rate" => extent.items_per_second = number(value()?)?,
                "--backlog" => extent.backlog = number(value()?)?,
                "--events" => extent.measured = number(value()?)?,
                "--list" => is_list = true,
                // What cargo may pass to every test program.
                "--nocapture" | "--quiet" | "-q" => {}
                name if !name.starts_with('-') => names.push(name.to_owned()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(Self { extent, names, is_list })
    }

    /// Whether something of this name is to be run.
    pub fn includes(&self, name: &str, is_measurement: bool) -> bool {
        let is_named = self.names.iter().any(|wanted| name.contains(wanted.as_str()));
        is_named || (self.names.is_empty() && !is_measurement)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| USAGE.to_owned())
}
