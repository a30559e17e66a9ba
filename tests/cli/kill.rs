//! The real binary killed with SIGKILL at random moments under load. What is left is audited: every
//! submission on the log has exactly one outcome, and nothing is there twice.
//!
//! `PENSTOCK_TEST_SEED=n` repeats a run.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

use crate::audit::audit;
use crate::process::{Dev, penstock, text};

const KILLS: u32 = 20;
const ITEMS: u64 = 24_000;
/// Keeps the load running for longer than the kills take.
const ITEMS_PER_SECOND: u64 = 800;
/// A killed process lives between the first and both of these together.
const SHORTEST_LIFE_MS: u64 = 100;
const LIFE_SPREAD_MS: u64 = 900;
/// Longest time the load may take in all.
const DEADLINE: Duration = Duration::from_mins(4);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_has_exactly_one_outcome_after_kills() {
    let seed = seed();
    println!("PENSTOCK_TEST_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");

    let dev = Dev::start(&directory, &[]).await;
    let address = dev.url.trim_start_matches("http://").to_owned();
    let mut load = start_load(&dev.url, seed, Some(ITEMS_PER_SECOND));
    let dev = kill_under_load(dev, &mut load, &directory, &address, seed).await;
    let report = report_of(load).await;
    assert!(report["retries"].as_u64().unwrap() > 0, "no kill was felt: {report}");

    dev.stop().await;
    let accepted = audit(&data).await;
    assert_eq!(accepted, accepted_by(&report), "ledger rows");
    // The same load again: every item was acknowledged, so each still has the outcome it was told.
    let dev = Dev::start_at(&directory, &address).await;
    let again = report_of(start_load(&dev.url, seed, None)).await;
    assert_eq!(again["outcomes"], report["outcomes"]);
    dev.stop().await;
    assert_eq!(audit(&data).await, accepted, "ledger rows after all was sent again");
}

#[tokio::test]
async fn write_ahead_logs_that_are_gone_after_a_kill_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory, &[]).await;
    assert_eq!(dev.send(crate::process::example_batch()).await.0, 200);
    dev.kill().await;
    // A kill alone is nothing to tell of.
    let dev = Dev::start(&directory, &[]).await;
    assert!(!dev.log().contains("-wal file is gone"), "{}", dev.log());
    assert_eq!(dev.send(crate::process::example_batch()).await.0, 200);
    dev.kill().await;
    for name in ["queue.db-wal", "store.db-wal"] {
        std::fs::remove_file(directory.path().join("data").join(name)).unwrap();
    }
    let dev = Dev::start(&directory, &[]).await;
    assert_eq!(dev.log().matches("-wal file is gone").count(), 2, "{}", dev.log());
    dev.stop().await;
    let dev = Dev::start(&directory, &[]).await;
    assert!(!dev.log().contains("-wal file is gone"), "{}", dev.log());
    dev.stop().await;
}

/// The seed of a run: given, or another one each time.
fn seed() -> u64 {
    match std::env::var("PENSTOCK_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0 >> 32,
    }
}

fn start_load(url: &str, seed: u64, rate: Option<u64>) -> Child {
    let mut command = penstock(&["load", "--url", url, "--output", "json", "--patience", "60s"]);
    command.args(["--batch-size", "50", "--connections", "4"]);
    command.args(["--invalid", "5%", "--repeat", "5%", "--conflict", "5%", "--update", "15%"]);
    command.args(["--items", &ITEMS.to_string(), "--seed", &seed.to_string()]);
    if let Some(rate) = rate {
        command.args(["--rate", &rate.to_string()]);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills and restarts the server at random moments while the load runs.
async fn kill_under_load(
    mut dev: Dev,
    load: &mut Child,
    directory: &TempDir,
    address: &str,
    seed: u64,
) -> Dev {
    let mut random = seed;
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_millis(SHORTEST_LIFE_MS + (random >> 33) % LIFE_SPREAD_MS);
        tokio::time::sleep(life).await;
        assert!(load.try_wait().unwrap().is_none(), "the load ended before kill {kill}");
        dev.kill().await;
        dev = Dev::start_at(directory, address).await;
    }
    dev
}

/// The load's report once it has ended; every answer was right.
async fn report_of(load: Child) -> Value {
    let ended = tokio::time::timeout(DEADLINE, load.wait_with_output()).await;
    let Output { status, stdout, stderr } = ended.expect("the load ends in time").unwrap();
    assert!(status.success(), "{status}: {}{}", text(&stderr), text(&stdout));
    serde_json::from_slice(&stdout).unwrap()
}

/// How many different communications were answered as accepted.
fn accepted_by(report: &Value) -> usize {
    let accepted = &report["outcomes"][0];
    assert_eq!(accepted["outcome"], "accepted");
    let accepted = accepted["answered"].as_u64().unwrap() - report["repeated"].as_u64().unwrap();
    usize::try_from(accepted).unwrap()
}
