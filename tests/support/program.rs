//! A test program of its own: what is chosen by name runs one after the other, a closing line counts it,
//! and whoever interrupts it finds nothing left behind.

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use futures_util::FutureExt;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

/// What is to be run; the part of the command line that all such programs share.
#[derive(Debug, Args)]
pub struct Choice {
    /// Only what has one of these in its name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Lists what there is
    #[arg(long = "list")]
    pub is_list: bool,
    /// Of the random choices [default: a new one]
    #[arg(long, default_value_t = new_seed(), hide_default_value = true)]
    pub seed: u64,
    /// Passed by cargo
    #[arg(short, long, hide = true)]
    quiet: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    nocapture: bool,
}

impl Choice {
    /// Whether something of this name is asked for, and not just everything.
    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| name.contains(wanted.as_str()))
    }

    /// Whether something of this name is to be run.
    pub fn includes(&self, name: &str) -> bool {
        self.names.is_empty() || self.is_named(name)
    }
}

/// Short enough to be typed.
fn new_seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0 >> 32
}

/// What the tests of a program have come to.
pub struct Tally<'c> {
    choice: &'c Choice,
    begun: Instant,
    passed: usize,
    failed: Vec<String>,
}

impl<'c> Tally<'c> {
    /// Nothing has been run yet.
    pub fn new(choice: &'c Choice) -> Self {
        say(&format!("seed {}", choice.seed));
        Self { choice, begun: Instant::now(), passed: 0, failed: Vec::new() }
    }

    /// Runs a test, if it is chosen, and tells how it ended; none unless it has passed.
    pub async fn run<T>(
        &mut self,
        name: &str,
        test: impl Future<Output = anyhow::Result<T>>,
    ) -> Option<T> {
        if !self.choice.includes(name) {
            return None;
        }
        let begun = Instant::now();
        match guarded(test).await {
            Ok(seen) => {
                self.passed += 1;
                say(&format!("test {name} ... ok, {:.0} s", begun.elapsed().as_secs_f64()));
                Some(seen)
            }
            Err(error) => {
                self.fail(name, &error);
                None
            }
        }
    }

    /// Something has failed.
    pub fn fail(&mut self, name: &str, error: &anyhow::Error) {
        say(&format!("test {name} ... FAILED: {error:#}"));
        self.failed.push(name.to_owned());
    }

    /// Prints the closing line, which tests/run.sh adds up; true when nothing has failed.
    pub fn close(self) -> bool {
        let is_passed = self.failed.is_empty();
        if !is_passed {
            let (failed, seed) = (self.failed.join(", "), self.choice.seed);
            say(&format!("\nfailed: {failed}; --seed {seed} repeats the choices"));
        }
        say(&format!(
            "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in \
             {:.2}s",
            if is_passed { "ok" } else { "FAILED" },
            self.passed,
            self.failed.len(),
            self.begun.elapsed().as_secs_f64()
        ));
        is_passed
    }
}

/// A panic fails what it happened in and nothing else.
pub async fn guarded<T>(run: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| Err(anyhow!("it panicked")))
}

/// Prints a line at once, whoever reads it.
pub fn say(line: &str) {
    let mut out = std::io::stdout();
    // Whoever closed the output does not want to know.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Runs a program until it ends, with false for a failure, or until somebody interrupts it (SIGINT) or asks
/// it to end (SIGTERM): what it has started and made is then removed by going out of scope.
pub fn run(program: impl Future<Output = bool>) -> ExitCode {
    let runtime = Runtime::new().expect("a runtime can be started");
    let is_passed = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).expect("signals can be waited for");
        let mut interrupted = signal(SignalKind::interrupt()).expect("signals can be waited for");
        tokio::select! {
            is_passed = program => is_passed,
            _ = terminated.recv() => false,
            _ = interrupted.recv() => false,
        }
    });
    // A client that still waits for a server that is gone holds nobody up.
    runtime.shutdown_background();
    if is_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
