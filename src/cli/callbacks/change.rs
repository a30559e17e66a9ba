//! `penstock callbacks pause|resume|disable`: the state of an endpoint that all processes share.

use clap::Args;
use serde_json::json;

use crate::account::Timestamp;
use crate::cli::Exit;
use crate::cli::operator::{OptionalReasonArgs, Said};
use crate::cli::recorded::{Intended, recorded};
use crate::store::{
    Availability, Breaker, Changed, Deliveries, DeliveryState, EndpointName, EndpointState,
    OperatorCommand, Selection,
};

use super::output::{counted, deliveries, note, shown};
use super::redeliver::hasten_all;
use super::selection::configured;
use super::{StoreArgs, at_store, now, unavailable};

/// How often a change is made anew because another process was faster.
const ATTEMPTS: usize = 10;

/// Options of the commands that change an endpoint's state.
#[derive(Args, Debug)]
pub(super) struct ChangeArgs {
    /// Name of the endpoint
    endpoint: String,
    #[command(flatten)]
    reason: OptionalReasonArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Options of `penstock callbacks resume`.
#[derive(Args, Debug)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Have what is parked until later go out now too, with no failures counted
    #[arg(long)]
    now: bool,
}

/// What becomes of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Pause,
    Resume,
    Disable,
}

impl Change {
    fn command(self) -> OperatorCommand {
        match self {
            Self::Pause => OperatorCommand::CallbacksPause,
            Self::Resume => OperatorCommand::CallbacksResume,
            Self::Disable => OperatorCommand::CallbacksDisable,
        }
    }

    fn availability(self) -> Availability {
        match self {
            Self::Pause => Availability::Paused,
            Self::Resume => Availability::Active,
            Self::Disable => Availability::Disabled,
        }
    }

    /// The state with the change; none when it is so already. One that is resumed is tried anew whatever is
    /// known of it: its receiver may have asked a process to be left alone.
    fn of(self, state: &EndpointState, reason: Option<&str>, now: Timestamp) -> Option<EndpointState> {
        let availability = self.availability();
        let reason = match (self, reason) {
            (_, Some(reason)) => reason.to_owned(),
            (Self::Resume, None) => String::new(),
            (Self::Pause | Self::Disable, None) if state.availability == availability => {
                state.reason.clone()
            }
            (Self::Pause | Self::Disable, None) => "by an operator".to_owned(),
        };
        let breaker = match self {
            Self::Resume => Breaker::Closed,
            Self::Pause | Self::Disable => state.breaker,
        };
        let changed = EndpointState { availability, reason, breaker, ..state.clone() };
        let is_change = self == Self::Resume || changed != *state;
        is_change.then_some(EndpointState { changed_at: now, ..changed })
    }
}

pub(super) async fn run(args: ChangeArgs, change: Change) -> anyhow::Result<Exit> {
    let ChangeArgs { endpoint, reason, store } = args;
    at_store(store, async |settings, store| {
        let name = configured(settings, &endpoint)?;
        let grounds = Said::from(reason).grounds(settings, store).await?;
        let reason = grounds.reason().map(str::to_owned);
        if change.of(&state_of(store, &name).await?, reason.as_deref(), now()).is_none() {
            note(&format!("{name} is {} already", change.availability().as_str()))?;
            return Ok(Exit::Ok);
        }
        let subject = json!({ "endpoint": name.as_str() });
        let intended = Intended { command: change.command(), subject, grounds };
        let carry_out = async || {
            carry_out(store, &name, change, reason.as_deref()).await?;
            if change == Change::Disable {
                note(&format!(
                    "what comes until it is resumed is not kept for it; what is parked stays, and \
                     `penstock callbacks discard --endpoint {name}` gives it up"
                ))?;
            }
            if let Some(reason) = &reason {
                note(&format!("reason: {}", shown(reason)))?;
            }
            Ok(Exit::Ok)
        };
        Ok(recorded(settings, store, intended, carry_out).await?.exit())
    })
    .await
}

/// Resumes an endpoint, and tells what that does to what waits for it.
pub(super) async fn resume(args: ResumeArgs) -> anyhow::Result<Exit> {
    let ResumeArgs { change: ChangeArgs { endpoint, reason, store }, now: goes_out_now } = args;
    at_store(store, async |settings, store| {
        let name = configured(settings, &endpoint)?;
        let grounds = Said::from(reason).grounds(settings, store).await?;
        let reason = grounds.reason().map(str::to_owned);
        let subject = json!({ "endpoint": name.as_str(), "now": goes_out_now });
        let intended = Intended { command: Change::Resume.command(), subject, grounds };
        let carry_out = async || {
            carry_out(store, &name, Change::Resume, reason.as_deref()).await?;
            let (endpoint, parked) = (Some(name.clone()), Some(DeliveryState::Parked));
            let selection = Selection { endpoint, state: parked, ..Selection::default() };
            if goes_out_now {
                let done = hasten_all(settings, store, &selection).await.map_err(unavailable)?;
                note(&format!("{} until later before, due now", deliveries(done)))?;
            } else {
                tell_parked(store, &selection).await?;
            }
            Ok(Exit::Ok)
        };
        Ok(recorded(settings, store, intended, carry_out).await?.exit())
    })
    .await
}

