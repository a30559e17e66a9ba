//! The sources above the defaults, each cut into leaves: one value, its key and where it stands.
//!
//! A leaf is what the defaults have a value for; so a list is one leaf, whatever it holds.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use config::{ConfigError, Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::client;
use super::known::{Known, is_section, joined, kind_of};
use super::report::Problem;

/// Start of every variable that is a setting.
pub(super) const ENVIRONMENT_PREFIX: &str = "PENSTOCK__";

const FILE_SUFFIX: &str = "_file";

/// A value with its key and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) key: String,
    pub(super) origin: String,
    pub(super) value: toml::Value,
}

/// What a source brings.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) leaves: Vec<Leaf>,
    pub(super) problems: Vec<Problem>,
}

impl Source for Leaf {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from_iter([(self.key.clone(), traced(&self.value, &self.origin))]))
    }
}

/// The value in the form of the `config` crate, every part knowing where it comes from.
fn traced(value: &toml::Value, origin: &String) -> Value {
    let kind = match value {
        toml::Value::String(text) => ValueKind::String(text.clone()),
        toml::Value::Integer(number) => ValueKind::I64(*number),
        toml::Value::Float(number) => ValueKind::Float(*number),
        toml::Value::Boolean(truth) => ValueKind::Boolean(*truth),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(items) => {
            ValueKind::Array(items.iter().map(|item| traced(item, origin)).collect())
        }
        toml::Value::Table(table) => ValueKind::Table(
            table.iter().map(|(key, item)| (key.clone(), traced(item, origin))).collect(),
        ),
    };
    Value::new(Some(origin), kind)
}

/// Reads a file of settings.
pub(super) fn from_file(path: &Path, known: &Known) -> Layer {
    match std::fs::read_to_string(path) {
        Ok(text) => from_toml(&text, &path.display().to_string(), known),
        Err(error) => {
            let path = path.display().to_string();
            let what = format!("cannot be read: {error}; check the path and its permissions");
            Layer { leaves: Vec::new(), problems: vec![Problem::new(path, "--config", what)] }
        }
    }
}

/// Reads a text of settings; `name` is what its origins begin with.
pub(super) fn from_toml(text: &str, name: &str, known: &Known) -> Layer {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let mut layer = Layer::default();
    let parsed =
        DeTable::parse(text).and_then(|places| Ok((places, toml::from_str::<toml::Table>(text)?)));
    match parsed {
        Ok((places, table)) => {
            let origin = |at: usize| format!("{name}:{}", line(at));
            layer.take_table(&table, places.get_ref(), "", known, &origin);
        }
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let what = format!("is no TOML: {}", error.message());
            layer.problems.push(Problem::new(name, format!("line {}", line(at)), what));
        }
    }
    layer
}

impl Layer {
    fn take_table(
        &mut self,
        table: &toml::Table,
        places: &DeTable<'_>,
        prefix: &str,
        known: &Known,
        origin: &dyn Fn(usize) -> String,
    ) {
        for (name, place) in places {
            let key = joined(prefix, name.get_ref());
            let origin_here = origin(name.span().start);
            let (Some(value), Some(default)) = (table.get(name.get_ref().as_ref()), known.get(&key))
            else {
                self.problems.push(known.unknown(&key, &origin_here));
                continue;
            };
            match (default, value, place.get_ref()) {
                (_, toml::Value::Table(section), DeValue::Table(places)) if is_section(default) => {
                    self.take_table(section, places, &key, known, origin);
                }
                _ if is_section(default) => {
                    let what = format!("is a section, not a value; write [{key}] and its keys below");
                    self.problems.push(Problem::new(key, origin_here, what));
                }
                _ => self.take_value(key, origin_here, default, value.clone()),
            }
        }
    }

    /// Takes a value for `key`. Of a map every name is spelt in one way, so that a later source replaces
    /// what an earlier one says of it.
    fn take_value(&mut self, key: String, origin: String, default: &toml::Value, value: toml::Value) {
        let value = match value {
            toml::Value::Table(names) if default.is_table() => match client::flat(&names) {
                Ok(names) => toml::Value::Table(names),
                Err(what) => return self.problems.push(Problem::new(key, origin, what)),
            },
            value => value,
        };
        self.leaves.push(Leaf { key, origin, value });
    }

