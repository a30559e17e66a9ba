//! An ordered endpoint gets the events of an account one after the other, whatever fails and moves.

use std::time::Duration;

use anyhow::{anyhow, ensure};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::events::{self, record};
use crate::installation::{Endpoint, Installation, RESULTS, SHORT_LEASE};
use crate::options::Extent;
use crate::program::guarded;
use crate::promises::is_in_order;
use crate::random::Random;
use crate::receivers::{Character, Memory, Receiver};

const ACCOUNTS: u32 = 40;
/// Events a second.
const RATE: u32 = 100;
const PATIENCE: Duration = Duration::from_mins(3);

pub async fn run(extent: &Extent) -> anyhow::Result<String> {
    let failing = Character::Failing(15);
    let ordered = Receiver::start("ordered", failing, Memory::Events, extent.seed).await?;
    // The control: what comes to one that is not ordered must be out of order, or nothing is shown.
    let free = Receiver::start("free", failing, Memory::Events, extent.seed).await?;
    let endpoints = [Endpoint { is_ordered: true, ..Endpoint::of(&ordered) }, Endpoint::of(&free)];
    let mut installation = Installation::new(&endpoints, 2, SHORT_LEASE).await?;
    let played = guarded(play(extent, &ordered, &free, &mut installation)).await;
    installation.concluded(played, extent)
}

async fn play(
    extent: &Extent,
    ordered: &Receiver,
    free: &Receiver,
    installation: &mut Installation,
) -> anyhow::Result<String> {
    installation.start_callbacks().await?;
    let log = installation.log.clone();
    let is_over = CancellationToken::new();
    let stop = is_over.clone();
    // Whatever happens meanwhile, nobody is fed for ever.
    let feeding_ends = is_over.drop_guard();
    let feeding = tokio::spawn(async move {
        let records = (0..).map(|number| record(number, ACCOUNTS));
        log.publish(RESULTS, records.take_while(move |_| !stop.is_cancelled()), Some(RATE)).await
    });
    let disturbed = disturb(extent, installation).await;
    drop(feeding_ends);
    feeding.await??;
    disturbed?;
    installation.is_taken_in(PATIENCE).await?;
    let events = events::read(installation.log.read(RESULTS).await?)?;
    for endpoint in ["ordered", "free"] {
        installation.is_delivered(endpoint, events.len(), PATIENCE).await?;
    }
    installation.stop().await?;
    let arrivals = ordered.arrivals();
    is_in_order(&events, &arrivals).map_err(anyhow::Error::msg)?;
    ensure!(
        is_in_order(&events, &free.arrivals()).is_err(),
        "what was not ordered came in order too, so nothing is shown"
    );
    let mut without_first = arrivals.clone();
    let first = without_first[0].event;
    without_first.retain(|arrival| arrival.event != first);
    match is_in_order(&events, &without_first) {
        Err(objection) if objection.contains("came before") => {}
        other => return Err(anyhow!("an event is missing, and the checker says {other:?}")),
    }
    let acknowledged = arrivals.iter().filter(|arrival| arrival.is_acknowledged).count();
    Ok(format!(
        "{} events of {ACCOUNTS} accounts, {} arrivals, {} acknowledged again, {} disturbances, at most {} MB",
        events.len(),
        arrivals.len(),
        acknowledged - events.len(),
        extent.disturbances,
        installation.peak_rss_bytes()? / 1_000_000
    ))
}

/// Kills, stops and starts processes, so that partitions move between them in every way.
async fn disturb(extent: &Extent, installation: &mut Installation) -> anyhow::Result<()> {
    let mut random = Random(extent.seed);
    for _ in 0..extent.disturbances {
        sleep(Duration::from_millis(500 + random.below(3_500))).await;
        installation.check()?;
        let role = &mut installation.callbacks[usize::try_from(random.below(2))?];
        match random.below(3) {
            0 => role.kill().await?,
            1 => role.stop().await?,
            _ => {
                // A machine that stands still loses its partitions and does not know it.
                role.signal("STOP").await?;
                sleep(Duration::from_secs(8)).await;
                role.signal("CONT").await?;
                continue;
            }
        }
        sleep(Duration::from_millis(random.below(8_000))).await;
        role.start().await?;
    }
    Ok(())
}
