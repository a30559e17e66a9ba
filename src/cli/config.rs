//! `penstock config`: what is in force, whether it is usable, and what could be set.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::settings::{Loaded, Sources, json_schema};

use super::{Exit, callback_options};

/// The option every command with settings has.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ConfigFile {
    /// File of settings; what it leaves out keeps its default.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file and this process's environment.
    pub(super) fn sources(self) -> Sources {
        Sources { file: self.config, environment: std::env::vars_os().collect(), options: Vec::new() }
    }
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check file and environment; report every problem at once
    #[command(before_help = "Example: penstock config check --config penstock.toml")]
    Check(ConfigFile),
    /// Print the settings in force as TOML, each with where it comes from
    #[command(before_help = "Example: penstock config print --config penstock.toml")]
    Print(ConfigFile),
    /// Print the JSON Schema of a configuration file
    #[command(before_help = "Example: penstock config schema > penstock.schema.json")]
    Schema,
}

/// Runs `penstock config`.
pub(super) fn run(command: ConfigCommand) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Check(file) => {
            let loaded = Loaded::from(file.sources())?;
            callback_options::check(&loaded)?;
            writeln!(io::stderr(), "the configuration is usable")?;
        }
        ConfigCommand::Print(file) => {
            let text = Loaded::from(file.sources())?.to_toml()?;
            io::stdout().write_all(text.as_bytes())?;
        }
        ConfigCommand::Schema => {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&json_schema())?)?;
        }
    }
    Ok(Exit::Ok)
}
