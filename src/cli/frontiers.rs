//! `penstock frontiers`: how far each partition of the submitted topic is applied and committed, and the
//! way past records that the log has lost.

use std::io::{self, Write};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::account::{Offset, Partition};
use crate::store::OperatorCommand;
use crate::worker::{Standing, standings};

use super::config::PlaceArgs;
use super::operator::{ReasonArgs, Said};
use super::output::{note, shown};
use super::process::at_ports;
use super::recorded::{Intended, recorded};
use super::{Exit, options, runtime};

/// Options of `penstock frontiers`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct FrontiersArgs {
    #[command(flatten)]
    list: ListArgs,
    /// What to change; without one the partitions are listed
    #[command(subcommand)]
    command: Option<FrontiersCommand>,
}

#[derive(Debug, Subcommand)]
enum FrontiersCommand {
    /// Move a partition past records that its log has lost before they were processed; shows what it would
    /// do unless it is to be applied. Workers must be stopped
    #[command(
        before_help = "Example: penstock frontiers skip --partition 3 --to 4711 --reason ticket-12 --apply"
    )]
    Skip(SkipArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Args, Debug)]
struct SkipArgs {
    /// The partition
    #[arg(long, value_name = "NUMBER")]
    partition: u32,
    /// The first offset to process: the first one the log still holds
    #[arg(long, value_name = "OFFSET")]
    to: u64,
    #[command(flatten)]
    reason: ReasonArgs,
    /// Do it
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// One partition, for programs.
#[derive(Debug, Serialize)]
struct StandingJson {
    partition: u32,
    applied: Option<u64>,
    committed: Option<u64>,
    earliest: u64,
    end: u64,
    missing_from: Option<u64>,
    missing_to: Option<u64>,
    refusal: Option<String>,
    /// What a worker that starts with it cannot know before it has read it back.
    doubt: Option<String>,
}

impl From<&Standing> for StandingJson {
    fn from(standing: &Standing) -> Self {
        let missing = standing.missing();
        Self {
            partition: standing.log.partition.0,
            applied: standing.applied.map(|offset| offset.0),
            committed: standing.committed.map(|offset| offset.0),
            earliest: standing.earliest.0,
            end: standing.end.0,
            missing_from: missing.as_ref().map(|missing| missing.start.0),
            missing_to: missing.map(|missing| missing.end.0),
            refusal: standing.refusal().map(|refusal| refusal.to_string()),
            doubt: standing.unvouched().map(|doubt| doubt.to_string()),
        }
    }
}

/// Runs `penstock frontiers`.
pub(super) fn run(args: FrontiersArgs) -> anyhow::Result<Exit> {
    match args.command {
        None => runtime()?.block_on(list(args.list)),
        Some(FrontiersCommand::Skip(args)) => runtime()?.block_on(skip(args)),
    }
}

async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let settings = args.place.load()?.settings;
    at_ports(&settings, async |queue, store| {
        let group = options::worker_group(&settings.queue);
        let standings = standings(queue, store, group, options::generation(&settings)).await?;
        let mut out = io::stdout().lock();
        for standing in &standings {
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&StandingJson::from(standing))?)?;
            } else {
                writeln!(out, "{}", line(standing))?;
            }
        }
        let is_wrong =
            |standing: &Standing| standing.refusal().is_some() || standing.unvouched().is_some();
        Ok(if standings.iter().any(is_wrong) { Exit::Differences } else { Exit::Ok })
    })
    .await
}

fn line(standing: &Standing) -> String {
    let offset = |offset: Option<Offset>| offset.map_or("-".to_owned(), |offset| offset.0.to_string());
    let line = format!(
        "partition {}  applied {}  committed {}  log {}..{}",
        standing.log.partition.0,
        offset(standing.applied),
        offset(standing.committed),
        standing.earliest.0,
        standing.end.0
    );
    match (standing.refusal(), standing.unvouched()) {
        (Some(refusal), _) => format!("{line}\n  refused: {refusal}"),
        (None, Some(doubt)) => format!("{line}\n  in doubt: {doubt}"),
        (None, None) => line,
    }
}

async fn skip(args: SkipArgs) -> anyhow::Result<Exit> {
    let SkipArgs { partition, to, reason, apply, place } = args;
    let settings = place.load()?.settings;
    let said = Said::from(reason);
    at_ports(&settings, async |queue, store| {
        let group = options::worker_group(&settings.queue);
        let generation = options::generation(&settings);
        let standings = standings(queue, store, group, generation).await?;
        let standing = standings
            .iter()
            .find(|standing| standing.log.partition == Partition(partition))
            .ok_or_else(|| anyhow!("there is no partition {partition}"))?;
        let skip = standing.skip(Offset(to))?;
        if !apply {
            note(&format!("{}\nit would be read from offset {to} on; --apply does it", line(standing)))?;
            return Ok(Exit::Differences);
        }
        let grounds = said.grounds(&settings, store).await?;
        let reason = shown(grounds.reason().unwrap_or_default());
        let subject = json!({ "generation": generation.0, "partition": partition, "to": to });
        let intended = Intended { command: OperatorCommand::FrontiersSkip, subject, grounds };
        let carry_out = async || {
            skip.carry_out(queue, store, group).await?;
            tracing::warn!(
                partition,
                to,
                reason,
                "a partition was moved past records that the log has lost"
            );
            note(&format!("{}\nit is read from offset {to} on: {reason}", line(standing)))?;
            Ok(Exit::Ok)
        };
        Ok(recorded(&settings, store, intended, carry_out).await?.exit())
    })
    .await
}
