//! `penstock callbacks redeliver`: selected deliveries are due anew.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::Exit;
use crate::cli::operator::{OptionalReasonArgs, Said};
use crate::cli::recorded::{Intended, recorded};
use crate::settings::Settings;
use crate::store::{
    Availability, Counted, Deliveries, DeliveryState, Mark, OperatorCommand, Redelivered, Selection,
    StoreError,
};

use super::change::try_anew;
use super::output::{counted, deliveries, note};
use super::selection::{SelectionArgs, configured, subject};
use super::{StoreArgs, at_store, list, now, unavailable};

/// Deliveries changed at a time, so that the processes that deliver are not held up for long.
const STEP: usize = 10_000;
/// Deliveries that a dry run shows.
const SHOWN: usize = 10;

/// Options of `penstock callbacks redeliver`.
#[derive(Args, Debug)]
pub(super) struct RedeliverArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Those in this state: what was given up, what is parked until later, or what was acknowledged
    #[arg(long, value_enum, default_value_t = Redeliverable::Exhausted)]
    state: Redeliverable,
    /// At most so many: of what was given up those recorded first, of what was acknowledged those first that were
    /// first [default: all]
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    #[command(flatten)]
    reason: OptionalReasonArgs,
    /// Do it, although it is more than one delivery
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A state from which a delivery may be made due anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Redeliverable {
    Exhausted,
    Parked,
    Delivered,
}

impl Redeliverable {
    fn state(self) -> DeliveryState {
        match self {
            Self::Exhausted => DeliveryState::Exhausted,
            Self::Parked => DeliveryState::Parked,
            Self::Delivered => DeliveryState::Delivered,
        }
    }
}

pub(super) async fn run(args: RedeliverArgs) -> anyhow::Result<Exit> {
    let RedeliverArgs { selection, state, limit, reason, apply, store } = args;
    at_store(store, async |settings, store| {
        let grounds = Said::from(reason).grounds(settings, store).await?;
        let selection = selection.selection(Some(state.state()), grounds.at);
        let selection = Selection { to: grounds.until(selection.to), ..selection };
        if let Some(name) = &selection.endpoint {
            configured(settings, name.as_str())?;
        }
        let selected = store.count(&selection, limit).await.map_err(unavailable)?;
        let planned = at_most(selected, limit);
        let name = selection.state.map(DeliveryState::as_str).unwrap_or_default();
        if planned.count == 0 {
            note(&format!("no {name} delivery is selected"))?;
            return tell_others(store, &selection).await;
        }
        if planned.count > 1 && !apply {
            list::write_table(&store.list(&selection, SHOWN).await.map_err(unavailable)?)?;
            let more = if planned.may_be_more { "at least " } else { "" };
            note(&format!(
                "{more}{} {name} deliveries would be due now; nothing is changed, --apply does it",
                planned.count
            ))?;
            return Ok(Exit::Differences);
        }
        let (command, subject) = (OperatorCommand::CallbacksRedeliver, subject(&selection, limit));
        let intended = Intended { command, subject, grounds };
        let redeliver = async || {
            let wanted = Wanted { selection: &selection, state, limit, planned };
            make_due(settings, store, &wanted).await
        };
        Ok(recorded(settings, store, intended, redeliver).await?.exit())
    })
    .await
}

/// What is to be due anew.
struct Wanted<'a> {
    selection: &'a Selection,
    state: Redeliverable,
    limit: Option<u64>,
    planned: Counted,
}

/// Makes what is wanted due, and tells what came of it.
async fn make_due(
    settings: &Settings,
    store: &impl Deliveries,
    wanted: &Wanted<'_>,
) -> anyhow::Result<Exit> {
    let Wanted { selection, state, limit, planned } = *wanted;
    let lease = settings.callbacks.lease.duration();
    let done = carry_out(store, selection, state, lease, limit).await.map_err(unavailable)?;
    let endpoints = settings.callbacks.endpoints.iter().map(|endpoint| endpoint.name.as_str());
    let is_meant =
        |name: &str| selection.endpoint.as_ref().is_none_or(|selected| selected.as_str() == name);
    for name in endpoints.filter(|name| is_meant(name)) {
        try_anew(store, name).await?;
    }
    note(&format!("{} due now", be(done)))?;
    if state == Redeliverable::Parked && done < planned.count {
        let lease = humantime::format_duration(lease);
        note(&format!("{} under way, or due within {lease} anyway", be(planned.count - done)))?;
    }
    tell_shut(settings, store, selection).await
}

