//! `penstock load` as a benchmark runs it.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::process::{Usage, command};

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) items: u64,
    pub(crate) batch_size: u64,
    pub(crate) connections: u64,
    /// Further options.
    pub(crate) options: Vec<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    pub(crate) items_per_second: f64,
    pub(crate) latency_p50_ms: f64,
    pub(crate) latency_p99_ms: f64,
    /// Processor time of the load itself.
    pub(crate) cpu: Duration,
}

impl Load {
    /// Sends it to `url` as fast as goes, unless the options say otherwise. Panics when an answer was
    /// not what it must be.
    pub(crate) fn run(&self, url: &str) -> Loaded {
        let mut load = command(["load", "--output", "json", "--url", url])
            .args(["--items", &self.items.to_string()])
            .args(["--batch-size", &self.batch_size.to_string()])
            .args(["--connections", &self.connections.to_string()])
            .args(&self.options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut report = Vec::new();
        load.stdout.take().unwrap().read_to_end(&mut report).unwrap();
        // Before it is waited for: then its figures are gone.
        let Usage { cpu, .. } = Usage::of(load.id());
        assert!(load.wait().unwrap().success(), "an answer was not what it must be");
        let report: Value = serde_json::from_slice(&report).unwrap();
        let figure = |pointer| report.pointer(pointer).and_then(Value::as_f64).unwrap();
        Loaded {
            items_per_second: figure("/items_per_second"),
            latency_p50_ms: figure("/latency_ms/p50"),
            latency_p99_ms: figure("/latency_ms/p99"),
            cpu,
        }
    }
}
