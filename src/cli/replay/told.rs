//! How far a job is, told while it runs.

use std::cell::{Cell, OnceCell};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;

use crate::cli::output::{note, progress_bar, write_json};
use crate::replay::{Progress, ReplayError};
use crate::telemetry::with_causes;

/// How often a process whose output is no terminal tells how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// How far a job is, for programs.
#[derive(Serialize)]
struct ProgressJson {
    read: u64,
    of: u64,
    changed: u64,
    records_per_second: u64,
    left_seconds: Option<u64>,
}

/// Tells how far a job is: by a bar on a terminal, by lines of JSON elsewhere.
pub(super) struct Told {
    bar: ProgressBar,
    begun_at: Instant,
    last_at: Cell<Instant>,
    read_before: OnceCell<u64>,
}

impl Told {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let read_before = OnceCell::new();
        Self { bar: progress_bar(0, "records"), begun_at: now, last_at: now.into(), read_before }
    }

    pub(super) fn tell(&self, progress: &Progress) {
        let (read, of) = progress.offsets();
        self.bar.set_length(of);
        self.bar.set_position(read);
        let before = *self.read_before.get_or_init(|| read);
        if io::stderr().is_terminal() || self.last_at.get().elapsed() < TOLD_EVERY {
            return;
        }
        self.last_at.set(Instant::now());
        let seconds = self.begun_at.elapsed().as_secs().max(1);
        let records_per_second = (read - before) / seconds;
        let json = ProgressJson {
            read,
            of,
            changed: progress.report.changed(),
            records_per_second,
            left_seconds: (of - read).checked_div(records_per_second),
        };
        // Nobody may be listening.
        let _ = write_json(&mut io::stderr().lock(), &json);
    }

    pub(super) fn away(error: &ReplayError) {
        let error = with_causes(error);
        // Nobody may be listening.
        let _ = note(&format!("{error}; the job goes on when that is there again"));
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
