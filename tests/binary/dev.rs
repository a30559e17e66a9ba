//! The real binary as a process of its own: started, killed, stopped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest time from start to the first answer, and from a signal to the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn penstock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    // Settings of whoever runs the tests are none of theirs.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PENSTOCK")) {
        command.env_remove(name);
    }
    command
}

/// A running `penstock dev`; killed when dropped.
pub(crate) struct Dev {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
}

impl Dev {
    /// Starts it on a free port.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_on(data, "127.0.0.1:0")
    }

    /// Starts it on `address` and waits until it says where it listens. Its log goes to `dev.log` beside the data.
    pub(crate) fn start_on(data: &Path, address: &str) -> Self {
        let log = log_file(data);
        let mut child = penstock()
            .args(["dev", "--listen", address, "--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (found, url) = mpsc::channel();
        // Goes on reading to the end, so that the process never waits for its reader.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(url) = url_in(&line) {
                    let _ = found.send(url);
                }
            }
        });
        let Ok(url) = url.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            panic!(
                "penstock dev did not say where it listens; its log:
{said}"
            );
        };
        Self { child, url }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Ends it at once, wherever it is (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "penstock dev did not end within {PATIENCE:?} of SIGTERM"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_file(data: &Path) -> PathBuf {
    data.with_file_name("dev.log")
}

/// The first `http://127.0.0.1:PORT` of a line.
fn url_in(line: &str) -> Option<String> {
    let start = line.find("http://127.0.0.1:")?;
    let rest = &line[start..];
    let port = rest["http://127.0.0.1:".len()..].find(|c: char| !c.is_ascii_digit());
    Some(rest[..port.map_or(rest.len(), |length| "http://127.0.0.1:".len() + length)].to_owned())
}

/// Posts JSON with the token `dev`; the answer's status and body.
pub(crate) async fn post(
    url: &str,
    path: &str,
    body: impl Into<reqwest::Body>,
) -> (u16, serde_json::Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(format!("{url}{path}"))
        .bearer_auth("dev")
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
