//! The faults: each breaks something under a running installation and puts it right again.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use sqlx::{Connection, Executor};
use tokio::time::sleep;

use crate::installation::{Installation, LOCK_TIMEOUT, Proxied};
use crate::process::{TOKEN, wait_until};
use crate::proxy::Toxic;
use crate::random::Random;
use crate::servers::run;

/// How long something is broken when no timeout says how long it must be.
const OUTAGE: Duration = Duration::from_secs(3);
/// SQLSTATE of a full disk.
const DISK_FULL: &str = "53100";
/// Longest wait for things to go on as before while something is still broken.
const PATIENCE: Duration = Duration::from_mins(2);

/// How much a run takes upon itself.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Submissions between a base backup and its restoration.
    pub submissions_since_backup: usize,
    /// How long a process is paused: beyond the session timeout, or beyond the poll timeout too.
    pub pause: Duration,
    /// Faults of the random mix.
    pub mixed_faults: usize,
    /// Of the random choices.
    pub seed: u64,
}

type Run = for<'f> fn(&'f mut Installation<'_>, Extent) -> LocalBoxFuture<'f, anyhow::Result<()>>;

/// One way to break things.
pub struct Fault {
    pub name: &'static str,
    pub proxied: Proxied,
    /// Whether outcomes may depend on the order in which partitions are read: with a store that was set
    /// back they must not, because partitions are read again in another order.
    pub has_conflicts: bool,
    pub tablespace: &'static str,
    pub run: Run,
}

macro_rules! fault {
    ($name:literal, $run:path $(, $field:ident: $value:expr)*) => {
        Fault {
            $($field: $value,)*
            ..Fault {
                name: $name,
                proxied: Proxied::Nothing,
                has_conflicts: true,
                tablespace: "pg_default",
                run: |installation, extent| $run(installation, extent).boxed_local(),
            }
        }
    };
}

/// Every fault, in the order in which they are run.
pub fn all() -> Vec<Fault> {
    vec![
        fault!("nothing", nothing),
        fault!("intake killed", intake_killed),
        fault!("intake paused", intake_paused),
        fault!("worker killed", worker_killed),
        fault!("worker paused beyond its session", worker_paused),
        fault!("workers restarted one by one", workers_restarted),
        fault!("broker killed", broker_killed),
        fault!("broker paused", broker_paused),
        fault!("broker restarted", broker_restarted),
        fault!("leader of the busiest partition killed", leader_killed),
        fault!("two brokers killed: no quorum", no_quorum),
        fault!("PostgreSQL stopped immediately", postgres_crashed),
        fault!("PostgreSQL restored from a backup", postgres_restored, has_conflicts: false),
        fault!("sessions terminated", sessions_terminated),
        fault!("lock held on a table", lock_held),
        fault!("PostgreSQL only reads", read_only),
        fault!("disk full", disk_full, tablespace: "small"),
        fault!("worker to Kafka: bad network", kafka_toxics, proxied: Proxied::WorkersToKafka),
        fault!("intake to Kafka: bad network", kafka_toxics, proxied: Proxied::IntakesToKafka),
        fault!("worker to PostgreSQL: bad network", postgres_toxics, proxied: Proxied::WorkersToPostgres),
        fault!("odd records of a foreign producer", odd_records),
        fault!("one batch to both intakes at once", duplicate_batches),
        fault!("random mix", random_mix, proxied: Proxied::WorkersToPostgres),
    ]
}

async fn nothing(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    installation.progressed(PATIENCE).await.map(drop)
}

async fn intake_killed(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    let intake = &mut installation.intakes[0];
    intake.kill().await?;
    sleep(OUTAGE).await;
    intake.start().await
}

async fn intake_paused(installation: &mut Installation<'_>, extent: Extent) -> anyhow::Result<()> {
    installation.intakes[0].signal("STOP").await?;
    sleep(extent.pause).await;
    installation.intakes[0].signal("CONT").await
}

async fn worker_killed(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    installation.workers[0].kill().await?;
    // The others have all of its partitions.
    installation.progressed(PATIENCE).await?;
    installation.workers[0].start().await
}

async fn worker_paused(installation: &mut Installation<'_>, extent: Extent) -> anyhow::Result<()> {
    installation.workers[0].signal("STOP").await?;
    sleep(extent.pause).await;
    installation.workers[0].signal("CONT").await
}

