//! `penstock replay plan`: how outcomes would change.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use clap::Args;

use crate::account::CommunicationNumber;
use crate::cli::config::PlaceArgs;
use crate::cli::moment::now;
use crate::cli::output::{note, progress_bar, shown};
use crate::cli::process::beside_ports;
use crate::cli::{Exit, Misused, options, unavailable};
use crate::replay::{Pass, Resolved, WindowError};
use crate::settings::Loaded;

use super::output::{Output, Tense, write};
use super::selection::SelectionArgs;

/// Numbers that are listed when they are not there.
const SHOWN: usize = 5;

/// Options of `penstock replay plan`.
#[derive(Args, Debug)]
pub(in crate::cli) struct PlanArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// How the changes are listed
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(args: PlanArgs) -> anyhow::Result<Exit> {
    let PlanArgs { selection, output, place } = args;
    let Loaded { settings, policy, .. } = place.load()?;
    let window = selection.window(now());
    let selection = selection.selection()?;
    let group = options::worker_group(&settings.queue);
    let (policy, digest) = (Arc::new(policy.clone()), policy.digest());
    beside_ports(&settings, async |queue, store| {
        let resolved = window.resolve(queue, store, group, options::generation(&settings)).await;
        let resolved = resolved.map_err(misused)?;
        tell_what_is_missing(&resolved)?;
        let pass =
            Pass::plan(queue, options::replay_way(&settings, &policy, store, selection), &resolved)
                .await;
        let mut pass = pass.map_err(unavailable)?;
        let progress = progress_bar(resolved.offsets(), "records");
        while pass.step().await.map_err(unavailable)? {
            progress.set_position(pass.report().read);
        }
        progress.finish_and_clear();
        write(&mut io::stdout().lock(), output, pass.report(), &digest, Tense::Would)?;
        must_be_met(pass.unmet())?;
        Ok(if pass.report().changed() > 0 { Exit::Differences } else { Exit::Ok })
    })
    .await
}

/// What is wrong with the window, or with what was asked.
pub(in crate::cli) fn misused(error: WindowError) -> anyhow::Error {
    match error {
        WindowError::Queue(error) => unavailable(error),
        WindowError::Store(error) => unavailable(error),
        WindowError::NoPartition { .. }
        | WindowError::PastTheEnd { .. }
        | WindowError::Backwards
        | WindowError::Empty => Misused(error.to_string()).into(),
    }
}

/// Tells which partitions do not reach back as far as the window may.
pub(super) fn tell_what_is_missing(resolved: &Resolved) -> io::Result<()> {
    for shortened in &resolved.shortened {
        note(&format!(
            "note: partition {} begins at offset {}: what lay before it in the window is deleted",
            shortened.partition.0, shortened.earliest.0
        ))?;
    }
    Ok(())
}

/// An error that names numbers which were asked for and are not there.
pub(super) fn must_be_met(numbers: &BTreeSet<CommunicationNumber>) -> Result<(), Misused> {
    if numbers.is_empty() {
        return Ok(());
    }
    let first: Vec<_> = numbers.iter().take(SHOWN).map(|number| shown(number.as_str())).collect();
    let more = if numbers.len() > SHOWN { ", …" } else { "" };
    Err(Misused(format!(
        "{} of the numbers do not lie in the window, or are not meant by the other options: {}{more}",
        numbers.len(),
        first.join(", ")
    )))
}
