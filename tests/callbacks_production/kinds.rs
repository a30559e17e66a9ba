//! Receivers of every kind under load while the processes of callbacks are killed.

use std::time::Duration;

use anyhow::{anyhow, ensure};
use tokio::time::sleep;

use crate::events;
use crate::installation::{Endpoint, Installation, RESULTS, SHORT_LEASE};
use crate::options::Extent;
use crate::process::{Feed, Load, wait_until};
use crate::program::guarded;
use crate::promises::{Facts, Seen};
use crate::random::Random;
use crate::receivers::{Character, Memory, Receiver};

/// Processes of callbacks.
const PROCESSES: usize = 2;
/// Kills until there must have been progress: a process that is always killed at once gets nowhere.
const KILLS_AT_A_STRETCH: u32 = 5;
/// Longest wait for anything to happen.
const PATIENCE: Duration = Duration::from_mins(3);
/// How slow the slow one is.
const SLOW: Duration = Duration::from_secs(5);

const KINDS: [(&str, Character); 11] = [
    ("fast", Character::Fast),
    ("rejected", Character::Fast),
    ("slow", Character::Slow(SLOW)),
    ("failing", Character::Failing(30)),
    ("throttling", Character::Throttling(50)),
    ("endless", Character::Endless),
    ("down", Character::Down),
    ("gone", Character::Gone),
    ("redirecting", Character::Redirecting),
    ("hanging", Character::Hanging),
    ("resetting", Character::Resetting),
];

/// A receiver of each kind.
pub async fn receivers(memory: Memory, seed: u64) -> anyhow::Result<Vec<Receiver>> {
    let starting = KINDS.map(|(name, character)| Receiver::start(name, character, memory, seed));
    futures_util::future::try_join_all(starting).await
}

/// The endpoint of each.
pub fn endpoints(receivers: &[Receiver]) -> Vec<Endpoint> {
    let endpoint = |receiver: &Receiver| {
        let endpoint = Endpoint::of(receiver);
        match receiver.character {
            // As many at a time as are enough for the load.
            Character::Slow(_) => Endpoint { concurrency: 256, ..endpoint },
            Character::Hanging => Endpoint { timeout: Duration::from_secs(1), ..endpoint },
            Character::Fast if receiver.name == "rejected" => {
                Endpoint { event_types: vec!["penstock.account.rejected"], ..endpoint }
            }
            _ => endpoint,
        }
    };
    receivers.iter().map(endpoint).collect()
}

pub async fn run(extent: &Extent) -> anyhow::Result<String> {
    let receivers = receivers(Memory::Requests, extent.seed).await?;
    let endpoints = endpoints(&receivers);
    let mut installation = Installation::new(&endpoints, PROCESSES, SHORT_LEASE).await?;
    let played = guarded(play(extent, &receivers, &endpoints, &mut installation)).await;
    installation.concluded(played, extent)
}

async fn play(
    extent: &Extent,
    receivers: &[Receiver],
    endpoints: &[Endpoint],
    installation: &mut Installation,
) -> anyhow::Result<String> {
    installation.start_pipeline().await?;
    installation.start_callbacks().await?;
    let feed = Feed { seed: extent.seed, items_per_second: extent.items_per_second, conflict: "3%" };
    let answers = tempfile::NamedTempFile::new()?;
    let load = Load::start(&installation.intake.address("url")?, &feed, answers.path().to_owned())?;
    kill_again_and_again(extent, &receivers[0], installation).await?;
    load.stop().await?;
    installation.is_decided(PATIENCE).await?;
    installation.is_taken_in(PATIENCE).await?;
    let events = events::read(installation.log.read(RESULTS).await?)?;
    for (receiver, endpoint) in receivers.iter().zip(endpoints) {
        if receiver.character.is_live() {
            let takes =
                |kind: &str| endpoint.event_types.is_empty() || endpoint.event_types.contains(&kind);
            let count = events.values().filter(|event| takes(&event.kind)).count();
            installation.is_delivered(receiver.name, count, PATIENCE).await?;
        }
    }
    installation.stop().await?;
    let seen = receivers.iter().zip(endpoints).map(|(receiver, endpoint)| Seen {
        endpoint: receiver.name,
        event_types: endpoint.event_types.clone(),
        is_live: receiver.character.is_live(),
        arrivals: receiver.arrivals(),
    });
    let facts = Facts { seen: seen.collect(), stored: installation.stored().await?, events };
    let counts = facts.check().map_err(anyhow::Error::msg)?;
    objects_to_what_is_wrong(&facts)?;
    for receiver in receivers {
        ensure!(receiver.followed() == 0, "a redirect was followed");
        let is_asked = matches!(receiver.character, Character::Down | Character::Resetting);
        ensure!(is_asked || receiver.count() > 0, "{} was never asked", receiver.name);
    }
    Ok(format!(
        "{} events, {} deliveries ({} parked at dead endpoints), {} kills, {} acknowledged again, {} \
         refused or cut off, at most {} MB",
        facts.events.len(),
        counts.deliveries,
        counts.parked,
        extent.kills,
        counts.repeated,
        counts.unacknowledged,
        installation.peak_rss_bytes()? / 1_000_000
    ))
}

async fn kill_again_and_again(
    extent: &Extent,
    fast: &Receiver,
    installation: &mut Installation,
) -> anyhow::Result<()> {
    let mut random = Random(extent.seed);
    for kill in 1..=extent.kills {
        sleep(Duration::from_millis(200 + random.below(2_800))).await;
        let victim = usize::try_from(random.below(PROCESSES as u64))?;
        installation.check()?;
        installation.callbacks[victim].kill().await?;
        if random.below(2) == 0 {
            // The other one has everything for a while.
            sleep(Duration::from_millis(random.below(1_000))).await;
        }
        installation.callbacks[victim].start().await?;
        if kill.is_multiple_of(KILLS_AT_A_STRETCH) {
            let before = fast.count();
            wait_until("events arrive again", PATIENCE, async || {
                installation.check()?;
                Ok(fast.count() > before)
            })
            .await?;
        }
    }
    Ok(())
}

/// The checker notices what is lost, changed, or recorded wrongly.
fn objects_to_what_is_wrong(facts: &Facts) -> anyhow::Result<()> {
    let objects = |what: &str, expected: &str, change: &dyn Fn(&mut Facts)| {
        let mut changed = facts.clone();
        change(&mut changed);
        match changed.check() {
            Err(objection) if objection.contains(expected) => Ok(()),
            other => Err(anyhow!("{what}: the checker says {other:?}")),
        }
    };
    let first = facts.seen[0].arrivals[0].event;
    objects("a lost event", "acknowledged: false", &|facts| {
        facts.seen[0].arrivals.retain(|arrival| arrival.event != first);
    })?;
    objects("a strange event", "is not for fast", &|facts| {
        facts.seen[0].arrivals[0].event = uuid::Uuid::nil();
    })?;
    objects("a changed event", "arrived at fast changed", &|facts| {
        let arrival = &mut facts.seen[0].arrivals[0];
        let request = arrival.request.take().unwrap();
        let body = bytes::Bytes::from_static(b"{}");
        arrival.request =
            Some(std::sync::Arc::new(crate::receivers::Captured { body, ..(*request).clone() }));
    })?;
    objects("an event that nobody parked", "is None for down", &|facts| {
        facts.stored.retain(|stored| stored.endpoint != "down");
    })
}