async fn workers_restarted(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    for index in 0..installation.workers.len() {
        installation.workers[index].stop().await?;
        installation.workers[index].start().await?;
        installation.progressed(PATIENCE).await?;
    }
    Ok(())
}

async fn broker_killed(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    kill_node(installation, 1).await
}

async fn kill_node(installation: &mut Installation<'_>, node: u16) -> anyhow::Result<()> {
    installation.servers.signal_kafka(node, "KILL").await?;
    installation.progressed(PATIENCE).await.context("with one broker less")?;
    installation.servers.start_kafka().await
}

async fn broker_paused(installation: &mut Installation<'_>, extent: Extent) -> anyhow::Result<()> {
    installation.servers.signal_kafka(2, "STOP").await?;
    sleep(extent.pause).await;
    installation.servers.signal_kafka(2, "CONT").await
}

async fn broker_restarted(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    installation.servers.signal_kafka(3, "TERM").await?;
    installation.servers.start_kafka().await
}

async fn leader_killed(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    let ends = installation.log.ends("accounts.submitted").await?;
    let busiest = ends.into_iter().max_by_key(|(_, end)| *end).context("there are partitions")?.0;
    let leader = installation.log.leader(busiest).await?;
    kill_node(installation, leader).await
}

async fn no_quorum(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    for node in [1, 2] {
        installation.servers.signal_kafka(node, "KILL").await?;
    }
    let url = format!("{}/amlyze-ws-rest/batch-accounts", installation.intake_url(0));
    wait_until("an intake answers 503", PATIENCE, async || {
        let batch = json!({ "accounts": [account("no-quorum", "no-quorum", "CREATE")] });
        Ok(post(&url, &batch).await?.0 == 503)
    })
    .await?;
    installation.servers.start_kafka().await
}

async fn postgres_crashed(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    installation.servers.postgres_script("crash").await?;
    sleep(OUTAGE).await;
    installation.servers.start_postgres().await.map(drop)
}

async fn postgres_restored(installation: &mut Installation<'_>, extent: Extent) -> anyhow::Result<()> {
    installation.servers.postgres_script("backup").await?;
    let before = installation.submitted().await?;
    let wanted = before + extent.submissions_since_backup as u64;
    wait_until("enough was submitted since the backup", PATIENCE * 10, async || {
        installation.check()?;
        Ok(installation.submitted().await? >= wanted)
    })
    .await?;
    installation.servers.postgres_script("crash").await?;
    installation.servers.postgres_script("restore").await?;
    installation.servers.start_postgres().await.map(drop)
}

async fn sessions_terminated(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    for _ in 0..10 {
        installation.database.terminate_sessions().await?;
        sleep(OUTAGE / 10).await;
    }
    Ok(())
}

async fn lock_held(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    let mut session = installation.database.session().await?;
    session.execute("BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE").await?;
    sleep(LOCK_TIMEOUT + OUTAGE).await;
    Ok(session.close().await?)
}

async fn read_only(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    installation.set_read_only(true).await?;
    sleep(OUTAGE * 2).await;
    installation.set_read_only(false).await
}

async fn disk_full(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    let filler = installation.servers.small_filesystem().join("filler");
    // Takes what is left, and ends with an error when there is no more.
    let fill = format!("head -c 1G /dev/zero >{} 2>/dev/null || true", filler.display());
    run(tokio::process::Command::new("sh").args(["-c", &fill])).await?;
    wait_until("every worker meets a full disk", PATIENCE, async || {
        installation.check()?;
        Ok(installation.workers.iter().all(|worker| worker.has_logged(DISK_FULL)))
    })
    .await?;
    Ok(std::fs::remove_file(filler)?)
}

/// What a bad network does, and for how long.
const TOXICS: [(Toxic, Duration); 5] = [
    (Toxic::Latency(Duration::from_millis(300)), OUTAGE),
    (Toxic::Bandwidth(64 * 1024), OUTAGE),
    (Toxic::Reset, OUTAGE),
    (Toxic::BlackHole, Duration::from_secs(7)),
    (Toxic::SlowClose(Duration::from_secs(2)), OUTAGE),
];

async fn kafka_toxics(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    for (toxic, duration) in TOXICS {
        installation.servers.poison_kafka(toxic);
        sleep(duration).await;
    }
    installation.servers.poison_kafka(Toxic::None);
    Ok(())
}

async fn postgres_toxics(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    for (toxic, duration) in TOXICS {
        installation.servers.poison_postgres(toxic);
        sleep(duration).await;
    }
    installation.servers.poison_postgres(Toxic::None);
    Ok(())
}

