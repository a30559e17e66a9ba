//! `penstock operations show`: one operation.

use std::io;

use clap::Args;

use crate::cli::Exit;
use crate::cli::config::PlaceArgs;
use crate::cli::operator::parse_operation;
use crate::cli::output::write_json;
use crate::cli::process::beside_store;
use crate::store::OperationId;

use super::find;
use super::output::{OperationJson, write_text};

/// Options of `penstock operations show`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ShowArgs {
    /// Its id
    #[arg(value_name = "ID", value_parser = parse_operation)]
    id: OperationId,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(args: ShowArgs) -> anyhow::Result<Exit> {
    let ShowArgs { id, json, place } = args;
    let settings = place.load()?.settings;
    let found = beside_store(&settings, async |store| find(store, id).await).await?;
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &OperationJson::of(&found))?;
    } else {
        write_text(&mut out, &found)?;
    }
    Ok(Exit::Ok)
}
