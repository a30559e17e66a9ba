//! Scaling out and in: how long partitions stand still while they move between workers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use penstock::account::{Offset, Partition};
use tokio::time::{Instant, sleep};

use crate::database::Database;
use crate::installation::{Installation, SESSION_TIMEOUT};
use crate::process::wait_until;

/// Within which the partitions of a killed worker must be worked on by others: a session, and what joining anew takes
/// where everything shares few processors. How long it took is told.
const MOVED_WITHIN: Duration = SESSION_TIMEOUT.saturating_mul(4);
/// Longest wait for a new set of workers to have settled.
const PATIENCE: Duration = Duration::from_mins(2);
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// A worker dies; returns how long its partitions stood still.
pub async fn killed_worker(installation: &mut Installation<'_>) -> anyhow::Result<Duration> {
    // One that has no partitions yet would not be missed.
    installation.balanced(PATIENCE).await?;
    installation.workers[0].kill().await?;
    let killed = Instant::now();
    // What is on the log from now on was not processed by the dead one.
    let ends = installation.log.ends("accounts.submitted").await?;
    wait_until("all partitions are worked on", PATIENCE, async || {
        let frontiers = installation.database.frontiers().await?;
        let is_past = |(partition, end): (&Partition, &Offset)| {
            frontiers.get(partition).is_some_and(|frontier| frontier > end)
        };
        Ok(ends.iter().all(is_past))
    })
    .await?;
    let moved = killed.elapsed();
    ensure!(moved <= MOVED_WITHIN, "the partitions of a killed worker moved on after {moved:?} only");
    Ok(moved)
}

/// From one worker to four, then to two; returns the longest that a partition stood still each time.
pub async fn out_and_in(installation: &mut Installation<'_>) -> anyhow::Result<[Duration; 2]> {
    let database = installation.database.clone();
    let out = async {
        for _ in 0..3 {
            installation.add_worker().await?;
        }
        installation.balanced(PATIENCE).await?;
        installation.progressed(PATIENCE).await.map(drop)
    };
    let out = longest_standstill(&database, out).await?;
    let inwards = async {
        for worker in &mut installation.workers[..2] {
            worker.stop().await?;
        }
        installation.balanced(PATIENCE).await?;
        installation.progressed(PATIENCE).await.map(drop)
    };
    let inwards = longest_standstill(&database, inwards).await?;
    Ok([out, inwards])
}

/// The longest time in which some partition's frontier did not move, while something is done and
/// until all of them have moved afterwards.
async fn longest_standstill(
    database: &Database,
    change: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Duration> {
    let mut moved: BTreeMap<Partition, (Offset, Instant)> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    let mut changed_at = None;
    let mut change = std::pin::pin!(change);
    loop {
        for (partition, frontier) in database.frontiers().await? {
            let (last, since) = moved.entry(partition).or_insert((frontier, Instant::now()));
            if frontier > *last {
                longest = longest.max(since.elapsed());
                (*last, *since) = (frontier, Instant::now());
            }
        }
        match changed_at {
            Some(at) if moved.values().all(|(_, since)| *since > at) => return Ok(longest),
            Some(_) => sleep(SAMPLE_INTERVAL).await,
            None => {
                tokio::select! {
                    outcome = &mut change => {
                        outcome?;
                        changed_at = Some(Instant::now());
                    }
                    () = sleep(SAMPLE_INTERVAL) => {}
                }
            }
        }
    }
}