async fn odd_records(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    let log = &installation.log;
    for index in 0..20 {
        log.write(&format!("/garbage-{index}"), b"\xff\x00 no account").await?;
        log.write(&format!("/no-object-{index}"), b"[1, 2, 3]").await?;
        let id = format!("foreign-{index}");
        let account = account(&id, &id, "CREATE").to_string();
        log.write(&format!("/{id}"), account.as_bytes()).await?;
    }
    // As large as a record may be: an account within a lot of nothing.
    let mut large = account("large", "large", "CREATE").to_string();
    large.push_str(&" ".repeat(1_000_000 - large.len()));
    log.write("/large", large.as_bytes()).await?;
    log.write("/large-garbage", &vec![b'x'; 1_000_000]).await
}

async fn duplicate_batches(installation: &mut Installation<'_>, _: Extent) -> anyhow::Result<()> {
    let urls =
        [0, 1].map(|index| format!("{}/amlyze-ws-rest/batch-accounts", installation.intake_url(index)));
    for round in 0..30 {
        let accounts: Vec<_> = (0..10)
            .map(|item| {
                account(&format!("twice-{round}-{item}"), &format!("a-{round}-{item}"), "CREATE")
            })
            .collect();
        let batch = json!({ "accounts": accounts });
        let (first, second) = tokio::join!(post(&urls[0], &batch), post(&urls[1], &batch));
        for (status, answer) in [first?, second?] {
            ensure!(status == 200, "a batch was answered {status}: {answer}");
            let results = answer["results"].as_array().context("an answer has results")?;
            let is_accepted = |result: &serde_json::Value| result["resultType"] == "REQUEST_ACCEPTED";
            ensure!(results.len() == 10 && results.iter().all(is_accepted), "wrong: {answer}");
        }
    }
    Ok(())
}

async fn random_mix(installation: &mut Installation<'_>, extent: Extent) -> anyhow::Result<()> {
    let mut random = Random(extent.seed);
    let workers: Vec<usize> = (0..installation.workers.len()).collect();
    let intakes: Vec<usize> = (0..installation.intakes.len()).collect();
    for _ in 0..extent.mixed_faults {
        let (worker, intake) = (random.pick(&workers), random.pick(&intakes));
        let (node, (toxic, duration)) = (random.pick(&[1, 2, 3]), random.pick(&TOXICS));
        match random.below(9) {
            0 => {
                installation.workers[worker].kill().await?;
                installation.workers[worker].start().await?;
            }
            1 => {
                installation.workers[worker].signal("STOP").await?;
                sleep(Duration::from_millis(500 * random.below(40))).await;
                installation.workers[worker].signal("CONT").await?;
            }
            2 => {
                installation.workers[worker].stop().await?;
                installation.workers[worker].start().await?;
            }
            3 => {
                installation.intakes[intake].kill().await?;
                installation.intakes[intake].start().await?;
            }
            4 => {
                installation.servers.signal_kafka(node, "KILL").await?;
                installation.servers.start_kafka().await?;
            }
            5 => postgres_crashed(installation, extent).await?,
            6 => installation.database.terminate_sessions().await?,
            7 => lock_held(installation, extent).await?,
            _ => {
                installation.servers.poison_postgres(toxic);
                sleep(duration).await;
                installation.servers.poison_postgres(Toxic::None);
            }
        }
        // Sometimes the next fault meets a system that has not recovered yet.
        if random.below(2) == 0 {
            installation.progressed(PATIENCE).await?;
        }
    }
    Ok(())
}

/// An account for a batch or a record.
pub fn account(number: &str, account: &str, action: &str) -> serde_json::Value {
    json!({
        "communicationNumber": number, "requester": "CORE", "businessEntityExtId": "c0",
        "accountExtId": account, "accountNumber": "LT121000011101001000", "accountStatus": "ACTIVE",
        "currencyCode": "EUR", "openingDate": "2023-09-05T08:07:34Z", "action": action,
    })
}

/// Posts a batch to an intake; the status and the answer.
pub async fn post(url: &str, batch: &serde_json::Value) -> anyhow::Result<(u16, serde_json::Value)> {
    let answer = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/json")
        .header("prefer", "wait=10")
        .bearer_auth(TOKEN)
        .timeout(Duration::from_secs(40))
        .body(batch.to_string())
        .send()
        .await?;
    Ok((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
}
