//! The keys there are: what every source above the defaults is held against.

use std::collections::BTreeSet;

use super::report::Problem;

/// The keys there are, with their defaults: what every other source is held against.
#[derive(Clone, Debug)]
pub(super) struct Known {
    defaults: toml::Table,
    keys: BTreeSet<String>,
}

impl Known {
    /// What a table of defaults knows.
    pub(super) fn new(defaults: toml::Table) -> Self {
        let mut keys = BTreeSet::new();
        collect_keys(&defaults, "", &mut keys);
        Self { defaults, keys }
    }

    /// The default of a key; the table of a section.
    pub(super) fn get(&self, key: &str) -> Option<&toml::Value> {
        let mut parts = key.split('.');
        let first = self.defaults.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// Every key that has a value, sorted.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    /// The problem of a key that is not known.
    pub(super) fn unknown(&self, key: &str, origin: &str) -> Problem {
        let what = match resembling(key, self.keys()) {
            Some(similar) => format!("unknown key; did you mean {similar}?"),
            None => "unknown key; `penstock config print` lists the keys there are".to_owned(),
        };
        Problem::new(key, origin, what)
    }
}

/// What is known and was most likely meant: nearly the same, or the same after other sections.
pub fn resembling<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |known: &str| {
        let elsewhere = strsim::jaro_winkler(&name(known), &name(key)) * 0.95;
        strsim::jaro_winkler(known, key).max(elsewhere)
    };
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.85).then_some(best)
}

fn collect_keys(table: &toml::Table, prefix: &str, keys: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = joined(prefix, name);
        match value {
            toml::Value::Table(section) if is_section(value) => collect_keys(section, &key, keys),
            _ => {
                keys.insert(key);
            }
        }
    }
}

/// Whether a default is a section of keys. An empty table is the value of a key: a map whose keys are
/// somebody else's.
pub(super) fn is_section(default: &toml::Value) -> bool {
    default.as_table().is_some_and(|table| !table.is_empty())
}

/// The key of `name` within a section; the root's name is empty.
pub(super) fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// What a value of the default's kind looks like, in words.
pub(super) fn kind_of(default: &toml::Value) -> String {
    match default {
        toml::Value::Integer(number) => format!("must be a whole number such as {number}"),
        toml::Value::Float(number) => format!("must be a number such as {number}"),
        toml::Value::Boolean(_) => "must be true or false".to_owned(),
        toml::Value::Array(_) => {
            "must be a list such as [\"a\", \"b\"], in TOML or, from the environment, also in JSON"
                .to_owned()
        }
        toml::Value::Table(_) => {
            "must be a table such as { name = \"value\" }, in TOML or, from the environment, also in JSON"
                .to_owned()
        }
        toml::Value::String(text) => format!("must be text in quotes such as \"{text}\""),
        toml::Value::Datetime(_) => "must be a date and time".to_owned(),
    }
}
