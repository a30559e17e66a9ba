//! The JSON Schema of a configuration file, for editors and reviews.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::known::is_section;
use super::tree::Settings;
use super::{Known, default_table};

/// The schema, with the defaults in it. No key is mandatory in a file: what is left out has a default.
pub fn json_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Settings>().to_value();
    add_defaults(&mut schema, "", &Known::new(default_table()));
    schema
}

fn add_defaults(schema: &mut Value, key: &str, known: &Known) {
    let Some(object) = schema.as_object_mut() else { return };
    let default = if key.is_empty() { None } else { known.get(key) };
    if let Some(value) = default.filter(|value| !is_section(value)) {
        object.insert("default".to_owned(), serde_json::to_value(value).unwrap_or_default());
        return;
    }
    object.remove("required");
    let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
    for (name, property) in properties {
        let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        add_defaults(property, &inner, known);
    }
}
