//! The effective settings as TOML that reads back, each value with where it comes from.
//!
//! What is printed is the typed settings, so a secret shows as its type prints it: redacted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::tree::Settings;

/// Prints settings; `origins` tells where the value of a key comes from.
pub(super) fn print(
    settings: &Settings,
    origins: &BTreeMap<String, String>,
) -> Result<String, toml::ser::Error> {
    let table = toml::Table::try_from(settings)?;
    let mut text = String::new();
    print_section("", &table, origins, &mut text);
    Ok(text)
}

fn print_section(
    name: &str,
    table: &toml::Table,
    origins: &BTreeMap<String, String>,
    text: &mut String,
) {
    let key_of = |leaf: &str| if name.is_empty() { leaf.to_owned() } else { format!("{name}.{leaf}") };
    // A table that has an origin is a value of its own, such as a list that is read from a file.
    let is_section =
        |key: &str, value: &toml::Value| value.is_table() && !origins.contains_key(&key_of(key));
    let (sections, values): (Vec<_>, Vec<_>) =
        table.iter().partition(|(key, value)| is_section(key, value));
    if !name.is_empty() && !values.is_empty() {
        let _infallible = write!(text, "\n[{name}]\n");
    }
    for (key, value) in values {
        let origin = origins.get(&key_of(key)).map_or("default", String::as_str);
        let _infallible = writeln!(text, "{key} = {value}  # {origin}");
    }
    for (key, value) in sections {
        if let toml::Value::Table(section) = value {
            print_section(&key_of(key), section, origins, text);
        }
    }
}
