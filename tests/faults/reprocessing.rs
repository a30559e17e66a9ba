//! A replay, a redrive and audits while everything breaks: what a list rejected that is completed by now is accepted
//! once and told once, every dead letter is put back, whoever is killed meanwhile, and no audit finds what is not there.

use std::collections::BTreeSet;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::binary::{penstock, text};
use crate::faults::{account, post};
use crate::installation::Installation;
use crate::process::{send_signal, wait_until};

/// The list of account types as it is at first.
pub const LIST: &str = "reference.account_types = ['CURRENT']\n";
/// The same list, completed.
const COMPLETED: &str = "reference.account_types = ['CURRENT', 'SAVINGS']\n";
/// Submissions of a type that the list lacks at first.
const REJECTED: usize = 600;
const BATCH: usize = 100;
/// Accounts that the database refuses at first, so that they are put aside, and put back meanwhile.
const LETTERS: usize = 40;
const REFUSE: &str =
    "ALTER TABLE communications ADD CONSTRAINT refused CHECK (number NOT LIKE 'letter-%') NOT VALID";
const REFUSE_NO_MORE: &str = "ALTER TABLE communications DROP CONSTRAINT refused";
const JOB: &str = "completed";
/// How long the replay goes through the log if nothing breaks: longer than everything takes that breaks.
const REPLAYED_WITHIN: Duration = Duration::from_mins(4);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(5);
/// How soon a command is tried again that found a server away, or another runner.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What a program ends with that has panicked.
const PANICKED: i32 = 101;
/// What a command ends with that has found differences.
const DIFFERENCES: i32 = 3;
/// What a command ends with that has found a server away.
const UNAVAILABLE: i32 = 5;

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct Reprocessed {
    /// How often the job was started.
    pub runners: u32,
    /// Audits that came to an end meanwhile.
    pub audits: u32,
}

/// Replays what was rejected while runner, workers, database and brokers are killed and audits run.
pub async fn reprocessed(installation: &mut Installation<'_>) -> anyhow::Result<Reprocessed> {
    submit(installation).await?;
    put_aside(installation).await?;
    installation.change_settings(LIST, COMPLETED).await?;
    let records = installation.submitted().await?;
    let operator = Operator {
        config: installation.admin_config(),
        records_per_second: (records / REPLAYED_WITHIN.as_secs()).max(1),
        runner: AtomicU32::new(0),
    };
    let (runners, (), audits) = tokio::try_join!(
        async { operator.replay().await.context("replaying") },
        async { breaking(installation, &operator).await.context("breaking") },
        async { operator.audit_until_done().await.context("auditing") },
    )?;
    wait_until("every letter is put back", PATIENCE, async || {
        Ok(put_back(installation).await? == LETTERS)
    })
    .await?;
    let status = operator.status().await?;
    let seen = (&status["state"], &status["changed"]);
    ensure!(seen == (&json!("completed"), &json!(REJECTED)), "the job came to {status}");
    Ok(Reprocessed { runners, audits })
}

/// The last audit, once everything has come to rest.
pub async fn balances(installation: &Installation<'_>) -> anyhow::Result<()> {
    let config = installation.admin_config();
    let audit = penstock(&["audit", "--deep", "--config"]).arg(config).output().await?;
    ensure!(audit.status.success(), "{}{}", text(&audit.stdout), text(&audit.stderr));
    Ok(())
}

/// As many that are rejected as that are not.
async fn submit(installation: &Installation<'_>) -> anyhow::Result<()> {
    let url = format!("{}/amlyze-ws-rest/batch-accounts", installation.intake_url(0));
    for (account_type, expected) in [("CURRENT", "REQUEST_ACCEPTED"), ("SAVINGS", "REQUEST_REJECTED")] {
        for first in (0..REJECTED).step_by(BATCH) {
            let account = |index| {
                let id = format!("{account_type}-{index}");
                let mut account = account(&id, &id, "CREATE");
                account["accountType"] = account_type.into();
                account
            };
            let accounts: Vec<Value> = (first..first + BATCH).map(account).collect();
            let (status, answer) = post(&url, &json!({ "accounts": accounts })).await?;
            let results = answer["results"].as_array().context("an answer has results")?;
            let is_expected = |result: &Value| result["resultType"] == expected;
            ensure!(status == 200 && results.iter().all(is_expected), "{status}: {answer}");
        }
    }
    Ok(())
}

/// Has accounts put aside that the database takes by now.
async fn put_aside(installation: &Installation<'_>) -> anyhow::Result<()> {
    installation.database.run(REFUSE).await?;
    for index in 0..LETTERS {
        let id = format!("letter-{index}");
        let account = account(&id, &id, "CREATE").to_string();
        installation.log.write(&id, account.as_bytes()).await?;
    }
    wait_until("every letter is on its topic", PATIENCE, async || {
        let ends = installation.log.ends("accounts.dead-letter").await?;
        Ok(ends.values().map(|end| end.0).sum::<u64>() == LETTERS as u64)
    })
    .await?;
    installation.database.run(REFUSE_NO_MORE).await
}

