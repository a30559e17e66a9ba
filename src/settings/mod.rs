//! What an operator can set, and how it is read.
//!
//! Embedded defaults < file < environment < command line. Either all of it is usable, or
//! [`Loaded::from`] reports every problem there is. Nothing here knows a role or reads the process's
//! environment: both come as arguments.

mod callbacks;
mod checks;
mod client;
mod kafka;
mod known;
mod layers;
mod lists;
mod print;
mod report;
mod schema;
mod tree;
mod units;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use config::Config;
use config::builder::{ConfigBuilder, DefaultState};

use crate::account::Policy;

pub use callbacks::{CallbackSettings, EndpointSettings, EventMode, OnDeletedEvents, OperatorSettings};
pub use client::ClientSettings;
pub use kafka::{
    KafkaKerberosSettings, KafkaOidcSettings, KafkaProtocol, KafkaQueueSettings, KafkaSaslMechanism,
    KafkaSecuritySettings, KafkaTopicSettings,
};
pub use known::resembling;
pub use report::{Problem, SettingsError};
pub use schema::json_schema;
pub use tree::{
    AdminSettings, AuthSettings, CodeEntry, CodeFile, CodeList, EventSettings, IntakeSettings,
    LogFormat, NamedCode, OnCreateExisting, OnUpdateMissing, OperationSettings, OtlpSettings,
    OtlpSignal, PostgresStoreSettings, QueueKind, QueueSettings, ReferenceSettings, ReplaySettings,
    RuleSettings, Settings, ShutdownSettings, SqliteQueueSettings, SqliteStoreSettings, StoreKind,
    StoreSettings, TelemetrySettings, TokenScope, TokenSettings, WorkerSettings,
};
pub use units::{ByteSize, Network, Secret, Sha256Digest, Span, StartFrom, UnitError};

use known::{Known, kind_of};
use layers::{Layer, Leaf};

/// The defaults, with what each means.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

const DEFAULT_ORIGIN: &str = "default";

/// Where settings come from besides the defaults.
#[derive(Debug, Default)]
pub struct Sources {
    /// A file of settings.
    pub file: Option<PathBuf>,
    /// The environment; variables that do not begin with `PENSTOCK__` are left alone.
    pub environment: Vec<(OsString, OsString)>,
    /// What options of the command line set: key, option, value.
    pub options: Vec<(&'static str, &'static str, String)>,
}

/// Usable settings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The rules and lists they ask for, files read.
    pub policy: Policy,
    origins: BTreeMap<String, String>,
}

impl Loaded {
    /// Reads and checks everything; reports every problem there is.
    pub fn from(sources: Sources) -> Result<Self, SettingsError> {
        let known = Known::new(default_table());
        let mut reading = Reading::start(&known);
        if let Some(path) = &sources.file {
            reading.take(layers::from_file(path, &known));
        }
        reading.take(layers::from_environment(sources.environment, &known));
        reading.take(layers::from_options(&sources.options, &known));
        reading.finish()
    }

    /// A problem of a key that is found after all, such as in a file that it names.
    pub fn problem(&self, key: impl Into<String>, what: impl Into<String>) -> Problem {
        let key = key.into();
        let origin = origin_of(&self.origins, &key).to_owned();
        Problem::new(key, origin, what)
    }

    /// The effective settings as TOML, each value with where it comes from, secrets redacted.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        print::print(&self.settings, &self.origins)
    }
}

/// The defaults as a table. A test holds that they are valid, so nothing is left out here.
fn default_table() -> toml::Table {
    toml::from_str(DEFAULTS).unwrap_or_default()
}

/// Settings on their way from the sources to their types.
struct Reading<'a> {
    known: &'a Known,
    leaves: Vec<Leaf>,
    problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    fn start(known: &'a Known) -> Self {
        let leaf = |key: &str| {
            let value = known.get(key)?.clone();
            Some(Leaf { key: key.to_owned(), origin: DEFAULT_ORIGIN.to_owned(), value })
        };
        Self { known, leaves: known.keys().filter_map(leaf).collect(), problems: Vec::new() }
    }

    /// Takes the leaves of a source that have the right type, and notes what is wrong with the others.
    fn take(&mut self, layer: Layer) {
        self.problems.extend(layer.problems);
        let defaults = self.leaves.clone();
        for leaf in layer.leaves {
            match self.type_problem(&defaults, &leaf) {
                Some(problem) => self.problems.push(problem),
                None => self.leaves.push(leaf),
            }
        }
    }

    /// What is wrong with a leaf's type. Each is tried alone, so that all are found at once.
    fn type_problem(&self, sound: &[Leaf], leaf: &Leaf) -> Option<Problem> {
        let default = self.known.get(&leaf.key)?;
        // A list may also be a table that names a file; nothing else has two kinds.
        let list_in_file = default.is_array() && leaf.value.is_table();
        let whole_share = default.is_float() && leaf.value.is_integer();
        let what = if !default.same_type(&leaf.value) && !list_in_file && !whole_share {
            kind_of(default)
        } else {
            let alone = sound.iter().chain(std::iter::once(leaf));
            typed(alone).err()?
        };
        Some(Problem::new(&leaf.key, &leaf.origin, what))
    }

    fn finish(mut self) -> Result<Loaded, SettingsError> {
        let settings = match typed(&self.leaves) {
            Ok(settings) => settings,
            Err(what) => {
                self.problems.push(Problem::new("defaults", DEFAULT_ORIGIN, what));
                return Err(SettingsError { problems: self.problems });
            }
        };
        let origins: BTreeMap<_, _> =
            self.leaves.into_iter().map(|leaf| (leaf.key, leaf.origin)).collect();
        let mut findings = checks::check(&settings);
        let policy = lists::policy(&settings, &mut findings);
        for (key, what) in findings.0 {
            self.problems.push(Problem::new(&key, origin_of(&origins, &key), what));
        }
        if self.problems.is_empty() {
            Ok(Loaded { settings, policy, origins })
        } else {
            Err(SettingsError { problems: self.problems })
        }
    }
}

/// Where the value of a key comes from, or the list that it is in.
fn origin_of<'a>(origins: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    let leaf = key.split('[').next().unwrap_or_default();
    origins.get(leaf).map_or(DEFAULT_ORIGIN, String::as_str)
}

/// The settings that leaves make, later ones winning; or what is wrong, in words.
fn typed<'a>(leaves: impl IntoIterator<Item = &'a Leaf>) -> Result<Settings, String> {
    let add = |builder: ConfigBuilder<DefaultState>, leaf: &Leaf| builder.add_source(leaf.clone());
    let merged = leaves.into_iter().fold(Config::builder(), add).build();
    // By way of TOML, whose types are strict: the `config` crate would round 2.7 lanes to 3.
    let table =
        merged.and_then(Config::try_deserialize::<toml::Table>).map_err(|error| error.to_string())?;
    table.try_into().map_err(|error: toml::de::Error| without_value(error.message()))
}

/// A message without the value that it quotes, which may be a secret in a wrong place.
fn without_value(message: &str) -> String {
    let expected = message.rsplit_once(", expected ");
    match (message.strip_prefix("invalid type: "), expected) {
        (Some(rest), Some((_, expected))) => {
            let kind = rest.split(['`', '"']).next().unwrap_or_default();
            let kind = kind.split(", expected ").next().unwrap_or_default();
            format!("invalid type: {}, expected {expected}", kind.trim_end())
        }
        _ => message.to_owned(),
    }
}
