//! `penstock export`: all that a log holds, copied to another one.

use std::path::PathBuf;

use clap::Args;

use crate::replay::{Move, MoveError, Moved};
use crate::settings::{Loaded, Settings};

use super::config::PlaceArgs;
use super::output::{note, progress_spinner};
use super::process::at_ports;
use super::{Exit, Misused, options, runtime, unavailable};

/// Options of `penstock export`.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// The configuration of the installation that is copied to. Its topics are there and empty, and so is its store.
    /// Settings of the environment hold for both
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `penstock export`.
pub(super) fn run(args: ExportArgs) -> anyhow::Result<Exit> {
    let ExportArgs { to, place } = args;
    let Loaded { settings: from, .. } = place.load()?;
    let Loaded { settings: target, .. } = PlaceArgs::of(to.clone()).load()?;
    if is_same(&from, &target) {
        let told = format!("{} names the log that is copied: name another one", to.display());
        return Err(Misused(told).into());
    }
    let moved = runtime()?.block_on(at_ports(&from, async |queue, _| {
        at_ports(&target, async |other, _| {
            let copying = Move {
                from: queue,
                to: other,
                generation: options::generation(&target),
                workers: options::worker_group(&from.queue),
                limits: options::reading(&from),
            };
            let progress = progress_spinner("records copied");
            let moved = copying.run(|count| progress.inc(count)).await;
            progress.finish_and_clear();
            moved.map_err(refused)
        })
        .await
    }))?;
    let Moved { submitted, results, dead_letters } = moved;
    note(&format!(
        "copied {submitted} submissions, {results} results and {dead_letters} dead letters; fill the store with: penstock \
         replay run moved --config {} --from beginning --no-events --reason moved",
        to.display()
    ))?;
    Ok(Exit::Ok)
}

fn is_same(from: &Settings, to: &Settings) -> bool {
    let name = |settings: &Settings| {
        let kafka = &settings.queue.kafka;
        let of_kafka = (kafka.brokers.clone(), kafka.topic_prefix.clone());
        (settings.queue.kind, settings.data_dir.clone(), of_kafka)
    };
    let ((from_kind, from_dir, from_topics), (kind, dir, topics)) = (name(from), name(to));
    let is_embedded = kind == crate::settings::QueueKind::Sqlite;
    from_kind == kind && if is_embedded { from_dir == dir } else { from_topics == topics }
}

fn refused(error: MoveError) -> anyhow::Error {
    match error {
        MoveError::NotAtRest { .. } | MoveError::NotEmpty { .. } | MoveError::Deleted { .. } => {
            Misused(error.to_string()).into()
        }
        MoveError::Disturbed { .. } | MoveError::Grown { .. } => anyhow::Error::from(error),
        MoveError::Queue(_) => unavailable(error),
    }
}
