//! Which deliveries and endpoints are meant, in the words of the command line.

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::account::{EventId, Timestamp};
use crate::cli::Misused;
use crate::cli::moment::Moment;
use crate::settings::{Settings, resembling};
use crate::store::{DeliveryState, EndpointName, Selection};

/// Options that select deliveries; those for which all of them hold.
#[derive(Args, Debug)]
pub(super) struct SelectionArgs {
    /// Those to this endpoint
    #[arg(long, value_name = "NAME", value_parser = EndpointName::parse)]
    pub(super) endpoint: Option<EndpointName>,
    /// Those that ended then or later, or were parked then or later and have not ended: a time such as
    /// 2026-11-24T08:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Those that ended, or were parked, before: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// Those of this communicationNumber, which is the events' source. There is no index of numbers: with
    /// --since only what ended or was parked since is read, without it all that is kept
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// Those of this event
    #[arg(long, value_name = "ID")]
    event_id: Option<Uuid>,
}

impl SelectionArgs {
    /// The selection at `now`, of one state or of all.
    pub(super) fn selection(self, state: Option<DeliveryState>, now: Timestamp) -> Selection {
        Selection {
            endpoint: self.endpoint,
            state,
            number: self.number,
            event: self.event_id.map(EventId),
            from: self.since.map(|moment| moment.at(now)),
            to: self.until.map(|moment| moment.at(now)),
        }
    }
}

/// Which deliveries are meant, and at most how many, for the record of what is done with them.
pub(super) fn subject(selection: &Selection, limit: Option<u64>) -> Value {
    let Selection { endpoint, state, number, event, from, to } = selection;
    json!({
        "endpoint": endpoint.as_ref().map(EndpointName::as_str),
        "state": state.map(DeliveryState::as_str),
        "number": number,
        "event_id": event.map(|event| event.to_string()),
        "since": from.map(|at| at.to_string()),
        "until": to.map(|at| at.to_string()),
        "limit": limit,
    })
}

/// The configured endpoint of a name, or an error that says which there are.
pub(super) fn configured(settings: &Settings, name: &str) -> Result<EndpointName, Misused> {
    let endpoints = &settings.callbacks.endpoints;
    let known = endpoints.iter().any(|endpoint| endpoint.name == name);
    match EndpointName::parse(name) {
        Ok(name) if known => Ok(name),
        Ok(_) | Err(_) => Err(Misused(unknown(settings, name))),
    }
}

/// Says that no such endpoint is configured, and which are.
pub(super) fn unknown(settings: &Settings, name: &str) -> String {
    let names = || settings.callbacks.endpoints.iter().map(|endpoint| endpoint.name.as_str());
    let listed = names().collect::<Vec<_>>().join(", ");
    let name = super::output::shown(name);
    match resembling(&name, names()) {
        _ if listed.is_empty() => {
            format!(
                "no endpoint {name} is configured: callbacks.endpoints is empty; is --config missing?"
            )
        }
        Some(similar) => {
            format!("no endpoint {name} is configured; did you mean {similar}? There are: {listed}")
        }
        None => format!("no endpoint {name} is configured; there are: {listed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Loaded, Sources};

    #[test]
    fn an_unknown_endpoint_is_answered_with_those_there_are() {
        let settings = |endpoints: &str| {
            let option = ("callbacks.endpoints", "--test", endpoints.to_owned());
            let sources = Sources { options: vec![option], ..Sources::default() };
            Loaded::from(sources).unwrap().settings
        };
        let two = settings(
            "[{ name = 'risk', url = 'https://a.example/', unsigned = true }, \
              { name = 'audit', url = 'https://b.example/', unsigned = true }]",
        );
        assert_eq!(configured(&two, "risk").unwrap().as_str(), "risk");
        let refused = |name: &str| configured(&two, name).unwrap_err().to_string();
        assert!(refused("rsik").contains("did you mean risk? There are: risk, audit"));
        assert!(refused("Zzz\u{1b}").contains("no endpoint Zzz\\u{1b} is configured; there are: risk"));
        let none = configured(&settings("[]"), "risk").unwrap_err().to_string();
        assert!(none.contains("is empty"), "{none}");
    }
}
