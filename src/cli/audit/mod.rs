//! `penstock audit`: whether in equals out, and what breaks it.

mod output;
mod verify;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::account::CommunicationNumber;
use crate::audit::{Audit, AuditError, Audited, Digest, Extent, Scope};
use crate::queue::BatchId;
use crate::replay::{Bound, Window};
use crate::settings::{Loaded, Settings};

use super::config::PlaceArgs;
use super::moment::now;
use super::numbers::{parse_number, read_numbers};
use super::output::note;
use super::process::{CALLBACKS_GROUP, beside_ports, raise_limit};
use super::replay::misused;
use super::window::WindowArgs;
use super::{Exit, Misused, callback_options, options, runtime, unavailable};

use output::{Output, Printer};

/// Options of `penstock audit`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    audit: RunArgs,
    #[command(subcommand)]
    command: Option<AuditCommand>,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Make the chain over records and outcomes of a digest anew, and say in which parts it is another. Ends with 3
    /// if it is
    #[command(
        before_help = "Example: penstock audit verify 2026-11-27.digest --previous 2026-11-26.digest"
    )]
    Verify(verify::VerifyArgs),
}

#[derive(Args, Debug)]
struct RunArgs {
    #[command(flatten)]
    window: WindowArgs,
    /// The communications of this batch alone
    #[arg(long, value_name = "ID", conflicts_with_all = ["number", "numbers"])]
    batch: Option<Uuid>,
    /// This communicationNumber alone; may be given again
    #[arg(long, value_name = "NUMBER", value_parser = parse_number)]
    number: Vec<CommunicationNumber>,
    /// The communicationNumbers that are the lines of this file alone; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "number")]
    numbers: Option<PathBuf>,
    /// Whether every account is what the last of its accepted submissions made it, too
    #[arg(long)]
    deep: bool,
    /// Write sums, and a chain of digests over records and outcomes, to this file, which is not there yet
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "number", "numbers"])]
    digest: Option<PathBuf>,
    /// The digest that was written before; the new one names it, and goes on where it ended unless --since or
    /// --from-offset says from where
    #[arg(long, value_name = "FILE", requires = "digest")]
    previous: Option<PathBuf>,
    /// How findings and sums are told
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    scratch: ScratchArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Where what is compared is kept meanwhile.
#[derive(Args, Debug)]
struct ScratchArgs {
    /// Where what is compared is kept meanwhile: about 500 bytes for each submission of the window and row of the
    /// store. It has no names there, and is gone afterwards [default: the system's directory for such files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

impl ScratchArgs {
    fn directory(self) -> PathBuf {
        self.scratch.unwrap_or_else(std::env::temp_dir)
    }
}

/// Runs `penstock audit`.
pub(super) fn run(args: AuditArgs) -> anyhow::Result<Exit> {
    match args.command {
        Some(AuditCommand::Verify(args)) => verify::run(args),
        None => audit(args.audit),
    }
}

fn audit(args: RunArgs) -> anyhow::Result<Exit> {
    let RunArgs { window, batch, number, numbers, deep, digest, previous, output, scratch, place } =
        args;
    let Loaded { settings, .. } = place.load()?;
    let numbers = match &numbers {
        Some(file) => Some(read_numbers(file)?),
        None => Some(number.into_iter().collect::<BTreeSet<_>>()).filter(|it| !it.is_empty()),
    };
    let previous = previous.as_deref().map(read).transpose()?;
    let before = previous.as_deref().map(Digest::parse).transpose();
    let before = before.map_err(|error| Misused(format!("--previous: {error}")))?;
    // Before anything is read: what cannot be written in the end is known at the beginning.
    let file = digest.as_deref().map(begun).transpose()?;
    let window = window.window(now());
    let scope = Scope { numbers, is_deep: deep, window, ..scope(&settings)? };
    let generation = scope.generation;
    let extent = extent(&scope, before.as_ref());
    let scratch = scratch.directory();
    raise_limit(None);
    runtime()?.block_on(beside_ports(&settings, async |queue, store| {
        let batch = batch.map(BatchId);
        let is_chained = file.is_some();
        let store = &store.with_tables_on_standby().await?;
        let audit = Audit { queue, store, scope, batch, extent, scratch, is_chained };
        let mut printer = Printer::new(output);
        let audited = audit.run(&mut printer).await.map_err(refused)?;
        let Audited { counts, .. } = &audited;
        printer.end(counts)?;
        if let (Some(file), Some(path)) = (file, &digest) {
            let json = Digest::of(&audited, generation.0, now(), previous.as_deref()).to_json()?;
            finished(file, &json, path).with_context(|| format!("writing {}", path.display()))?;
            let sha256 = Digest::sha256_of(&json);
            note(&format!("the digest is in {}, its SHA-256 is {sha256}", path.display()))?;
        }
        Ok(if counts.balance() { Exit::Ok } else { Exit::Differences })
    }))
}

/// Unless it is said from where, a digest goes on where the one before ended. A log that has begun anew since is new from its
/// beginning.
fn extent(scope: &Scope, before: Option<&Digest>) -> Extent {
    let is_of_this_log = |before: &&Digest| before.generation == scope.generation.0;
    match before.filter(is_of_this_log) {
        Some(before) if scope.window.from == Bound::Open => Extent::After(before.ranges()),
        _ => Extent::All,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Misused> {
    std::fs::read(path).map_err(|error| Misused(format!("{}: {error}", path.display())))
}

/// A file beside the one that is to be written, so that this is there whole or not at all.
fn begun(path: &Path) -> Result<NamedTempFile, Misused> {
    let refused = |why: &dyn std::fmt::Display| Misused(format!("--digest {}: {why}", path.display()));
    if path.exists() {
        return Err(refused(&"the file exists"));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    NamedTempFile::new_in(directory.unwrap_or(Path::new("."))).map_err(|error| refused(&error))
}

fn finished(mut file: NamedTempFile, json: &[u8], path: &Path) -> std::io::Result<()> {
    file.write_all(json)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// All there is of the system that the settings describe.
fn scope(settings: &Settings) -> anyhow::Result<Scope> {
    let callbacks = &settings.callbacks;
    Ok(Scope {
        generation: options::generation(settings),
        workers: options::worker_group(&settings.queue).to_owned(),
        callbacks: CALLBACKS_GROUP.to_owned(),
        window: Window::whole(),
        numbers: None,
        receivers: callback_options::receivers(callbacks)?,
        deliveries_kept: callbacks.retention.duration(),
        is_deep: false,
        limits: options::reading(settings),
    })
}

fn refused(error: AuditError) -> anyhow::Error {
    match error {
        AuditError::Window(error) => misused(error),
        AuditError::Queue(_) | AuditError::Store(_) | AuditError::Spill(_) | AuditError::Chain(_) => {
            unavailable(error)
        }
        AuditError::NoBatch(_)
        | AuditError::NoNumbers(_)
        | AuditError::Deleted { .. }
        | AuditError::Gap { .. }
        | AuditError::Ahead { .. }
        | AuditError::NotThatLog { .. } => Misused(error.to_string()).into(),
    }
}
