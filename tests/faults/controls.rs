//! The situations that guards are for, each played with the guard and without it.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use penstock::account::{
    Account, Generation, LogPartition, Offset, Partition, Policy, Submission, View, decide,
};
use penstock::store::postgres::statements::INSERT_CLAIMS;
use penstock::store::postgres::{PostgresStore, PostgresStoreOptions};
use penstock::store::{Applied, Store as _};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use uuid::Uuid;

use crate::faults::account;
use crate::installation::Installation;
use crate::process::{send_signal, wait_until};
use crate::sabotage::{AT_GATE, GATE, Gate, Guard, PAST_GATE};

/// Longest wait for a step; a session timeout and a rebalance fit in.
const PATIENCE: Duration = Duration::from_mins(1);

/// A negative control.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    pub name: &'static str,
    pub guard: Guard,
    /// How the checker must object.
    pub objection: &'static str,
}

/// Every control whose guard is a lane's.
pub const ALL: [Control; 4] = [
    Control {
        name: "compare-and-set of the frontier off",
        guard: Guard::FrontierCompareAndSet,
        objection: "two outcomes",
    },
    Control {
        name: "compare-and-set of the account off",
        guard: Guard::AccountCompareAndSet,
        objection: "created twice",
    },
    Control {
        name: "read-back between the frontiers off",
        guard: Guard::ReadBack,
        objection: "two outcomes",
    },
    Control {
        name: "offsets before acknowledgement",
        guard: Guard::OffsetsAfterAcknowledgement,
        objection: "has no event",
    },
];

impl Control {
    /// Plays the situation with a lane that has the guard or lacks it, then lets a worker finish.
    pub async fn play(self, installation: &mut Installation<'_>, guard: Guard) -> anyhow::Result<()> {
        match self.guard {
            Guard::None => Ok(()),
            Guard::FrontierCompareAndSet => zombie_after_takeover(installation, guard).await,
            Guard::AccountCompareAndSet => account_on_two_partitions(installation, guard).await,
            Guard::ReadBack => killed_between_the_frontiers(installation, guard).await,
            Guard::OffsetsAfterAcknowledgement => killed_after_commit(installation, guard).await,
        }
        .with_context(|| format!("{}, with {guard:?} off", self.name))
    }
}

/// A lane in a process of its own.
struct LaneProcess {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Vec<String>>>,
}

impl LaneProcess {
    fn start(installation: &Installation<'_>, guard: Guard, gate: Gate) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["lane", &installation.servers.brokers(false), installation.prefix()])
            .args([&installation.postgres_url(), guard.word(), gate.word()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().context("the input is piped")?;
        let mut lines = BufReader::new(child.stdout.take().context("the output is piped")?).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                heard.lock().unwrap().push(line);
            }
        });
        Ok(Self { child, stdin, said })
    }

    async fn has_said(&self, line: &str) -> anyhow::Result<()> {
        let said = || self.said.lock().unwrap().clone();
        let what = format!("a lane says {line:?}");
        let waited = wait_until(&what, PATIENCE, async || Ok(said().iter().any(|said| said == line)));
        waited.await.map(drop).with_context(|| format!("the lane has said {:?}", said()))
    }

    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        send_signal(self.child.id().context("the lane has ended")?, signal).await
    }

    async fn pass_gate(&mut self) -> anyhow::Result<()> {
        self.stdin.write_all(b"go\n").await.context("the lane has ended")?;
        self.has_said(PAST_GATE).await
    }

    async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Writes a submission as the first one of a partition and applies it, as a worker does that dies
/// before it tells what it has done.
async fn applied_elsewhere(
    installation: &Installation<'_>,
    partition: Partition,
    item: &Value,
) -> anyhow::Result<()> {
    let text = item.to_string();
    installation.log.write_to(partition, "elsewhere", text.as_bytes()).await?;
    let account = Account::parse(&text).map_err(|errors| anyhow!("no account: {errors:?}"))?;
    let log = LogPartition { generation: Generation(1), partition };
    let submission = Submission::new(account, None, log.at(Offset(0)));
    let through = [(log, Offset(1))];
    let decision = decide(&[submission], &through, &View::default(), &Policy::default())?;
    let store = PostgresStore::open(PostgresStoreOptions::new(installation.postgres_url())).await?;
    let applied = store.apply(&decision.plan).await?;
    store.close().await;
    ensure!(applied == Applied::Done, "the partition was not the first's to write");
    Ok(())
}

