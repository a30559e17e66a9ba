//! `penstock load`: account batches over HTTP whose right outcomes are known, and a check of every
//! answer.

mod answers;
mod args;
mod body;
mod client;
mod draws;
mod expected;
mod feed;
mod mix;
mod pace;
mod report;
mod run;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Unavailable};
use answers::Answers;
use client::{ClientError, Target};
use feed::{Feed, Shape};
use report::Report;
use run::{Ended, Plan, RunError};

pub(super) use args::LoadArgs;

/// Runs the command to its end; an interrupt stops it after what has been answered.
pub(super) fn run(args: &LoadArgs) -> anyhow::Result<Exit> {
    if args.mix().total() > 1.0 {
        writeln!(io::stderr(), "error: --invalid, --repeat, --conflict and --update exceed 1 together")?;
        return Ok(Exit::Usage);
    }
    tokio::runtime::Runtime::new().context("the runtime cannot be started")?.block_on(async {
        let stop = CancellationToken::new();
        let interrupted = stop.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupted.cancel();
            }
        });
        send(args, &stop, &mut io::stdout().lock()).await
    })
}

/// Sends what `args` ask for, until `stop` is cancelled, and writes what came of it to `out`.
async fn send(args: &LoadArgs, stop: &CancellationToken, out: &mut impl Write) -> anyhow::Result<Exit> {
    let seed = args.seed.unwrap_or_else(random_seed);
    let ended = run::run(plan(args, seed)?, stop).await.map_err(explained)?;
    if ended.tally.items == 0 && ended.failure.is_some() {
        return exit(ended, seed);
    }
    let report = Report::new(seed, &ended);
    match args.output {
        args::Output::Table => report.write_table(out)?,
        args::Output::Json => report.write_json(out)?,
    }
    out.flush()?;
    exit(ended, seed)
}

fn plan(args: &LoadArgs, seed: u64) -> anyhow::Result<Plan> {
    let create = |path: &PathBuf| {
        Answers::create(path).with_context(|| format!("--answers {} cannot be written", path.display()))
    };
    let shape = Shape {
        items: args.items.get(),
        batch_size: u64::from(args.batch_size.get()),
        connections: u64::from(args.connections.get()),
        mix: args.mix(),
        business_unit: args.business_unit.clone(),
        account_type: args.account_type.clone(),
    };
    Ok(Plan {
        answers: args.answers.as_ref().map(create).transpose()?,
        connections: shape.connections,
        feed: Feed::new(seed, shape),
        items_per_second: args.rate,
        target: Target {
            url: args.url.clone(),
            token: args.token.clone(),
            wanted: args.wanted(),
            patience: args.patience,
        },
    })
}

fn exit(ended: Ended, seed: u64) -> anyhow::Result<Exit> {
    if let Some(failure) = ended.failure {
        let error = explained(failure);
        return Err(match ended.tally.items {
            0 => error,
            _ => error.context(format!("the same command with --seed {seed} resumes")),
        });
    }
    if ended.tally.checked.differences() > 0 {
        return Ok(Exit::Differences);
    }
    if ended.stopped {
        anyhow::bail!("interrupted; the same command with --seed {seed} resumes");
    }
    Ok(Exit::Ok)
}

/// Gives an error the exit code it stands for.
fn explained(error: RunError) -> anyhow::Error {
    match error {
        RunError::Client(ClientError::Unreachable { .. }) => Unavailable(error.to_string()).into(),
        RunError::Client(ClientError::Unusable { .. } | ClientError::Refused { .. })
        | RunError::Answers(_)
        | RunError::Histogram(_)
        | RunError::Task(_) => error.into(),
    }
}

/// A seed that no earlier run had; short enough to be typed.
fn random_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 >> 32
}
