//! Two processes share what is parked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::installation::{Endpoint, Installation, LONG_LEASE};
use crate::options::Extent;
use crate::process::wait_until;
use crate::program::guarded;
use crate::receivers::{Character, Memory, Receiver};

/// Rows of one statement that parks.
const PORTION: u32 = 100_000;
const PATIENCE: Duration = Duration::from_mins(1);
/// What even a slow machine sends a second.
const LEAST_RATE: u32 = 200;

pub async fn run(extent: &Extent) -> anyhow::Result<String> {
    let receiver = Receiver::start("risk", Character::Fast, Memory::Events, extent.seed).await?;
    let endpoint = Endpoint { concurrency: 64, ..Endpoint::of(&receiver) };
    let mut installation = Installation::new(&[endpoint], 2, LONG_LEASE).await?;
    let played = guarded(play(extent, &receiver, &mut installation)).await;
    installation.concluded(played, extent)
}

async fn play(
    extent: &Extent,
    receiver: &Receiver,
    installation: &mut Installation,
) -> anyhow::Result<String> {
    let backlog = usize::try_from(extent.backlog)?;
    for first in (0..extent.backlog).step_by(PORTION as usize) {
        let last = (first + PORTION).min(extent.backlog) - 1;
        installation.write(park(first, last)).await?;
    }
    installation.start_callbacks().await?;
    let begun = Instant::now();
    let within = PATIENCE + Duration::from_secs((extent.backlog / LEAST_RATE).into());
    wait_until("every parked delivery is sent", within, async || {
        installation.check()?;
        Ok(receiver.count() >= backlog)
    })
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    installation.is_delivered("risk", backlog, PATIENCE).await?;
    let shares = shares(installation).await?;
    installation.stop().await?;
    let mut sent: HashMap<_, u32> = HashMap::new();
    for arrival in receiver.arrivals() {
        *sent.entry(arrival.event).or_default() += 1;
    }
    let repeated = sent.values().filter(|count| **count != 1).count();
    ensure!(repeated == 0, "{repeated} of {backlog} deliveries were sent more than once");
    ensure!(sent.len() == backlog, "{} deliveries were sent, {backlog} parked", sent.len());
    let stored = installation.stored().await?;
    let delivered = stored.iter().filter(|stored| stored.state == "delivered").count();
    ensure!(delivered == backlog && stored.len() == backlog, "{delivered} are recorded as delivered");
    ensure!(shares.iter().all(|share| *share > 0), "one process did everything: {shares:?}");
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = backlog as f64 / seconds;
    Ok(format!(
        "{backlog} deliveries, each sent once, in {seconds:.1} s, {rate:.0}/s, shared {shares:?}, at most {} MB",
        installation.peak_rss_bytes()? / 1_000_000
    ))
}

/// Rows as if the endpoint had been down.
fn park(first: u32, last: u32) -> String {
    let due = "now() - interval '1 hour' + i * interval '1 millisecond'";
    format!(
        "INSERT INTO deliveries (endpoint, event_id, account, number, is_ordered, state, recorded_at, due_at,
                                 failures, attempts, attributes, data)
         SELECT 'risk', id, 'sandbox/acc-' || i % 50000, 'n-' || i, false, 'parked', {due}, {due}, 0, 0,
                jsonb_build_array(
                    jsonb_build_array(
                        jsonb_build_array('specversion', '1.0'), jsonb_build_array('id', id),
                        jsonb_build_array('source', 'n-' || i),
                        jsonb_build_array('type', 'penstock.account.accepted'),
                        jsonb_build_array('subject', 'acc-' || i % 50000),
                        jsonb_build_array('time', '2026-01-01T00:00:00Z')),
                    jsonb_build_array())::text,
                jsonb_build_object(
                    'resultType', 'REQUEST_ACCEPTED', 'communicationNumber', 'n-' || i,
                    'accountExtId', 'acc-' || i % 50000, 'businessUnit', 'sandbox')::text
         FROM (SELECT i, md5('n-' || i)::uuid AS id FROM generate_series({first}, {last}) AS i) AS numbered"
    )
}

/// How many deliveries each process has made, by its metrics.
async fn shares(installation: &Installation) -> anyhow::Result<Vec<u64>> {
    let mut shares = Vec::new();
    for role in &installation.callbacks {
        let metrics = reqwest::get(format!("{}/metrics", role.address("admin")?)).await?.text().await?;
        let counted = metrics.lines().filter(|line| {
            line.starts_with("penstock_callbacks_deliveries") && line.contains("\"delivered\"")
        });
        let value = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<u64>().ok());
        shares.push(counted.filter_map(value).sum());
    }
    Ok(shares)
}
