//! `penstock migrate`: the schema of the production store, as a step of its own with its own rights.

use std::io::{self, Write};

use clap::Args;

use crate::settings::{Loaded, StoreKind};
use crate::store::postgres::migrate;

use super::config::ConfigFile;
use super::{Exit, Unavailable, options, runtime};

/// Options of `penstock migrate`.
#[derive(Args, Debug)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs `penstock migrate`.
pub(super) fn run(args: MigrateArgs) -> anyhow::Result<Exit> {
    let store = Loaded::from(args.config.sources())?.settings.store;
    let mut out = io::stderr();
    if store.kind == StoreKind::Sqlite {
        writeln!(out, "nothing to do: the embedded store (store.kind = \"sqlite\") migrates itself")?;
        return Ok(Exit::Ok);
    }
    let done = runtime()?
        .block_on(migrate(&options::postgres_store(&store.postgres)))
        .map_err(|error| Unavailable(format!("{:#}", anyhow::Error::from(error))))?;
    if done.from == done.to {
        writeln!(out, "the schema is up to date: version {}", done.to)?;
    } else {
        writeln!(out, "the schema went from version {} to {}", done.from, done.to)?;
    }
    Ok(Exit::Ok)
}
