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
#[derive(Clone, Debug, Serialize)]
pub(super) struct Version {
    /// Version of the crate.
    #[serde(rename = "version")]
    pub(super) number: &'static str,
    /// Commit of a release build, if it is known.
    pub(super) git_sha: Option<&'static str>,
    /// Features that are on.
    pub(super) features: Vec<&'static str>,
    /// The compiler.
    pub(super) rustc: &'static str,
    /// `release` or `debug`.
    pub(super) profile: &'static str,
}

/// Every feature of the crate that a binary may have, and whether this one has it.
const FEATURES: [(&str, bool); 4] = [
    ("curl", cfg!(feature = "curl")),
    ("gssapi", cfg!(feature = "gssapi")),
    ("kafka", cfg!(feature = "kafka")),
    ("mimalloc", cfg!(feature = "mimalloc")),
];

impl Version {
    /// This binary's.
    pub(super) fn current() -> Self {
        let git_sha = env!("PENSTOCK_GIT_SHA");
        Self {
            number: env!("CARGO_PKG_VERSION"),
            git_sha: (!git_sha.is_empty()).then_some(git_sha),
            features: FEATURES.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_the_crate_is_listed() {
        let manifest: toml::Table = toml::from_str(include_str!("../../Cargo.toml")).unwrap();
        let features = manifest["features"].as_table().unwrap().keys();
        let of_binaries = |name: &&String| !["default", "production-tests"].contains(&name.as_str());
        let listed: Vec<_> = FEATURES.iter().map(|(name, _)| *name).collect();
        assert_eq!(features.filter(of_binaries).collect::<Vec<_>>(), listed);
    }
}
