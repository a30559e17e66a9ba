//! The pipeline's side: the real binary under its own load.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::Args;

/// What one run came to.
pub(crate) struct Run {
    pub(crate) items_per_second: f64,
    pub(crate) latency_p99_ms: f64,
    pub(crate) peak_resident_mib: f64,
}

/// Starts `dev` on an empty directory, puts the load on it and stops it.
pub(crate) fn run(data: &Path, args: &Args) -> Run {
    let (mut dev, url) = start(data);
    let report = load(&url, args);
    let peak_resident_mib = peak_resident_mib(dev.id());
    // SIGTERM, so that what was accepted is in the files the bare loop takes its rows from.
    let stopped = Command::new("kill").args(["-TERM", &dev.id().to_string()]).status().unwrap();
    assert!(stopped.success() && dev.wait().unwrap().success(), "dev did not stop cleanly");
    Run {
        items_per_second: report["items_per_second"].as_f64().unwrap(),
        latency_p99_ms: report["latency_ms"]["p99"].as_f64().unwrap(),
        peak_resident_mib,
    }
}

fn start(data: &Path) -> (Child, String) {
    let mut dev = Command::new(env!("CARGO_BIN_EXE_penstock"))
        .args(["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.find_map(|line| url_in(&line)).unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    (dev, url)
}

fn url_in(line: &str) -> Option<String> {
    const START: &str = "http://127.0.0.1:";
    let rest = &line[line.find(START)?..];
    let digits = rest[START.len()..].chars().take_while(char::is_ascii_digit).count();
    Some(rest[..START.len() + digits].to_owned())
}

fn load(url: &str, args: &Args) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_penstock"))
        .args(["load", "--output", "json", "--url", url])
        .args(["--items", &args.items.to_string(), "--batch-size", &args.batch_size.to_string()])
        .args(["--connections", &args.connections.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the load found differences");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The most memory the process ever held, as Linux tells it.
#[allow(clippy::cast_precision_loss, reason = "kilobytes of one process")]
fn peak_resident_mib(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    kib as f64 / 1_024.0
}