/// How many letters there are of which a copy was put back.
async fn put_back(installation: &Installation<'_>) -> anyhow::Result<usize> {
    let submitted = installation.log.read("accounts.submitted").await?;
    let from =
        submitted.iter().filter_map(|received| received.record.headers.text("penstock-redriven-from"));
    Ok(from.collect::<BTreeSet<_>>().len())
}

/// Kills one after the other, each while the job is under way.
async fn breaking(installation: &mut Installation<'_>, operator: &Operator) -> anyhow::Result<()> {
    operator.is_under_way().await?;
    let second = operator.resume().output().await?;
    let is_told = text(&second.stderr).contains("another process runs the job");
    ensure!(!second.status.success() && is_told, "a second runner: {}", text(&second.stderr));
    let runner = operator.runner.load(Ordering::SeqCst);
    ensure!(runner > 0, "nobody runs the job");
    send_signal(runner, "KILL").await?;
    installation.progressed(PATIENCE).await?;

    operator.is_under_way().await?;
    operator.ask_for_redrive().await?;
    installation.workers[0].kill().await?;
    installation.workers[0].start().await?;
    installation.progressed(PATIENCE).await?;

    operator.is_under_way().await?;
    installation.servers.postgres_script("crash").await?;
    installation.servers.start_postgres().await?;
    installation.progressed(PATIENCE).await?;

    operator.is_under_way().await?;
    installation.servers.signal_kafka(1, "KILL").await?;
    installation.servers.start_kafka().await?;
    installation.progressed(PATIENCE).await.map(drop)
}

/// Who runs the commands.
struct Operator {
    config: std::path::PathBuf,
    records_per_second: u64,
    /// The process that goes on with the job; 0: none.
    runner: AtomicU32,
}

impl Operator {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = penstock(words);
        command.arg("--config").arg(&self.config);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    fn resume(&self) -> Command {
        self.command(&["replay", "resume", JOB, "--reason", "it was killed"])
    }

    /// Runs the job, and goes on with it until it is done.
    async fn replay(&self) -> anyhow::Result<u32> {
        let rate = self.records_per_second.to_string();
        let words = ["replay", "run", JOB, "--code", "A007", "--rate", &rate, "--reason", "completed"];
        let mut runners = 1;
        let mut ended = self.run(self.command(&words)).await?;
        let begun = Instant::now();
        while !ended.status.success() {
            ensure!(begun.elapsed() < PATIENCE * 2, "{}", text(&ended.stderr));
            sleep(TRIED_AGAIN_AFTER).await;
            ended = self.run(self.resume()).await?;
            runners += 1;
        }
        Ok(runners)
    }

    async fn run(&self, mut command: Command) -> anyhow::Result<Output> {
        let child = command.spawn()?;
        self.runner.store(child.id().unwrap_or_default(), Ordering::SeqCst);
        let ended = child.wait_with_output().await?;
        self.runner.store(0, Ordering::SeqCst);
        ensure!(ended.status.code() != Some(PANICKED), "{}", text(&ended.stderr));
        Ok(ended)
    }

    async fn status(&self) -> anyhow::Result<Value> {
        let status = self.command(&["replay", "status", JOB, "--json"]).output().await?;
        ensure!(status.status.success(), "{}", text(&status.stderr));
        Ok(serde_json::from_slice(&status.stdout)?)
    }

    /// Has every letter that is there put back, whenever a worker comes to it.
    async fn ask_for_redrive(&self) -> anyhow::Result<()> {
        let words = [
            "dlq",
            "redrive",
            "--class",
            "not_storable",
            "--reason",
            "refused no more",
            "--apply",
            "--wait",
            "0s",
        ];
        let redrive = self.command(&words).output().await?;
        let told = format!("{}{}", text(&redrive.stdout), text(&redrive.stderr));
        ensure!(told.contains(&format!("{LETTERS} letters")), "{told}");
        Ok(())
    }

    /// Waits until the job has gone on from where it is.
    async fn is_under_way(&self) -> anyhow::Result<()> {
        let mut first = None;
        wait_until("the job goes on", PATIENCE, async || {
            let status = self.status().await?;
            ensure!(status["state"] == "running", "the job is {status}, too soon");
            let read = status["read"].as_u64().context("a job tells how far it is")?;
            Ok(read > *first.get_or_insert(read))
        })
        .await
        .map(drop)
    }

    /// Audits again and again until the job is done. One that finds a server away says so; none finds a difference. The
    /// accounts are compared in the end, when nothing else wants the machine.
    async fn audit_until_done(&self) -> anyhow::Result<u32> {
        let (mut audits, begun) = (0, Instant::now());
        loop {
            let is_done = self.status().await.is_ok_and(|status| status["state"] == "completed");
            let audit = self.command(&["audit"]).output().await?;
            match audit.status.code() {
                Some(0) => audits += u32::from(!is_done),
                Some(UNAVAILABLE) => sleep(TRIED_AGAIN_AFTER).await,
                Some(DIFFERENCES) => bail!("an audit found {}", text(&audit.stdout)),
                other => bail!("an audit ended with {other:?}: {}", text(&audit.stderr)),
            }
            if is_done {
                ensure!(audits > 0, "no audit came to an end while the job was under way");
                return Ok(audits);
            }
            ensure!(begun.elapsed() < PATIENCE * 3, "{}", text(&audit.stderr));
        }
    }
}
