//! `penstock version`: what this binary is made of.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::Exit;

/// Options of `penstock version`.
#[derive(Args, Debug)]
pub(super) struct VersionArgs {
    /// Print a JSON object instead of a line
    #[arg(long)]
    json: bool,
}

/// What the binary is made of.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Version {
    /// Version of the crate.
    #[serde(rename = "version")]
    pub(super) number: &'static str,
    /// Commit of a release build, if it is known.
    pub(super) git_sha: Option<&'static str>,
    /// Features that are on.
    pub(super) features: &'static [&'static str],
    /// The compiler.
    pub(super) rustc: &'static str,
    /// `release` or `debug`.
    pub(super) profile: &'static str,
}

impl Version {
    /// This binary's.
    pub(super) fn current() -> Self {
        let git_sha = env!("PENSTOCK_GIT_SHA");
        Self {
            number: env!("CARGO_PKG_VERSION"),
            git_sha: (!git_sha.is_empty()).then_some(git_sha),
            features: if cfg!(feature = "mimalloc") { &["mimalloc"] } else { &[] },
            rustc: env!("PENSTOCK_RUSTC"),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }
}

/// Runs `penstock version`.
pub(super) fn run(args: &VersionArgs) -> anyhow::Result<Exit> {
    let version = Version::current();
    let text = if args.json {
        serde_json::to_string_pretty(&version)?
    } else {
        let commit = version.git_sha.map(|sha| format!(" ({sha})")).unwrap_or_default();
        format!("penstock {}{commit}", version.number)
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(Exit::Ok)
}