    /// Takes the text of a variable or option for `key`.
    fn take_text(&mut self, key: &str, origin: &str, text: &str, known: &Known) {
        match known.get(key) {
            None => self.problems.push(known.unknown(key, origin)),
            Some(default) if is_section(default) => {
                let what = "is a section; set its keys one by one";
                self.problems.push(Problem::new(key, origin, what));
            }
            Some(default) => match value_like(default, text) {
                Ok(value) => self.take_value(key.to_owned(), origin.to_owned(), default, value),
                Err(what) => self.problems.push(Problem::new(key, origin, what)),
            },
        }
    }
}

/// Reads a text as a value of the same kind as the default.
fn value_like(default: &toml::Value, text: &str) -> Result<toml::Value, String> {
    let trimmed = text.trim();
    match default {
        toml::Value::Integer(_) => {
            trimmed.parse().map(toml::Value::Integer).map_err(|_| kind_of(default))
        }
        toml::Value::Float(_) => trimmed.parse().map(toml::Value::Float).map_err(|_| kind_of(default)),
        toml::Value::Boolean(_) => {
            trimmed.parse().map(toml::Value::Boolean).map_err(|_| kind_of(default))
        }
        toml::Value::Array(_) | toml::Value::Table(_) => {
            structured(trimmed).ok_or_else(|| kind_of(default))
        }
        toml::Value::String(_) | toml::Value::Datetime(_) => Ok(toml::Value::String(text.to_owned())),
    }
}

fn structured(text: &str) -> Option<toml::Value> {
    let as_toml = || toml::from_str::<toml::Table>(&format!("value = {text}")).ok()?.remove("value");
    serde_json::from_str(text).ok().or_else(as_toml)
}

/// Reads the variables of an environment that are settings.
pub(super) fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    known: &Known,
) -> Layer {
    let mut layer = Layer::default();
    let mut seen = BTreeSet::new();
    let (mut ours, others): (Vec<_>, Vec<_>) = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .partition(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX));
    let nearly = others.iter().filter_map(|(name, _)| nearly_a_setting(name, known));
    ours.sort();
    layer.problems.extend(nearly);
    for (name, value) in ours {
        let key = name[ENVIRONMENT_PREFIX.len()..].to_lowercase().replace("__", ".");
        let named_file = key.strip_suffix(FILE_SUFFIX).filter(|stem| known.get(stem).is_some());
        let text = match named_file {
            Some(_) => std::fs::read_to_string(Path::new(&value))
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("the file it names cannot be read: {error}")),
            None => value.into_string().map_err(|_| "is not UTF-8".to_owned()),
        };
        let key = named_file.unwrap_or(&key);
        if !seen.insert(key.to_owned()) {
            let what = format!(
                "set both directly and by a variable with _FILE; keep one of {name} and the other"
            );
            layer.problems.push(Problem::new(key, &name, what));
            continue;
        }
        match text {
            Ok(text) => layer.take_text(key, &name, &text, known),
            Err(what) => layer.problems.push(Problem::new(key, &name, what)),
        }
    }
    layer
}

/// What is wrong with a variable that would set something if its underscores were right. Others that begin
/// alike are somebody else's, such as those that Kubernetes sets for a service called penstock.
fn nearly_a_setting(name: &str, known: &Known) -> Option<Problem> {
    let flat = |text: &str| text.to_lowercase().replace("__", "_").replace('.', "_");
    let meant = flat(name.strip_prefix("PENSTOCK_")?);
    let stem = meant.strip_suffix(FILE_SUFFIX);
    let is_meant = |key: &&str| flat(key) == meant || stem == Some(flat(key).as_str());
    let key = known.keys().find(is_meant)?;
    let right = format!("{ENVIRONMENT_PREFIX}{}", key.to_uppercase().replace('.', "__"));
    let ending = if flat(key) == meant { "" } else { "_FILE" };
    let what = format!(
        "{name} sets nothing: the parts of a key have two underscores between them; write {right}{ending}"
    );
    Some(Problem::new(key, name, what))
}

/// Reads options of the command line: key, option, value.
pub(super) fn from_options(options: &[(&str, &str, String)], known: &Known) -> Layer {
    let mut layer = Layer::default();
    for (key, option, text) in options {
        layer.take_text(key, option, text, known);
    }
    layer
}
