//! `penstock config`: what is in force, whether it is usable, and what could be set.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;

use crate::settings::{
    DEFAULTS, Loaded, Problem, QueueKind, QueueSettings, Settings, SettingsError, Sources, json_schema,
};
use crate::telemetry::parse_otlp_headers;
#[cfg(feature = "kafka")]
use crate::telemetry::with_causes;

use super::{Exit, callback_options};

/// Names the file when no option does. It is not read by the option itself, so that what was typed can be
/// told from what is set for every command.
const CONFIG_VARIABLE: &str = "PENSTOCK_CONFIG";

/// The option every command with settings has.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ConfigFile {
    /// File of settings; what it leaves out keeps its default
    #[arg(
        long,
        value_name = "FILE",
        help = "File of settings; what it leaves out keeps its default [env: PENSTOCK_CONFIG]"
    )]
    pub(super) config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file and this process's environment.
    pub(super) fn sources(self) -> Sources {
        let named =
            || std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let file = self.config.or_else(named);
        Sources { file, environment: std::env::vars_os().collect(), options: Vec::new() }
    }
}

/// Where queue and store are, for the commands that look at both.
#[derive(Args, Debug)]
pub(super) struct PlaceArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Directory of embedded queue and store [default: ./penstock-data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

impl PlaceArgs {
    /// A file alone.
    pub(super) fn of(config: PathBuf) -> Self {
        Self { config: ConfigFile { config: Some(config) }, data_dir: None }
    }

    /// The configuration, with the directory that is named.
    pub(super) fn load(self) -> Result<Loaded, SettingsError> {
        let mut sources = self.config.sources();
        let data_dir = self.data_dir.map(|path| ("data_dir", "--data-dir", path.display().to_string()));
        sources.options.extend(data_dir);
        Loaded::from(sources)
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
    /// Print every setting with its default and what it means, as a file to begin with
    #[command(before_help = "Example: penstock config default > penstock.toml")]
    Default,
    /// Print the JSON Schema of a configuration file
    #[command(before_help = "Example: penstock config schema > penstock.schema.json")]
    Schema,
}

/// Runs `penstock config`.
pub(super) fn run(command: ConfigCommand) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Check(file) => {
            let loaded = Loaded::from(file.sources())?;
            feasible(&loaded)?;
            writeln!(io::stderr(), "the configuration is usable")?;
        }
        ConfigCommand::Print(file) => {
            let text = Loaded::from(file.sources())?.to_toml()?;
            io::stdout().write_all(text.as_bytes())?;
        }
        ConfigCommand::Default => io::stdout().write_all(DEFAULTS.as_bytes())?,
        ConfigCommand::Schema => {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&json_schema())?)?;
        }
    }
    Ok(Exit::Ok)
}

/// What would stop a role from starting although the settings are sound in themselves: everything that the
/// roles make of them, all in one report. Nothing is connected to.
fn feasible(loaded: &Loaded) -> Result<(), SettingsError> {
    let of_endpoints = callback_options::check(loaded).err().map(|error| error.problems);
    let problems: Vec<_> = of_endpoints.into_iter().flatten().chain(obstacles(loaded)).collect();
    if problems.is_empty() { Ok(()) } else { Err(SettingsError { problems }) }
}

/// What else than an endpoint would stop a role.
pub(super) fn obstacles(loaded: &Loaded) -> Vec<Problem> {
    let found = otlp(&loaded.settings).into_iter().chain(kafka(&loaded.settings.queue));
    found.map(|(key, what)| loaded.problem(key, what)).collect()
}

fn otlp(settings: &Settings) -> Option<(&'static str, String)> {
    let otlp = &settings.telemetry.otlp;
    if otlp.endpoint.is_empty() {
        return None;
    }
    if parse_otlp_headers(otlp.headers.secret().expose_secret()).is_none() {
        return Some(("telemetry.otlp.headers", "is not name=value,name=value".to_owned()));
    }
    let is_named = !otlp.ca_file.as_os_str().is_empty();
    let error = std::fs::read(&otlp.ca_file).err().filter(|_| is_named)?;
    Some(("telemetry.otlp.ca_file", format!("cannot be read: {error}")))
}

#[cfg(feature = "kafka")]
fn kafka(queue: &QueueSettings) -> Option<(&'static str, String)> {
    let used = queue.kind == QueueKind::Kafka;
    let refused = used.then(|| super::options::kafka_queue(&queue.kafka).check().err()).flatten()?;
    Some(("queue.kafka", with_causes(&refused).to_string()))
}

#[cfg(not(feature = "kafka"))]
fn kafka(queue: &QueueSettings) -> Option<(&'static str, String)> {
    (queue.kind == QueueKind::Kafka).then(|| ("queue.kind", super::WITHOUT_KAFKA.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of what stands against settings.
    fn obstacles(options: &[(&'static str, &str)]) -> Vec<String> {
        let options = options.iter().map(|(key, text)| (*key, "--test", (*text).to_owned())).collect();
        let loaded = Loaded::from(Sources { options, ..Sources::default() }).unwrap();
        let problems = feasible(&loaded).err().map(|error| error.problems).unwrap_or_default();
        problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn what_stops_a_role_is_found_without_starting_one() {
        assert!(obstacles(&[]).is_empty());
        let collector = ("telemetry.otlp.endpoint", "http://collector:4317");
        assert_eq!(
            obstacles(&[collector, ("telemetry.otlp.headers", "a b")]),
            ["telemetry.otlp.headers"]
        );
        assert_eq!(
            obstacles(&[collector, ("telemetry.otlp.ca_file", "/nowhere/ca.pem")]),
            ["telemetry.otlp.ca_file"]
        );
        let key = ("callbacks.operator.secrets", "['whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz']");
        let found = obstacles(&[key, ("callbacks.operator.url", "http://operators.bank.example/")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("callbacks.operator"), "{found:?}");
        let endpoint =
            "[{ name = 'risk', url = 'https://risk.bank.example/', secret_files = ['/nowhere'] }]";
        assert_eq!(
            obstacles(&[("callbacks.endpoints", endpoint)]),
            ["callbacks.endpoints[0].secret_files"]
        );
    }

    const KAFKA: [(&str, &str); 2] = [("queue.kind", "kafka"), ("queue.kafka.brokers", "kafka:9092")];

    #[cfg(not(feature = "kafka"))]
    #[test]
    fn kafka_in_a_binary_without_it_is_found() {
        assert_eq!(obstacles(&KAFKA), ["queue.kind"]);
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn reserved_settings_of_the_kafka_client_are_found() {
        assert!(obstacles(&KAFKA).is_empty());
        for extra in ["{ acks = '1' }", "{ 'ssl.key.pem' = 'x' }", "{ 'no.such.setting' = 'x' }"] {
            let [kind, brokers] = KAFKA;
            assert_eq!(obstacles(&[kind, brokers, ("queue.kafka.extra", extra)]), ["queue.kafka"]);
        }
    }
}
