//! Settings that are handed to a client library under its own names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::known::joined;

/// Names and values as the library reads them. Names with dots may be written quoted or as nested
/// tables; values as text, numbers or truth values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "toml::Table", into = "BTreeMap<String, String>")]
pub struct ClientSettings(BTreeMap<String, String>);

impl ClientSettings {
    /// The settings by name.
    pub fn by_name(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl From<ClientSettings> for BTreeMap<String, String> {
    fn from(settings: ClientSettings) -> Self {
        settings.0
    }
}

impl TryFrom<toml::Table> for ClientSettings {
    type Error = String;

    fn try_from(table: toml::Table) -> Result<Self, String> {
        let text = |(name, value): (String, toml::Value)| match value {
            toml::Value::String(text) => Ok((name, text)),
            toml::Value::Integer(number) => Ok((name, number.to_string())),
            toml::Value::Float(number) => Ok((name, number.to_string())),
            toml::Value::Boolean(truth) => Ok((name, truth.to_string())),
            toml::Value::Array(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
                Err(format!("has {name}, which must be a text, a number, true or false"))
            }
        };
        flat(&table)?.into_iter().map(text).collect::<Result<_, _>>().map(Self)
    }
}

/// The table with nested names joined by dots, so that one name is spelt in one way only.
pub(super) fn flat(table: &toml::Table) -> Result<toml::Table, String> {
    let mut names = toml::Table::new();
    flatten(table, "", &mut names)?;
    Ok(names)
}

fn flatten(table: &toml::Table, prefix: &str, names: &mut toml::Table) -> Result<(), String> {
    for (name, value) in table {
        let name = joined(prefix, name);
        match value {
            toml::Value::Table(inner) => flatten(inner, &name, names)?,
            value if names.insert(name.clone(), value.clone()).is_some() => {
                return Err(format!("has {name} twice"));
            }
            _ => {}
        }
    }
    Ok(())
}

impl schemars::JsonSchema for ClientSettings {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClientSettings".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean", "object"] },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClientSettings, String> {
        ClientSettings::try_from(toml::from_str::<toml::Table>(text).unwrap())
    }

    #[test]
    fn names_with_dots_may_be_quoted_or_not() {
        let settings =
            read("linger.ms = 5\n\"client.rack\" = 'a'\nsocket.keepalive.enable = true").unwrap();
        let texts: Vec<_> = settings.by_name().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            texts,
            [("client.rack", "a"), ("linger.ms", "5"), ("socket.keepalive.enable", "true")]
        );
    }

    #[test]
    fn what_the_library_could_not_read_is_refused() {
        assert!(read("linger.ms = [5]").unwrap_err().contains("linger.ms"));
        assert!(read("\"a.b\" = 1\na.b = 2").unwrap_err().contains("twice"));
    }
}
