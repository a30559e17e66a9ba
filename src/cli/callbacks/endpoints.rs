//! `penstock callbacks endpoints`: what is known of each endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use crate::account::Timestamp;
use crate::cli::Exit;
use crate::store::{Breaker, Deliveries, DeliveryState, EndpointName, EndpointState, StateCount};

use super::output;
use super::{StoreArgs, at_store, unavailable};

/// Options of `penstock callbacks endpoints`.
#[derive(Args, Debug)]
pub(super) struct EndpointsArgs {
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// One endpoint, for programs.
#[derive(Debug, Serialize)]
struct EndpointJson {
    endpoint: String,
    is_configured: bool,
    availability: &'static str,
    breaker: BreakerJson,
    reason: String,
    changed_at: Option<String>,
    /// When it was first configured.
    known_since: Option<String>,
    deliveries: BTreeMap<&'static str, u64>,
    /// States in which there are more than were counted.
    more: Vec<&'static str>,
    due_at: Option<String>,
    /// Since when the oldest of what is parked or waits has been.
    parked_since: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum BreakerJson {
    Closed,
    Open { since: String, probe_at: String, probes: u32 },
}

pub(super) async fn run(args: EndpointsArgs) -> anyhow::Result<Exit> {
    at_store(args.store, async |settings, store| {
        let states = store.endpoint_states().await.map_err(unavailable)?;
        let counts = store.state_counts().await.map_err(unavailable)?;
        let names = settings.callbacks.endpoints.iter().map(|endpoint| &*endpoint.name);
        let endpoints = overview(&names.collect(), &states, &counts);
        let mut out = io::stdout().lock();
        if args.json {
            for endpoint in &endpoints {
                output::write_json(&mut out, endpoint)?;
            }
        } else if endpoints.is_empty() {
            output::note(
                "no endpoint is configured: callbacks.endpoints is empty; is --config missing?",
            )?;
        } else {
            writeln!(out, "{}", table(&endpoints))?;
        }
        Ok(Exit::Ok)
    })
    .await
}

/// Every endpoint that is configured or that anything is known of.
fn overview(
    configured: &BTreeSet<&str>,
    states: &[EndpointState],
    counts: &[StateCount],
) -> Vec<EndpointJson> {
    let known = states.iter().map(|state| state.name.as_str());
    let counted = counts.iter().map(|count| count.endpoint.as_str());
    let names: BTreeSet<&str> = configured.iter().copied().chain(known).chain(counted).collect();
    let names = names.into_iter().filter_map(|name| EndpointName::parse(name).ok());
    names
        .map(|name| {
            let is_configured = configured.contains(name.as_str());
            let counts: Vec<&StateCount> =
                counts.iter().filter(|count| count.endpoint == name).collect();
            let state = states.iter().find(|state| state.name == name).cloned();
            endpoint(state.unwrap_or_else(|| EndpointState::unknown(name)), is_configured, &counts)
        })
        .collect()
}

fn endpoint(state: EndpointState, is_configured: bool, counts: &[&StateCount]) -> EndpointJson {
    let count_of = |state: DeliveryState| {
        let found = counts.iter().find(|count| count.state == state);
        (state.as_str(), found.map_or(0, |found| found.count.count))
    };
    let live = counts.iter().filter(|count| DeliveryState::LIVE.contains(&count.state));
    let parked_since = live.filter_map(|count| count.oldest_at).min();
    let more = counts.iter().filter(|count| count.count.may_be_more);
    let due_at: Option<Timestamp> = counts.iter().filter_map(|count| count.due_at).min();
    EndpointJson {
        endpoint: state.name.to_string(),
        is_configured,
        availability: state.availability.as_str(),
        breaker: match state.breaker {
            Breaker::Closed => BreakerJson::Closed,
            Breaker::Open { since, probe_at, probes } => BreakerJson::Open {
                since: output::time(since),
                probe_at: output::time(probe_at),
                probes,
            },
        },
        reason: state.reason,
        changed_at: (state.version > 0).then(|| output::time(state.changed_at)),
        known_since: state.known_since.map(output::time),
        deliveries: DeliveryState::ALL.into_iter().map(count_of).collect(),
        more: more.map(|count| count.state.as_str()).collect(),
        due_at: due_at.map(output::time),
        parked_since: parked_since.map(output::time),
    }
}

fn table(endpoints: &[EndpointJson]) -> comfy_table::Table {
    let [parked, waiting, delivered, exhausted] = DeliveryState::ALL.map(DeliveryState::as_str);
    let mut table = output::table([
        "endpoint",
        "state",
        parked,
        waiting,
        delivered,
        exhausted,
        "parked since",
        "first due",
        "why",
    ]);
    for endpoint in endpoints {
        let state = match (&endpoint.breaker, endpoint.is_configured) {
            (_, false) => format!("{}, not configured", endpoint.availability),
            (BreakerJson::Open { .. }, true) => format!("{}, breaker open", endpoint.availability),
            (BreakerJson::Closed, true) => endpoint.availability.to_owned(),
        };
        let count = |state: &str| {
            let more = if endpoint.more.contains(&state) { "+" } else { "" };
            format!("{}{more}", endpoint.deliveries.get(state).copied().unwrap_or(0))
        };
        table.add_row([
            endpoint.endpoint.clone(),
            state,
            count(parked),
            count(waiting),
            count(delivered),
            count(exhausted),
            endpoint.parked_since.clone().unwrap_or_default(),
            endpoint.due_at.clone().unwrap_or_default(),
            output::shown(&endpoint.reason),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Availability, Counted};

    #[test]
    fn endpoints_are_listed_that_are_configured_or_known() {
        let name = |text| EndpointName::parse(text).unwrap();
        let at = Timestamp::from_unix_millis(1_700_000_000_000);
        let paused = EndpointState {
            availability: Availability::Paused,
            reason: "maintenance".to_owned(),
            version: 3,
            changed_at: at,
            ..EndpointState::unknown(name("old"))
        };
        let count = StateCount {
            endpoint: name("risk"),
            state: DeliveryState::Parked,
            count: Counted { count: 2, may_be_more: true },
            oldest_at: Some(at),
            due_at: Some(at),
        };
        let found = overview(&["risk"].into(), &[paused], &[count]);
        let lines: Vec<_> = found
            .iter()
            .map(|found| {
                let due = found.due_at.as_deref();
                (
                    &*found.endpoint,
                    found.availability,
                    found.is_configured,
                    found.deliveries["parked"],
                    due,
                )
            })
            .collect();
        let due = Some("2023-11-14T22:13:20Z");
        assert_eq!(lines, [("old", "paused", false, 0, None), ("risk", "active", true, 2, due)]);
        assert_eq!(found[1].changed_at, None, "nobody has changed it");
        assert_eq!((&found[1].more[..], found[1].parked_since.as_deref()), (&["parked"][..], due));
        assert!(table(&found).to_string().contains("2+"), "{}", table(&found));
    }
}
