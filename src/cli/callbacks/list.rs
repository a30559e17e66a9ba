//! `penstock callbacks list`: selected deliveries.

use std::io;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::Exit;
use crate::store::{Deliveries, DeliveryRecord, DeliveryState};

use super::output::{self, DeliveryJson};
use super::selection::{self, SelectionArgs};
use super::{StoreArgs, at_store, now, unavailable};

/// Options of `penstock callbacks list`.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Those in this state
    #[arg(long, value_parser = states())]
    state: Option<DeliveryState>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: u32,
    /// Tell how many there are, when there are more
    #[arg(long)]
    count: bool,
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

fn states() -> impl TypedValueParser<Value = DeliveryState> {
    PossibleValuesParser::new(DeliveryState::ALL.map(DeliveryState::as_str))
        .try_map(|text| DeliveryState::parse(&text).ok_or("unknown state"))
}

pub(super) async fn run(args: ListArgs) -> anyhow::Result<Exit> {
    let ListArgs { selection, state, limit, count, json, store } = args;
    let (selection, limit) = (selection.selection(state, now()), limit as usize);
    at_store(store, async |settings, store| {
        let listed = store.list(&selection, limit).await.map_err(unavailable)?;
        if json {
            let mut out = io::stdout().lock();
            for record in &listed {
                output::write_json(&mut out, &DeliveryJson::of(record))?;
            }
        } else if !listed.is_empty() {
            write_table(&listed)?;
        }
        let names = settings.callbacks.endpoints.iter().map(|endpoint| endpoint.name.as_str());
        if let Some(name) = &selection.endpoint
            && !names.into_iter().any(|known| known == name.as_str())
        {
            output::note(&format!("note: {}", selection::unknown(settings, name.as_str())))?;
        }
        if listed.len() < limit {
            output::note(&output::deliveries(listed.len() as u64))?;
            return Ok(Exit::Ok);
        }
        let listed = listed.len();
        if !count {
            output::note(&format!("the last {listed}; --limit shows more, --count how many there are"))?;
            return Ok(Exit::Ok);
        }
        let all = store.count(&selection, None).await.map_err(unavailable)?;
        let more = if all.count > limit as u64 { "; --limit shows more" } else { "" };
        output::note(&format!("the last {listed} of {}{more}", output::counted(all)))?;
        Ok(Exit::Ok)
    })
    .await
}

/// Writes deliveries as a table.
pub(super) fn write_table(records: &[DeliveryRecord]) -> io::Result<()> {
    use io::Write;
    let mut table = output::table([
        "since",
        "endpoint",
        "event",
        "number",
        "state",
        "attempts",
        "last answer",
        "next attempt",
    ]);
    for record in records {
        table.add_row([
            output::time(record.since),
            record.key.endpoint.to_string(),
            record.key.event.to_string(),
            output::cell(&record.number),
            record.state.as_str().to_owned(),
            record.attempts.to_string(),
            record.last_attempt.as_ref().map(output::status).unwrap_or_default(),
            output::optional_time(record.due_at),
        ]);
    }
    writeln!(io::stdout(), "{table}")
}
