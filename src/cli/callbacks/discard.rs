//! `penstock callbacks discard`: what is parked or waits for an endpoint is given up.

use std::io;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::operator::{OptionalReasonArgs, Said};
use crate::cli::recorded::{Intended, recorded};
use crate::cli::{Exit, Misused};
use crate::store::{
    Counted, Deliveries, DeliveryState, GivingUp, OperatorCommand, Selection, StoreError,
};

use super::output::{counted, deliveries, note, shown};
use super::selection::{SelectionArgs, subject};
use super::{StoreArgs, at_store, list, now, unavailable};

/// Deliveries given up at a time, so that the processes that deliver are not held up for long.
const STEP: usize = 5_000;
/// Deliveries that a dry run shows.
const SHOWN: usize = 10;

/// Options of `penstock callbacks discard`.
#[derive(Args, Debug)]
pub(super) struct DiscardArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Only those in this state
    #[arg(long, value_enum)]
    state: Option<Discardable>,
    #[command(flatten)]
    reason: OptionalReasonArgs,
    /// Do it
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A state in which a delivery may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Discardable {
    Parked,
    Waiting,
}

impl Discardable {
    fn state(self) -> DeliveryState {
        match self {
            Self::Parked => DeliveryState::Parked,
            Self::Waiting => DeliveryState::Waiting,
        }
    }
}

pub(super) async fn run(args: DiscardArgs) -> anyhow::Result<Exit> {
    let DiscardArgs { selection, state, reason, apply, store } = args;
    if selection.endpoint.is_none() {
        let what = "discard needs --endpoint: whose deliveries are given up?";
        return Err(Misused(what.to_owned()).into());
    }
    at_store(store, async |settings, store| {
        let grounds = Said::from(reason).grounds(settings, store).await?;
        let selection = selection.selection(state.map(Discardable::state), grounds.at);
        let live = live(store, &selection).await.map_err(unavailable)?;
        if live.count == 0 {
            note("nothing that is selected is parked or waits")?;
            return Ok(Exit::Ok);
        }
        if !apply {
            for selection in each_live(&selection) {
                let listed = store.list(&selection, SHOWN).await.map_err(unavailable)?;
                if !listed.is_empty() {
                    list::write_table(&listed)?;
                }
            }
            note(&format!("{} would be given up; nothing is changed, --apply does it", counted(live)))?;
            return Ok(Exit::Differences);
        }
        // What is parked meanwhile is another matter.
        let selection = Selection { to: selection.to.or(Some(grounds.at)), ..selection };
        let reason = grounds.reason().map(shown);
        let reason = reason.map_or_else(|| "discarded".to_owned(), |why| format!("discarded: {why}"));
        let (command, subject) = (OperatorCommand::CallbacksDiscard, subject(&selection, None));
        let intended = Intended { command, subject, grounds };
        let give_up = async || {
            let lease = settings.callbacks.lease.duration();
            let done = carry_out(store, &selection, &reason, lease).await.map_err(unavailable)?;
            tell(done, live, lease)?;
            Ok(Exit::Ok)
        };
        Ok(recorded(settings, store, intended, give_up).await?.exit())
    })
    .await
}

/// Tells what was given up, and what could not be yet.
fn tell(done: u64, live: Counted, lease: Duration) -> io::Result<()> {
    note(&format!("{} given up; `penstock callbacks redeliver` takes them up again", deliveries(done)))?;
    if done < live.count {
        let lease = humantime::format_duration(lease);
        note(&format!(
            "{} under way, or due within {lease}: once more after that takes them too",
            deliveries(live.count - done)
        ))?;
    }
    Ok(())
}

/// The selection in each state that it takes and that has not ended.
fn each_live(selection: &Selection) -> impl Iterator<Item = Selection> + '_ {
    let is_meant = |state: &DeliveryState| selection.state.is_none_or(|only| only == *state);
    let states = DeliveryState::LIVE.into_iter().filter(is_meant);
    states.map(|state| Selection { state: Some(state), ..selection.clone() })
}

/// How many are selected that have not ended.
async fn live(store: &impl Deliveries, selection: &Selection) -> Result<Counted, StoreError> {
    let mut live = Counted::default();
    for selection in each_live(selection) {
        live = live.and(store.count(&selection, None).await?);
    }
    Ok(live)
}

/// Gives everything selected up, slice by slice; tells how much.
async fn carry_out(
    store: &impl Deliveries,
    selection: &Selection,
    reason: &str,
    lease: Duration,
) -> Result<u64, StoreError> {
    let mut done = 0;
    loop {
        let now = now();
        let giving_up = GivingUp { reason: reason.to_owned(), now, leases_end: now.later(lease) };
        let given_up = store.give_up(selection, &giving_up, STEP).await?;
        if given_up == 0 {
            return Ok(done);
        }
        done += given_up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_not_ended_is_meant() {
        let states = |state| {
            let selection = Selection { state, ..Selection::default() };
            each_live(&selection).filter_map(|selection| selection.state).collect::<Vec<_>>()
        };
        assert_eq!(states(None), [DeliveryState::Waiting, DeliveryState::Parked]);
        assert_eq!(states(Some(DeliveryState::Parked)), [DeliveryState::Parked]);
        assert_eq!(states(Some(DeliveryState::Delivered)), []);
    }
}
