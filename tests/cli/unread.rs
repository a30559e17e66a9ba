//! Outputs that nobody reads: a log pipe that stands still stops neither requests nor signals.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::binary::field;
use crate::process::{DEADLINE, Dev, example_batch, penstock, signal, until};

/// Far less than `shutdown.drain_timeout`.
const SOON: Duration = Duration::from_secs(10);

/// A `penstock dev` whose stderr nobody reads.
struct Unread {
    child: Child,
    url: String,
    admin: String,
}

impl Unread {
    async fn start(directory: &TempDir) -> Self {
        let mut command = Dev::command(directory, &[]);
        command.env("PENSTOCK__TELEMETRY__LOG_BUFFER", "100kB");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        while !banner.contains("Ctrl-C") {
            let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
            banner.push_str(&line.unwrap());
            banner.push('\n');
        }
        let (url, admin) = (field(&banner, "url").unwrap(), field(&banner, "admin").unwrap());
        Self { child, url, admin }
    }

    async fn get(&self, address: &str, path: &str) -> (u16, String) {
        let answer = timeout(SOON, reqwest::get(format!("{address}{path}"))).await.unwrap().unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn dropped(&self) -> u64 {
        let metrics = self.get(&self.admin, "/metrics").await.1;
        field(&metrics, "penstock_log_dropped_total").unwrap().parse().unwrap()
    }

    /// Has lines logged until some are dropped.
    async fn fill(&self) {
        while self.dropped().await == 0 {
            for _ in 0..50 {
                assert_eq!(self.get(&self.url, "/nowhere").await.0, 404);
            }
        }
    }

    async fn ends_within(&mut self, limit: Duration) -> Option<i32> {
        timeout(limit, self.child.wait()).await.expect("it ends in time").unwrap().code()
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_neither_requests_nor_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Unread::start(&directory).await;
    assert_eq!(dev.dropped().await, 0);
    dev.fill().await;
    let request = reqwest::Client::new()
        .post(format!("{}/amlyze-ws-rest/batch-accounts", dev.url))
        .header("content-type", "application/json")
        .bearer_auth("dev")
        .body(example_batch());
    let answer = timeout(SOON, request.send()).await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["penstock-pending"], "0", "the worker goes on too");
    assert_eq!(dev.get(&dev.admin, "/readyz").await.0, 200);
    assert_eq!(dev.get(&dev.admin, "/healthz").await.0, 200);
    signal(&dev.child, "TERM").await;
    assert_eq!(dev.ends_within(SOON).await, Some(0));
}

#[tokio::test]
async fn whoever_reads_the_log_again_is_told_how_much_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Unread::start(&directory).await;
    dev.fill().await;
    let dropped = dev.dropped().await;
    let mut stderr = dev.child.stderr.take().unwrap();
    let mut log = String::new();
    let told = |log: &str| -> u64 {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines
            .filter(|line| line["message"].as_str().unwrap().contains("were dropped"))
            .map(|line| line["lines"].as_u64().unwrap())
            .sum()
    };
    while told(&log) < dropped {
        let mut part = vec![0; 65_536];
        let size = timeout(DEADLINE, stderr.read(&mut part)).await.unwrap().unwrap();
        assert_ne!(size, 0, "it ended");
        log.push_str(std::str::from_utf8(&part[..size]).unwrap());
    }
    assert_eq!(told(&log), dropped);
    let read_on = tokio::spawn(async move { stderr.read_to_string(&mut String::new()).await });
    signal(&dev.child, "TERM").await;
    assert_eq!(dev.ends_within(SOON).await, Some(0));
    read_on.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_though_nobody_reads() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Unread::start(&directory).await;
    dev.fill().await;
    // A request that has begun holds up the first signal's way to the end.
    let mut open = TcpStream::connect(dev.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /amlyze-ws-rest/batch-accounts HTTP/1.1\r\nhost: a\r\nauthorization: Bearer dev\r\n\
                content-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    open.write_all(head.as_bytes()).await.unwrap();
    let in_flight = async || {
        let metrics = dev.get(&dev.admin, "/metrics").await.1;
        field(&metrics, "penstock_intake_in_flight_bytes").is_some_and(|bytes| bytes != "0")
    };
    until(in_flight).await;
    signal(&dev.child, "TERM").await;
    until(async || dev.get(&dev.admin, "/readyz").await.0 == 503).await;
    signal(&dev.child, "INT").await;
    assert_eq!(dev.ends_within(Duration::from_secs(5)).await, Some(1));
}

#[tokio::test]
async fn a_terminal_that_is_closed_drains_it_like_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = start_with(&directory, "--default-signal=HUP").await;
    dev.hang_up().await;
    assert_eq!(dev.ended().await.code(), Some(0));
    assert!(dev.log().contains("stopped: everything is closed"), "{}", dev.log());
}

#[tokio::test]
async fn what_is_to_outlive_its_terminal_goes_on_when_that_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let dev = start_with(&directory, "--ignore-signal=HUP").await;
    dev.hang_up().await;
    let answer = reqwest::get(format!("{}/healthz", dev.admin)).await.unwrap();
    assert!(answer.status().is_success());
    dev.stop().await;
}

/// Starts it with what it inherits of SIGHUP, whatever whoever runs the tests does with that.
async fn start_with(directory: &TempDir, of_signals: &str) -> Dev {
    let command = Dev::command(directory, &[]);
    let inner = command.as_std();
    let mut outer = Command::new("env");
    outer.arg(of_signals).arg(inner.get_program()).args(inner.get_args());
    for (name, _) in inner.get_envs().filter(|(_, value)| value.is_none()) {
        outer.env_remove(name);
    }
    outer.stdin(Stdio::null()).kill_on_drop(true);
    Dev::spawn(directory.path().join("log"), outer).await
}

#[tokio::test]
async fn output_that_nobody_takes_holds_up_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, _unread) = tokio::net::unix::pipe::pipe().unwrap();
    while sender.try_write(&[b'\n'; 4_096]).is_ok() {}
    let full = sender.into_blocking_fd().unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = penstock(&["dev", "--listen", "127.0.0.1:0", "--admin-listen"]);
    command.arg(admin.to_string()).arg("--data-dir").arg(directory.path().join("data"));
    let mut child = command.stdout(full).stderr(Stdio::null()).spawn().unwrap();
    let ready = format!("http://{admin}/readyz");
    until(async || reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success())).await;
    signal(&child, "TERM").await;
    let ended = timeout(SOON, child.wait()).await.expect("it ends in time").unwrap();
    assert_eq!(ended.code(), Some(0));
}
