//! `penstock operations list`: what operators did and asked for.

use std::io::{self, Write};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::config::PlaceArgs;
use crate::cli::moment::{Moment, now};
use crate::cli::output::{cell, note, table, time, write_json};
use crate::cli::process::beside_store;
use crate::cli::{Exit, unavailable};
use crate::store::{NewOperation, Operation, OperationSelection, Operations, OperatorCommand};

use super::output::{OperationJson, state};

/// Options of `penstock operations list`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListArgs {
    /// Those of this command
    #[arg(long, value_name = "COMMAND", value_parser = commands())]
    command: Option<OperatorCommand>,
    /// Those that this operator asked for, decided on or carried out: a name, or a name with its host
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// Those that were asked for then or later: a time such as 2026-11-24T08:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Those that were asked for before: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: u32,
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

fn commands() -> impl TypedValueParser<Value = OperatorCommand> {
    PossibleValuesParser::new(OperatorCommand::ALL.map(OperatorCommand::as_str))
        .try_map(|text| OperatorCommand::parse(&text).ok_or("unknown command"))
}

pub(super) async fn run(args: ListArgs) -> anyhow::Result<Exit> {
    let ListArgs { command, operator, since, until, limit, json, place } = args;
    let (settings, now) = (place.load()?.settings, now());
    let (from, to) = (since.map(|moment| moment.at(now)), until.map(|moment| moment.at(now)));
    let selection = OperationSelection { command, operator, from, to };
    let listed = beside_store(&settings, async |store| {
        store.operations(&selection, limit as usize).await.map_err(unavailable)
    });
    let listed = listed.await?;
    let mut out = io::stdout().lock();
    if json {
        listed.iter().try_for_each(|found| write_json(&mut out, &OperationJson::of(found)))?;
    } else if !listed.is_empty() {
        write_table(&mut out, &listed)?;
    }
    note(&match listed.len() {
        0 => "no operation is selected".to_owned(),
        count if count == limit as usize => format!("the last {count}; --limit shows more"),
        1 => "1 operation".to_owned(),
        count => format!("{count} operations"),
    })?;
    Ok(Exit::Ok)
}

fn write_table(out: &mut impl Write, listed: &[Operation]) -> io::Result<()> {
    let mut rows = table(["asked at", "operation", "command", "state", "by", "reason", "subject"]);
    for found in listed {
        let NewOperation { id, command, subject, by, reason, asked_at } = &found.operation;
        rows.add_row([
            time(*asked_at),
            id.to_string(),
            command.to_string(),
            state(found).to_owned(),
            cell(&by.operator),
            cell(reason.as_deref().unwrap_or_default()),
            cell(subject),
        ]);
    }
    writeln!(out, "{rows}")
}
