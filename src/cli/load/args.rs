//! The options of `penstock load`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::Url;

use super::client::Wanted;
use super::mix::{Mix, Share};

/// Sends account batches whose right outcomes are known, and checks every answer.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The same seed and options send the same items, and the same items have the same \
                  outcomes however often they are sent: an interrupted run is resumed by running it \
                  again with its seed.\n\
                  Outcomes are those of the default rules, without reference lists."
)]
pub(crate) struct LoadArgs {
    /// How many items to send.
    #[arg(long, default_value = "10000")]
    pub(super) items: NonZeroU64,
    /// Items of one batch.
    #[arg(long, default_value = "1000")]
    pub(super) batch_size: NonZeroU32,
    /// Connections, each with one batch at a time.
    #[arg(long, default_value = "4")]
    pub(super) connections: NonZeroU32,
    /// Items per second of all connections together [default: as many as go].
    #[arg(long, value_parser = parse_rate)]
    pub(super) rate: Option<f64>,
    /// Seed of the items [default: another one each time; it is reported].
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Share of items that are against a rule: 0.02 or 2%.
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = Share::parse)]
    pub(super) invalid: Share,
    /// Share of items that were sent before.
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = Share::parse)]
    pub(super) repeat: Share,
    /// Share of items that take a used number for other content.
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = Share::parse)]
    pub(super) conflict: Share,
    /// Share of items that replace the data of an account.
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = Share::parse)]
    pub(super) update: Share,
    /// Business unit of every account.
    #[arg(long, default_value = "sandbox")]
    pub(super) business_unit: String,
    /// Type of every account [default: none].
    #[arg(long, value_name = "TYPE")]
    pub(super) account_type: Option<String>,
    /// Address of the server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(super) url: Url,
    /// Bearer token.
    #[arg(long, env = "PENSTOCK_TOKEN", hide_env_values = true, default_value = "dev")]
    pub(super) token: String,
    /// How long the server is asked to wait for outcomes.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(super) wait: Duration,
    /// Ask the server to answer once a batch is durably queued; outcomes are not waited for.
    #[arg(long, conflicts_with_all = ["wait", "answers"])]
    pub(super) respond_async: bool,
    /// How long a batch is tried again without any progress.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub(super) patience: Duration,
    /// File for the answer to every item, as one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub(super) answers: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: one JSON object.
    Json,
}

impl LoadArgs {
    /// What the server is asked to answer.
    pub(super) fn wanted(&self) -> Wanted {
        if self.respond_async { Wanted::Queued } else { Wanted::Outcomes { wait: self.wait } }
    }

    /// What the items are made of.
    pub(super) fn mix(&self) -> Mix {
        Mix { invalid: self.invalid, repeat: self.repeat, conflict: self.conflict, update: self.update }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a rate is a number of items per second above 0".into()),
    }
}
