//! Starting and stopping the binary.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::binary::field;
pub(crate) use crate::binary::{penstock, text};

/// Longest wait for anything; only a failing test waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Runs a command to its end.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    tokio::time::timeout(DEADLINE, penstock(arguments).output()).await.unwrap().unwrap()
}

/// Waits until something holds.
pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

/// A running `penstock dev`, or another command that serves, on free ports.
pub(crate) struct Dev {
    child: Child,
    /// What it said on stdout.
    pub(crate) banner: String,
    /// Address of the intake, `http://…`; empty for a command without one.
    pub(crate) url: String,
    /// Address of the admin listener, `http://…`.
    pub(crate) admin: String,
    log: PathBuf,
}

impl Dev {
    /// Starts it in `directory` and waits until it serves.
    pub(crate) async fn start(directory: &TempDir, arguments: &[&str]) -> Self {
        Self::spawn(directory.path().join("log"), Self::command(directory, arguments)).await
    }

    /// Starts it in `directory` on an address that clients know.
    pub(crate) async fn start_at(directory: &TempDir, address: &str) -> Self {
        Self::spawn(directory.path().join("log"), Self::command_at(directory, address)).await
    }

    /// Starts a command that logs into `log` and waits until it serves.
    pub(crate) async fn spawn(log: PathBuf, mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        let read = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                banner.push_str(&line);
                banner.push('\n');
                if line.contains("Ctrl-C") {
                    return;
                }
            }
            panic!("it ended: {}", std::fs::read_to_string(&log).unwrap());
        };
        tokio::time::timeout(DEADLINE, read).await.unwrap();
        let (url, admin) = (field(&banner, "url").unwrap_or_default(), field(&banner, "admin").unwrap());
        Self { child, banner, url, admin, log }
    }

    /// The command that [`Dev::start`] runs.
    pub(crate) fn command(directory: &TempDir, arguments: &[&str]) -> Command {
        let mut command = Self::command_at(directory, "127.0.0.1:0");
        command.args(arguments);
        command
    }

    fn command_at(directory: &TempDir, address: &str) -> Command {
        let mut command = penstock(&["dev", "--listen", address, "--admin-listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(directory.path().join("data"));
        command
    }

    /// Ends it at once, wherever it is (SIGKILL).
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end (SIGTERM), and sees to it that it does so in order.
    pub(crate) async fn stop(mut self) {
        self.terminate().await;
        assert!(self.ended().await.success(), "{}", self.log());
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&self) {
        signal(&self.child, "TERM").await;
    }

    /// Sends SIGHUP.
    pub(crate) async fn hang_up(&self) {
        signal(&self.child, "HUP").await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap()
    }

    /// Sends a batch with the token `dev`; the status and the body.
    pub(crate) async fn send(&self, batch: impl Into<String>) -> (u16, serde_json::Value) {
        let response = reqwest::Client::new()
            .post(format!("{}/amlyze-ws-rest/batch-accounts", self.url))
            .header("content-type", "application/json")
            .bearer_auth("dev")
            .body(batch.into())
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The status of `/readyz`.
    pub(crate) async fn readiness(&self) -> u16 {
        self.get(&format!("{}/readyz", self.admin)).await.0
    }

    /// Waits until it is ready: a role serves its admin pages before its consumers have joined.
    pub(crate) async fn until_ready(&self) {
        until(async || self.readiness().await == 200).await;
    }

    /// Asks for a page without a token; the status and the text.
    pub(crate) async fn get(&self, url: &str) -> (u16, String) {
        let response = reqwest::get(url).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

/// Sends a signal by its name.
pub(crate) async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
}

/// The published example.
pub(crate) fn example_batch() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/batch.json")).unwrap()
}
