//! The processes under test: roles and loads, each of the real binary.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use penstock::account::{CommunicationNumber, RejectionCode, Verdict};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::Instant;

use crate::binary::{field, penstock, text};
use crate::checker::Answered;
use crate::program::say;

/// Longest time a role may take to serve or to end; its servers may be away meanwhile.
const ROLE_DEADLINE: Duration = Duration::from_mins(2);
/// Token of the loads.
pub const TOKEN: &str = "faults";
/// Items of a load's batch.
pub const BATCH_SIZE: usize = 20;
/// Connections of a load, each with one batch at a time.
const CONNECTIONS: usize = 2;

/// An intake, a worker or callbacks, whether it runs or not.
pub struct Role {
    kind: &'static str,
    config: PathBuf,
    log: PathBuf,
    running: Option<Running>,
    /// Most memory any of its processes had resident, in bytes.
    pub peak_rss_bytes: u64,
}

struct Running {
    child: Child,
    /// What it has said up to the moment it served.
    banner: String,
    /// Kept open: a closed output is one more thing to go wrong.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Role {
    /// A role that does not run yet.
    pub fn new(kind: &'static str, config: PathBuf) -> Self {
        let log = config.with_extension("log");
        Self { kind, config, log, running: None, peak_rss_bytes: 0 }
    }

    /// Starts it and waits until it serves.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = penstock(&[self.kind, "--config"]);
        let mut child = command.arg(&self.config).stdout(Stdio::piped()).stderr(log).spawn()?;
        let stdout = child.stdout.take().context("the output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut banner = String::new();
        let serving = async {
            while let Some(line) = lines.next_line().await? {
                banner.push_str(&line);
                banner.push('\n');
                if field(&line, "admin").is_some() {
                    return Ok(());
                }
            }
            bail!("{} does not start: {}", self.kind, self.last_log_lines())
        };
        tokio::time::timeout(ROLE_DEADLINE, serving)
            .await
            .context("a role does not serve in time")??;
        self.running = Some(Running { child, banner, _stdout: lines });
        Ok(())
    }

    /// Sends a signal by its name.
    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let running = self.running.as_ref().context("it does not run")?;
        let id = running
            .child
            .id()
            .with_context(|| format!("{} has ended: {}", self.kind, self.last_log_lines()))?;
        send_signal(id, signal).await
    }

    /// Ends it at once (SIGKILL).
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.note_memory();
        let mut running = self.running.take().context("it does not run")?;
        running.child.kill().await.context("it cannot be killed")
    }

    /// Asks it to end (SIGTERM) and sees to it that it does so in order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.note_memory();
        self.signal("TERM").await?;
        let mut running = self.running.take().context("it does not run")?;
        let ended = tokio::time::timeout(ROLE_DEADLINE, running.child.wait()).await;
        let status = ended.context("a role does not stop in time")??;
        ensure!(status.success(), "{} stopped with {status}: {}", self.kind, self.last_log_lines());
        Ok(())
    }

    /// An error when it has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.note_memory();
        let Some(running) = &mut self.running else { return Ok(()) };
        match running.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.kind, self.last_log_lines()),
        }
    }

    /// The address that it told after `word` when it was started last.
    pub fn address(&self, word: &str) -> anyhow::Result<String> {
        let running = self.running.as_ref().context("it does not run")?;
        field(&running.banner, word).with_context(|| format!("{} has told no {word}", self.kind))
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn note_memory(&mut self) {
        let Some(id) = self.running.as_ref().and_then(|running| running.child.id()) else { return };
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let kib = field(&status, "VmHWM:").and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        self.peak_rss_bytes = self.peak_rss_bytes.max(kib * 1024);
    }

    /// Whether its log has this in it.
    pub fn has_logged(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.log).unwrap_or_default().contains(text)
    }

    fn last_log_lines(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Makes tables and topics, as an operator does.
pub async fn set_up(config: &Path) -> anyhow::Result<()> {
    for arguments in [&["migrate"][..], &["topics", "apply"]] {
        let mut command = penstock(arguments);
        let ended = tokio::time::timeout(ROLE_DEADLINE, command.arg("--config").arg(config).output());
        let output = ended.await.with_context(|| format!("{arguments:?} does not end in time"))??;
        ensure!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }
    Ok(())
}

/// Copies what processes said, for whoever looks for the cause of a failure.
pub fn keep_logs(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "log") {
            std::fs::copy(&file, to.join(file.file_name().context("a file has a name")?))?;
        }
    }
    say(&format!("logs are in {}", to.display()));
    Ok(())
}