/// What is done of what is selected.
fn at_most(selected: Counted, limit: Option<u64>) -> Counted {
    match limit {
        Some(limit) if limit <= selected.count => Counted { count: limit, may_be_more: false },
        _ => selected,
    }
}

/// Makes at most so many selected deliveries due, or all; tells how many.
async fn carry_out(
    store: &impl Deliveries,
    selection: &Selection,
    state: Redeliverable,
    lease: Duration,
    limit: Option<u64>,
) -> Result<u64, StoreError> {
    let (mut mark, mut done) = (Mark::start(now()), 0);
    let limit = limit.unwrap_or(u64::MAX);
    while done < limit {
        let limit = usize::try_from(limit - done).map_or(STEP, |left| left.min(STEP));
        let step = match state {
            Redeliverable::Parked => {
                // A lease that is taken now ends before this.
                let leases_end = now().later(lease);
                let count = store.hasten(selection, leases_end, limit, now()).await?;
                Redelivered { count, mark: mark.clone() }
            }
            Redeliverable::Exhausted | Redeliverable::Delivered => {
                store.redeliver(selection, mark.clone(), limit, now()).await?
            }
        };
        if step.count == 0 {
            break;
        }
        (mark, done) = (step.mark, done + step.count);
    }
    Ok(done)
}

/// Makes everything selected that is parked due; tells how much.
pub(super) async fn hasten_all(
    settings: &Settings,
    store: &impl Deliveries,
    selection: &Selection,
) -> Result<u64, StoreError> {
    let lease = settings.callbacks.lease.duration();
    carry_out(store, selection, Redeliverable::Parked, lease, None).await
}

/// Tells in which other states there are such deliveries: they may be meant.
async fn tell_others(store: &impl Deliveries, selection: &Selection) -> anyhow::Result<Exit> {
    for other in Redeliverable::value_variants().iter().map(|other| other.state()) {
        let selection = Selection { state: Some(other), ..selection.clone() };
        let count = store.count(&selection, None).await.map_err(unavailable)?;
        if count.count > 0 {
            let state = other.as_str();
            note(&format!("--state {state} takes {}", counted(count)))?;
        }
    }
    Ok(Exit::Ok)
}

/// Tells which of the selected endpoints get nothing for now.
async fn tell_shut(
    settings: &Settings,
    store: &impl Deliveries,
    selection: &Selection,
) -> anyhow::Result<Exit> {
    let is_configured =
        |name: &str| settings.callbacks.endpoints.iter().any(|endpoint| endpoint.name == name);
    let is_selected = |name: &str| match &selection.endpoint {
        Some(selected) => selected.as_str() == name,
        None => is_configured(name),
    };
    if selection.endpoint.is_none() {
        for backlog in store.backlog().await.map_err(unavailable)? {
            if !is_configured(backlog.endpoint.as_str()) {
                let (name, parked) = (backlog.endpoint, counted(backlog.count));
                note(&format!(
                    "{name} is not configured: nobody sends the {parked} parked for it; `penstock callbacks discard` ends that"
                ))?;
            }
        }
    }
    for state in store.endpoint_states().await.map_err(unavailable)? {
        let (name, availability) = (state.name.as_str(), state.availability);
        if availability != Availability::Active && is_selected(name) {
            let availability = availability.as_str();
            note(&format!(
                "{name} is {availability}: it gets nothing until `penstock callbacks resume {name}`"
            ))?;
        }
    }
    Ok(Exit::Ok)
}

/// So many deliveries, and their verb.
fn be(count: u64) -> String {
    format!("{} {}", deliveries(count), if count == 1 { "is" } else { "are" })
}
