//! How fast events reach a fast receiver that is alone, and one that stands among receivers of every kind.

use std::time::Duration;

use anyhow::Context;

use crate::events::record;
use crate::installation::{Installation, RESULTS, SHORT_LEASE};
use crate::kinds;
use crate::options::Extent;
use crate::process::wait_until;
use crate::program::say;
use crate::receivers::{Memory, Receiver};

const ACCOUNTS: u32 = 10_000;
const REPEATS: usize = 3;
const PATIENCE: Duration = Duration::from_mins(10);
/// How long events come at a rate.
const SECONDS: u32 = 20;

/// How events come.
#[derive(Clone, Copy, Debug)]
enum Coming {
    /// All are there at once.
    AtOnce,
    /// So many a second.
    Rate(u32),
}

pub async fn run(extent: &Extent) -> anyhow::Result<String> {
    let mut said = Vec::new();
    for coming in [Coming::Rate(extent.items_per_second.max(200)), Coming::AtOnce] {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            alone.push(measure(extent, coming, true).await?);
            beside.push(measure(extent, coming, false).await?);
            say(&format!("{coming:?}: {alone:.0?} alone, {beside:.0?} beside the others"));
        }
        let (alone, beside) = (median(&mut alone), median(&mut beside));
        let share = 100.0 * beside / alone;
        said.push(format!("{coming:?}: {alone:.0}/s alone, {beside:.0}/s beside, {share:.0} %"));
    }
    Ok(said.join("; "))
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Events a second at the fast receiver, from the first to the last.
async fn measure(extent: &Extent, coming: Coming, is_alone: bool) -> anyhow::Result<f64> {
    let receivers = kinds::receivers(Memory::Events, extent.seed).await?;
    let fast = receivers.first().context("the fast one comes first")?;
    let mut endpoints = kinds::endpoints(&receivers);
    endpoints[0].concurrency = 64;
    if is_alone {
        endpoints.truncate(1);
    }
    let mut installation = Installation::new(&endpoints, 1, SHORT_LEASE).await?;
    let count = match coming {
        Coming::AtOnce => extent.measured,
        Coming::Rate(rate) => rate * SECONDS,
    };
    let log = installation.log.clone();
    let publish =
        |per_second| log.publish(RESULTS, (0..count).map(|number| record(number, ACCOUNTS)), per_second);
    match coming {
        Coming::AtOnce => {
            publish(None).await?;
            installation.start_callbacks().await?;
        }
        Coming::Rate(rate) => {
            installation.start_callbacks().await?;
            publish(Some(rate)).await?;
        }
    }
    wait_until("the fast receiver has everything", PATIENCE, async || {
        installation.check()?;
        Ok(fast.count() >= count as usize)
    })
    .await?;
    let rate = rate_of(fast);
    installation.stop().await?;
    Ok(rate)
}

fn rate_of(receiver: &Receiver) -> f64 {
    let arrivals = receiver.arrivals();
    let (first, last) = (arrivals[0].at, arrivals[arrivals.len() - 1].at);
    let count = u32::try_from(arrivals.len()).unwrap_or(u32::MAX);
    f64::from(count) / last.duration_since(first).as_secs_f64()
}