/// The lane is paused before its apply. Meanwhile the account that it did not find is created, and
/// its partition moves on to a worker that finds the account. Then the lane wakes up.
async fn zombie_after_takeover(installation: &mut Installation<'_>, guard: Guard) -> anyhow::Result<()> {
    let mut lane = LaneProcess::start(installation, guard, Gate::BeforeApply)?;
    let update = account(&format!("{GATE}-1"), "a0", "UPDATE").to_string();
    installation.log.write_to(Partition(0), "here", update.as_bytes()).await?;
    lane.has_said(AT_GATE).await?;
    lane.signal("STOP").await?;
    applied_elsewhere(installation, Partition(1), &account("n2", "a0", "CREATE")).await?;
    installation.workers[0].start().await?;
    installation.drained().await?;
    lane.signal("CONT").await?;
    lane.pass_gate().await?;
    lane.kill().await?;
    installation.drained().await.map(drop)
}

/// Two submissions create one account, on two partitions. The lane has decided on one of them when the
/// other is applied.
async fn account_on_two_partitions(
    installation: &mut Installation<'_>,
    guard: Guard,
) -> anyhow::Result<()> {
    let mut lane = LaneProcess::start(installation, guard, Gate::BeforeApply)?;
    let create = account(&format!("{GATE}-1"), "a0", "CREATE").to_string();
    installation.log.write_to(Partition(0), "here", create.as_bytes()).await?;
    lane.has_said(AT_GATE).await?;
    applied_elsewhere(installation, Partition(1), &account("n2", "a0", "CREATE")).await?;
    lane.pass_gate().await?;
    installation.drained().await?;
    lane.kill().await
}

/// The lane dies between apply and commit. When it is started again, the account has another state.
async fn killed_between_the_frontiers(
    installation: &mut Installation<'_>,
    guard: Guard,
) -> anyhow::Result<()> {
    let lane = LaneProcess::start(installation, Guard::None, Gate::AfterApply)?;
    let update = account(&format!("{GATE}-1"), "a0", "UPDATE").to_string();
    installation.log.write_to(Partition(0), "here", update.as_bytes()).await?;
    lane.has_said(AT_GATE).await?;
    applied_elsewhere(installation, Partition(1), &account("n2", "a0", "CREATE")).await?;
    lane.kill().await?;
    let lane = LaneProcess::start(installation, guard, Gate::Nowhere)?;
    installation.drained().await?;
    lane.kill().await
}

/// The lane dies as soon as it has committed; a worker takes over.
async fn killed_after_commit(installation: &mut Installation<'_>, guard: Guard) -> anyhow::Result<()> {
    let lane = LaneProcess::start(installation, guard, Gate::Nowhere)?;
    let create = account("n1", "a0", "CREATE").to_string();
    installation.log.write_to(Partition(0), "here", create.as_bytes()).await?;
    installation.drained().await?;
    lane.kill().await?;
    installation.workers[0].start().await?;
    installation.drained().await.map(drop)
}

/// Rows of a claim that two sessions make at the same time.
const CLAIMS: i32 = 5_000;
/// Meetings of two sessions until a circle must have shown.
const MEETINGS: usize = 20;

/// Two sessions claim the same numbers, given in opposite order. Sorted by the statement they wait for
/// each other in a line; unsorted they must meet in a circle, which the server breaks.
pub async fn sorting(installation: &Installation<'_>, is_sorted: bool) -> anyhow::Result<bool> {
    let sorting = "ORDER BY number COLLATE \"C\"";
    ensure!(
        INSERT_CLAIMS.contains(sorting),
        "the statement sorts in another way than this control knows"
    );
    let statement =
        if is_sorted { INSERT_CLAIMS.to_owned() } else { INSERT_CLAIMS.replace(sorting, "") };
    let mut sessions = (installation.database.session().await?, installation.database.session().await?);
    for _ in 0..MEETINGS {
        let up: Vec<i32> = (0..CLAIMS).collect();
        let down: Vec<i32> = up.iter().rev().copied().collect();
        let met = tokio::join!(
            claim(&mut sessions.0, &statement, &up),
            claim(&mut sessions.1, &statement, &down)
        );
        for claimed in [met.0, met.1] {
            match claimed {
                Ok(()) => {}
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") => {
                    return Ok(true);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(false)
}

/// Claims numbers in a transaction that is rolled back.
async fn claim(session: &mut PgConnection, statement: &str, ids: &[i32]) -> Result<(), sqlx::Error> {
    let mut transaction = session.begin().await?;
    let texts = |prefix: &str| ids.iter().map(|id| format!("{prefix}-{id:06}")).collect::<Vec<_>>();
    sqlx::query(AssertSqlSafe(statement))
        .bind(texts("n"))
        .bind(vec![vec![7_u8; 32]; ids.len()])
        .bind(ids.iter().map(|id| Uuid::from_u128(u128::from(id.unsigned_abs()))).collect::<Vec<_>>())
        .bind(vec![1_i32; ids.len()])
        .bind(vec![0_i32; ids.len()])
        .bind(ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>())
        .bind(vec![""; ids.len()])
        .bind(texts("a"))
        .bind(vec!["c0"; ids.len()])
        .bind(vec!["CORE"; ids.len()])
        .execute(&mut *transaction)
        .await?;
    transaction.rollback().await
}
