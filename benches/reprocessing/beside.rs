//! A replay beside live traffic and callbacks: what it costs those who wait for answers meanwhile, and whether an
//! endpoint hears of every outcome that it changes, once.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use penstock::callbacks::signature::SigningKey;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};

use crate::commands::{self, COMPLETED, LIST};
use crate::installation::Installation;
use crate::phases::load;
use crate::receiver::Receiver;
use crate::servers::Servers;
use crate::support::load::Loaded;

/// Submissions a second that the replay goes through, and that clients send meanwhile. Both together leave the machine
/// room; a replay that takes all of it is measured by itself.
const REPLAYED_PER_SECOND: u64 = 4_000;
const SENT_PER_SECOND: u64 = 1_000;
/// The replay lasts so many times as long as what is sent beside it.
const TIMES_LONGER: u64 = 2;
/// Whoever is waited for never stands still for so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// What clients wait for, alone and beside a replay and its callbacks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Beside {
    pub(crate) alone: Latency,
    pub(crate) replay: Latency,
}

/// Of live batches of 100, every outcome answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl From<Loaded> for Latency {
    fn from(loaded: Loaded) -> Self {
        Self { p50_ms: loaded.latency_p50_ms, p99_ms: loaded.latency_p99_ms }
    }
}

/// Replays `items` beside clients and an endpoint.
pub(crate) async fn measure(servers: &Servers, folder: &Path, number: usize, items: u64) -> Beside {
    let installation = Installation::create(servers, folder, &format!("beside{number}")).await;
    let receiver = Receiver::start();
    installation.add_settings(LIST);
    installation.add_settings(&endpoint(&receiver));
    let rejected = commands::fill(&installation, items);
    let worker = installation.worker();
    let callbacks = installation.callbacks();
    receiver.wait_for(items, PATIENCE);
    worker.stop();
    installation.change_settings(LIST, COMPLETED);
    let (worker, intake) = (installation.worker(), installation.intake());
    let sent = items / REPLAYED_PER_SECOND / TIMES_LONGER * SENT_PER_SECOND;
    assert!(sent > 0, "too few submissions for a replay that lasts");
    let rate = format!("--rate={SENT_PER_SECOND}");
    let live = || load(sent, 100, 4, &[&rate]).run(intake.address("url"));
    // The first goes to a worker that has just begun.
    live();
    let alone = live();
    let mut replay = start_replay(&installation);
    let beside = live();
    assert!(replay.try_wait().unwrap().is_none(), "the replay ended before what was to be beside it");
    assert!(replay.wait().unwrap().success());
    let results = installation.topic("accounts.results").records();
    receiver.wait_for(results, PATIENCE);
    for role in [intake, worker, callbacks] {
        role.stop();
    }
    assert_eq!(receiver.events(), results, "every event is received once");
    assert_eq!(changed_and_delivered(&installation).await, rejected);
    // It holds events, deliveries and accounts against what was submitted.
    commands::balances(&installation, folder, &["--deep"]);
    installation.remove(servers).await;
    Beside { alone: alone.into(), replay: beside.into() }
}

fn endpoint(receiver: &Receiver) -> String {
    format!(
        "\n[callbacks]\nallow_networks = ['127.0.0.0/8']\n[[callbacks.endpoints]]\nname = 'receiver'\n\
         url = 'http://{}/events'\nallow_http = true\nsecrets = ['{}']\ndeliver_from = 'beginning'\nbatch = 100\n",
        receiver.address,
        SigningKey::symmetric([7; 32]).secret_text(),
    )
}

fn start_replay(installation: &Installation) -> Child {
    let rate = REPLAYED_PER_SECOND.to_string();
    let words = ["replay", "run", "completed", "--rate", &rate, "--reason", "the list is completed"];
    installation.command(&words).spawn().unwrap()
}

/// How many changed outcomes were delivered.
async fn changed_and_delivered(installation: &Installation) -> u64 {
    let mut store: PgConnection = installation.database().connect().await.unwrap();
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM outcome_changes JOIN deliveries USING (event_id) WHERE state = 'delivered'",
    )
    .fetch_one(&mut store)
    .await
    .unwrap();
    store.close().await.unwrap();
    count.unsigned_abs()
}
