//! `penstock audit verify`: whether records and outcomes are still those of a digest.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::account::{Generation, LogPartition, Offset, Partition};
use crate::audit::{Audit, Digest, Extent, Finding, Scope, Stage, Telling};
use crate::cli::config::PlaceArgs;
use crate::cli::output::progress_spinner;
use crate::cli::process::{AnyStore, beside_ports, raise_limit};
use crate::cli::{Exit, Misused, options, runtime, unavailable};
use crate::settings::Loaded;
use crate::store::{OffsetRange, Replays};

use super::{ScratchArgs, read, refused, scope};

/// Jobs among which is looked for those that changed outcomes.
const JOBS: usize = 10_000;

/// Options of `penstock audit verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The digest
    #[arg(value_name = "FILE")]
    digest: PathBuf,
    /// The file that came before: whether the digest says so
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    #[command(flatten)]
    scratch: ScratchArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `penstock audit verify`.
pub(super) fn run(args: VerifyArgs) -> anyhow::Result<Exit> {
    let VerifyArgs { digest: path, previous, scratch, place } = args;
    let Loaded { settings, .. } = place.load()?;
    let bytes = read(&path)?;
    let digest = Digest::parse(&bytes);
    let digest = digest.map_err(|error| Misused(format!("{}: {error}", path.display())))?;
    if digest.generation != options::generation(&settings).0 {
        let told = format!(
            "the digest is of generation {} of the log, and queue.generation is {}",
            digest.generation, settings.queue.generation
        );
        return Err(Misused(told).into());
    }
    if digest.partitions.is_empty() {
        return Err(Misused(format!("{}: the digest is of nothing", path.display())).into());
    }
    let (mut follows, mut gaps) = (true, Vec::new());
    if let Some(previous) = &previous {
        let bytes = read(previous)?;
        follows = digest.follows(&bytes);
        let before = Digest::parse(&bytes);
        let before = before.map_err(|error| Misused(format!("{}: {error}", previous.display())))?;
        gaps = digest.gaps(&before);
    }
    let scope = Scope { receivers: Vec::new(), ..scope(&settings)? };
    let scratch = scratch.directory();
    raise_limit(None);
    runtime()?.block_on(beside_ports(&settings, async |queue, store| {
        let extent = Extent::Of(digest.ranges());
        let store = &store.with_tables_on_standby().await?;
        let audit = Audit { queue, store, scope, batch: None, extent, scratch, is_chained: true };
        let mut counted = Counted(progress_spinner("gone through"));
        let audited = audit.run(&mut counted).await.map_err(refused)?;
        counted.0.finish_and_clear();
        let differences = digest.differs_in(&audited.chains);
        let out = &mut io::stdout().lock();
        if let (false, Some(previous)) = (follows, &previous) {
            writeln!(out, "it does not name {} as the one before", previous.display())?;
        }
        for partition in &gaps {
            writeln!(out, "partition {partition}: it does not begin where the one before ended")?;
        }
        for (partition, from, to) in &differences {
            writeln!(
                out,
                "partition {partition}: a record or an outcome between offset {from} and offset {to} is another than on {}{}",
                digest.created_at,
                changed_by(store, Generation(digest.generation), (*partition, *from, *to)).await?
            )?;
        }
        if !follows || !gaps.is_empty() || !differences.is_empty() {
            return Ok(Exit::Differences);
        }
        let records: u64 = digest.partitions.iter().map(|chain| chain.records).sum();
        let sha256 = Digest::sha256_of(&bytes);
        writeln!(
            out,
            "{records} records and their outcomes are those of {}; the SHA-256 of the digest is {sha256}",
            digest.created_at
        )?;
        Ok(Exit::Ok)
    }))
}

/// The replays that changed outcomes in a part of the log.
async fn changed_by(
    store: &AnyStore,
    generation: Generation,
    (partition, from, to): (u32, u64, u64),
) -> anyhow::Result<String> {
    let log = LogPartition { generation, partition: Partition(partition) };
    let range = [OffsetRange { log, from: Offset(from), to: Offset(to) }];
    let mut names = Vec::new();
    for job in store.jobs(JOBS).await.map_err(unavailable)? {
        let changes = store.outcome_changes(&job.job.name, &range).await.map_err(unavailable)?;
        if !changes.is_empty() {
            names.push(job.job.name.to_string());
        }
    }
    Ok(if names.is_empty() {
        String::new()
    } else {
        format!("; the replay {} changed outcomes there", names.join(", "))
    })
}

/// Counts; what an audit finds is another matter.
struct Counted(indicatif::ProgressBar);

impl Telling for Counted {
    fn read(&mut self, stage: Stage, count: u64) {
        self.0.set_message(stage.as_str());
        self.0.inc(count);
    }

    fn found(&mut self, _: &Finding) {}
}
