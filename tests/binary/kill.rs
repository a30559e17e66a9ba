//! The real binary killed with SIGKILL at random moments under load. What is left is audited: every
//! submission on the log has exactly one outcome, and nothing is there twice.
//!
//! `PENSTOCK_TEST_SEED=n` repeats a run.

use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::audit::audit;
use crate::dev::{Dev, penstock};

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
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");

    let first = Dev::start(&data);
    let address = first.address().to_owned();
    let load = start_load(&first.url, seed, Some(ITEMS_PER_SECOND));
    let (dev, load) = kill_under_load(first, load, &data, &address, seed);
    let report = report_of(&finish(load));
    assert!(report["retries"].as_u64().unwrap() > 0, "no kill was felt: {report}");

    assert!(dev.stop().success());
    let accepted = audit(&data).await;
    assert_eq!(accepted, accepted_by(&report), "ledger rows");
    // The same load again: every item was acknowledged, so each still has the outcome it was told.
    let dev = Dev::start_on(&data, &address);
    let again = report_of(&finish(start_load(&dev.url, seed, None)));
    assert_eq!(again["outcomes"], report["outcomes"]);
    assert!(dev.stop().success());
    assert_eq!(audit(&data).await, accepted, "ledger rows after all was sent again");
}

/// How many different communications were answered as accepted.
fn accepted_by(report: &Value) -> u64 {
    let accepted = &report["outcomes"][0];
    assert_eq!(accepted["outcome"], "accepted");
    accepted["answered"].as_u64().unwrap() - report["repeated"].as_u64().unwrap()
}

/// The seed of a run: given, or another one each time.
fn seed() -> u64 {
    match std::env::var("PENSTOCK_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0 >> 32,
    }
}

fn start_load(url: &str, seed: u64, rate: Option<u64>) -> Child {
    let mut command = penstock();
    command.args(["load", "--batch-size", "50", "--connections", "4", "--output", "json"]);
    command.args(["--invalid", "5%", "--repeat", "5%", "--conflict", "5%", "--update", "15%"]);
    command.args(["--patience", "60s", "--url", url]);
    command.args(["--items", &ITEMS.to_string(), "--seed", &seed.to_string()]);
    if let Some(rate) = rate {
        command.args(["--rate", &rate.to_string()]);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills and restarts the server at random moments while the load runs.
fn kill_under_load(
    mut dev: Dev,
    mut load: Child,
    data: &Path,
    address: &str,
    seed: u64,
) -> (Dev, Child) {
    let mut random = seed;
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_millis(SHORTEST_LIFE_MS + (random >> 33) % LIFE_SPREAD_MS);
        std::thread::sleep(life);
        assert!(load.try_wait().unwrap().is_none(), "the load ended before kill {kill}");
        dev.kill();
        dev = Dev::start_on(data, address);
    }
    (dev, load)
}

fn finish(mut load: Child) -> Output {
    let deadline = Instant::now() + DEADLINE;
    while load.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            load.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    load.wait_with_output().unwrap()
}

/// The load's report; every answer was right.
fn report_of(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {said}{report}", output.status);
    serde_json::from_str(&report).unwrap()
}