/// Sends a signal to a process that was started here.
pub async fn send_signal(id: u32, signal: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().await?;
    ensure!(sent.success(), "process {id} cannot be sent {signal}");
    Ok(())
}

/// What a load sends.
#[derive(Clone, Debug)]
pub struct Feed {
    pub seed: u64,
    pub items_per_second: u32,
    /// Share of items that take a used number for other content of another account.
    pub conflict: &'static str,
}

/// A running `penstock load`.
pub struct Load {
    child: Child,
    answers: PathBuf,
}

/// What a load reports at its end.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Report {
    pub retries: u64,
    pub resends: u64,
    differences: u64,
    first_differences: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerLine {
    communication_number: String,
    outcome: Option<String>,
}

impl Load {
    /// Starts a load that goes on until it is stopped.
    pub fn start(url: &str, feed: &Feed, answers: PathBuf) -> anyhow::Result<Self> {
        let mut command = penstock(&["load", "--url", url, "--token", TOKEN, "--output", "json"]);
        command.args(["--items", "100000000", "--patience", "5m", "--wait", "5s"]);
        command.args([
            "--batch-size",
            &BATCH_SIZE.to_string(),
            "--connections",
            &CONNECTIONS.to_string(),
        ]);
        command.args([
            "--invalid",
            "4%",
            "--repeat",
            "4%",
            "--update",
            "15%",
            "--conflict",
            feed.conflict,
        ]);
        command.args(["--rate", &feed.items_per_second.to_string(), "--seed", &feed.seed.to_string()]);
        command.arg("--answers").arg(&answers).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self { child: command.spawn()?, answers })
    }

    /// Items answered so far.
    pub fn answered(&self) -> usize {
        std::fs::read_to_string(&self.answers).unwrap_or_default().lines().count()
    }

    /// How many items must be answered from now on until one of them was sent after now.
    pub fn in_flight() -> usize {
        (CONNECTIONS + 1) * BATCH_SIZE
    }

    /// An error when it has ended by itself, which it does when an answer is final and wrong in kind.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("a load ended by itself with {status}"),
        }
    }

    /// Stops it; an error when any of its answers was wrong.
    pub async fn stop(self) -> anyhow::Result<(Report, Vec<Answered>)> {
        let id = self.child.id().context("a load ended by itself")?;
        send_signal(id, "INT").await?;
        let ended = tokio::time::timeout(ROLE_DEADLINE, self.child.wait_with_output()).await;
        let output = ended.context("a load does not stop in time")??;
        let report: Report = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("a load reports nothing: {}", text(&output.stderr)))?;
        ensure!(report.differences == 0, "wrong answers: {:?}", report.first_differences);
        Ok((report, read_answers(&self.answers)?))
    }
}

fn read_answers(path: &Path) -> anyhow::Result<Vec<Answered>> {
    let answered = |line: &str| {
        let line: AnswerLine = serde_json::from_str(line)?;
        let number = CommunicationNumber::parse(&line.communication_number)
            .map_err(|problem| anyhow::anyhow!("an answered number {problem}"))?;
        let verdict = match line.outcome.as_deref() {
            Some("accepted") => Verdict::Accepted,
            Some(code) => Verdict::Rejected(RejectionCode::parse(code).context("no code")?),
            None => bail!("an answer without an outcome"),
        };
        Ok(Answered { number, verdict })
    };
    std::fs::read_to_string(path)?.lines().map(answered).collect()
}

/// Waits until something holds, at most so long.
pub async fn wait_until(
    what: &str,
    within: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut last_error = None;
    while begun.elapsed() < within {
        match holds().await {
            Ok(true) => return Ok(begun.elapsed()),
            Ok(false) => last_error = None,
            Err(error) => last_error = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let missing = format!("within {} s it did not happen that {what}", within.as_secs());
    match last_error {
        Some(error) => Err(error.context(missing)),
        None => bail!(missing),
    }
}