/// Tells that what is parked does not go out at once.
async fn tell_parked(store: &impl Deliveries, selection: &Selection) -> anyhow::Result<()> {
    let parked = store.count(selection, None).await.map_err(unavailable)?;
    if parked.count > 0 {
        note(&format!(
            "{} parked: each goes out when it is due, as `penstock callbacks list` shows; --now has them all go out \
             now",
            counted(parked)
        ))?;
    }
    Ok(())
}

/// Changes a state, and tells what it is then.
async fn carry_out(
    store: &impl Deliveries,
    name: &EndpointName,
    change: Change,
    reason: Option<&str>,
) -> anyhow::Result<()> {
    let availability = change.availability().as_str();
    match changed(store, name, change, reason).await? {
        Some(Changed::Done) => {
            note(&format!("{name} is {availability}; running processes follow within 3 seconds"))?;
        }
        Some(Changed::TooLate) => {
            anyhow::bail!("other processes change the state of {name} all the time; try again");
        }
        None => note(&format!("{name} is {availability} already"))?,
    }
    Ok(())
}

/// What is known of an endpoint.
async fn state_of(store: &impl Deliveries, name: &EndpointName) -> anyhow::Result<EndpointState> {
    let states = store.endpoint_states().await.map_err(unavailable)?;
    let state = states.into_iter().find(|state| state.name == *name);
    Ok(state.unwrap_or_else(|| EndpointState::unknown(name.clone())))
}

/// Changes a state; none when there is nothing to change. A process that opens a breaker at the same
/// moment is no reason to give up.
async fn changed(
    store: &impl Deliveries,
    name: &EndpointName,
    change: Change,
    reason: Option<&str>,
) -> anyhow::Result<Option<Changed>> {
    for _ in 0..ATTEMPTS {
        let state = state_of(store, name).await?;
        let Some(wanted) = change.of(&state, reason, now()) else { return Ok(None) };
        if store.change_endpoint(&wanted).await.map_err(unavailable)? == Changed::Done {
            return Ok(Some(Changed::Done));
        }
    }
    Ok(Some(Changed::TooLate))
}

/// Has running processes forget what they have heard of an endpoint, such as for how long its receiver wants
/// to be left alone, and changes nothing else. One that is paused or disabled stays so.
pub(super) async fn try_anew(store: &impl Deliveries, name: &str) -> anyhow::Result<()> {
    let states = store.endpoint_states().await.map_err(unavailable)?;
    let state = states.into_iter().find(|state| state.name.as_str() == name);
    let state = match state {
        Some(state) => state,
        None => EndpointState::unknown(EndpointName::parse(name)?),
    };
    if state.availability == Availability::Active {
        let wanted = EndpointState { changed_at: now(), ..state };
        // Who changes it at the same moment has processes look at it anew as well.
        let (Changed::Done | Changed::TooLate) =
            store.change_endpoint(&wanted).await.map_err(unavailable)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn a_change_goes_from_every_state_to_the_one_wanted() {
        let active = EndpointState::unknown(EndpointName::parse("risk").unwrap());
        let tried_anew = Change::Resume.of(&active, None, at(1)).unwrap();
        assert_eq!(tried_anew, EndpointState { changed_at: at(1), ..active.clone() });
        let paused = Change::Pause.of(&active, None, at(1)).unwrap();
        assert_eq!((paused.availability, &*paused.reason), (Availability::Paused, "by an operator"));
        assert_eq!(Change::Pause.of(&paused, None, at(2)), None, "the first time and reason stay");
        let disabled = Change::Disable.of(&paused, Some("gone"), at(3)).unwrap();
        assert_eq!((disabled.availability, &*disabled.reason), (Availability::Disabled, "gone"));
        let resumed = Change::Resume.of(&disabled, None, at(4)).unwrap();
        assert_eq!((resumed.availability, &*resumed.reason), (Availability::Active, ""));
        assert_eq!(resumed.changed_at, at(4));
    }

    #[test]
    fn resuming_closes_an_open_breaker_and_pausing_leaves_it() {
        let breaker = Breaker::Open { since: at(1), probe_at: at(2), probes: 3 };
        let open =
            EndpointState { breaker, ..EndpointState::unknown(EndpointName::parse("risk").unwrap()) };
        assert_eq!(Change::Resume.of(&open, None, at(5)).unwrap().breaker, Breaker::Closed);
        assert_eq!(Change::Pause.of(&open, None, at(5)).unwrap().breaker, breaker);
    }
}
