//! A run of a benchmark that starts servers of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use clap::Args;
use tempfile::TempDir;

/// What such benchmarks are asked alike.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// One repeat with less of everything, to see whether something has changed much.
    #[arg(long)]
    pub(crate) quick: bool,
    /// How often everything is repeated [default: 3, or 1 with --quick; 1 where a repeat takes minutes].
    #[arg(long)]
    repeats: Option<usize>,
    /// Where the servers keep their data; on a real disk [default: target/tmp].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Run {
    /// How often everything is repeated.
    pub(crate) fn repeats(&self) -> usize {
        self.repeats_or(if self.quick { 1 } else { 3 })
    }

    /// How often everything is repeated, where that is not three times.
    pub(crate) fn repeats_or(&self, usual: usize) -> usize {
        self.repeats.unwrap_or(usual)
    }

    /// A new folder for the servers, removed when dropped.
    pub(crate) fn folder(&self, benchmark: &str) -> TempDir {
        let place = self.dir.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
        let folder =
            tempfile::Builder::new().prefix(&format!("{benchmark}-")).tempdir_in(place).unwrap();
        // The database may run as a user of its own.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }
}
