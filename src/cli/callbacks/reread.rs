//! `penstock callbacks reread`: what the results topic still holds is gone through again.

use clap::Args;
use serde_json::json;

use crate::callbacks::Reread;
use crate::cli::Exit;
use crate::cli::operator::{OptionalReasonArgs, Said};
use crate::cli::process::{CALLBACKS_GROUP, at_ports};
use crate::cli::recorded::{Intended, recorded};
use crate::queue::Topic;
use crate::store::OperatorCommand;

use super::StoreArgs;
use super::output::note;

/// What is gone through.
const TOPIC: Topic = Topic::Results;

/// Options of `penstock callbacks reread`.
#[derive(Args, Debug)]
pub(super) struct RereadArgs {
    /// Do it
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    reason: OptionalReasonArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: RereadArgs) -> anyhow::Result<Exit> {
    let RereadArgs { apply, reason, store } = args;
    let settings = store.settings()?;
    at_ports(&settings, async |queue, store| {
        let reread = Reread::of(queue, CALLBACKS_GROUP).await.map_err(crate::cli::unavailable)?;
        let places = reread.places();
        if places == 0 {
            note("the role reads accounts.results from its beginning as it is")?;
            return Ok(Exit::Ok);
        }
        if !apply {
            note(&format!(
                "up to {places} events would be gone through again: an endpoint gets those since its \
                 deliver_from that are not recorded as its deliveries; nothing is changed, --apply does it"
            ))?;
            return Ok(Exit::Differences);
        }
        let grounds = Said::from(reason).grounds(&settings, store).await?;
        let (command, subject) = (OperatorCommand::CallbacksReread, json!({ "topic": TOPIC.name() }));
        let carry_out = async || {
            reread.carry_out(queue, CALLBACKS_GROUP).await.map_err(crate::cli::unavailable)?;
            note(&format!(
                "up to {places} events are gone through again when `penstock callbacks run` starts"
            ))?;
            Ok(Exit::Ok)
        };
        let intended = Intended { command, subject, grounds };
        Ok(recorded(&settings, store, intended, carry_out).await?.exit())
    })
    .await
}
