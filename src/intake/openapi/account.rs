//! The published schema of an account, as the parser checks it.

#![allow(dead_code, reason = "the types describe bodies; bodies are read by the account module")]

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{
    KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type,
};

/// What every free text must match.
pub(super) const NO_NUL_PATTERN: &str = "^[^\\u0000]*$";

/// A batch of accounts.
#[derive(ToSchema)]
#[schema(as = BatchAccountsRequestDataApi)]
pub(in super::super) struct BatchBody {
    /// The accounts. The server's configuration limits their number.
    accounts: Vec<AccountBody>,
}

/// An account. An optional field that is null counts as absent; unknown fields are ignored.
#[derive(ToSchema)]
#[schema(as = AmlyzeAccountApi, rename_all = "camelCase")]
pub(in super::super) struct AccountBody {
    /// External account identification number.
    #[schema(min_length = 1, max_length = 255)]
    account_ext_id: String,
    /// Unique account identification number used in performing operations.
    #[schema(min_length = 1)]
    account_number: String,
    /// The purpose of owning the account.
    account_purpose: Option<String>,
    /// The current condition of the account: in use, disabled, or restricted.
    account_status: String,
    /// The account's type: a code of `/classifier/accountType`.
    account_type: Option<String>,
    /// Whether the account is created (the default) or all its data is replaced.
    action: Option<String>,
    /// Title of the bank with which the operations are happening.
    bank_title: Option<String>,
    /// Bank identifier code. Mandatory if `isOtherFinInstAccount` is true.
    bic: Option<String>,
    /// External id of the customer who holds the account.
    #[schema(min_length = 1, max_length = 255)]
    business_entity_ext_id: String,
    /// The business unit: a code of `/classifier/businessUnit`. When absent, the only one the token
    /// may be used for, if there is exactly one.
    #[schema(max_length = 255)]
    business_unit: Option<String>,
    /// When the account was closed. Mandatory if `accountStatus` is `CLOSED`.
    #[schema(schema_with = optional_date_time)]
    closing_date: Option<String>,
    /// Unique number of the communication.
    #[schema(min_length = 1, max_length = 255)]
    communication_number: String,
    /// International currency code: a code of `/classifier/currency`.
    #[schema(min_length = 1)]
    currency_code: String,
    /// Whether the account belongs to another financial institution.
    is_other_fin_inst_account: Option<bool>,
    /// When the account was opened.
    #[schema(format = DateTime)]
    opening_date: String,
    /// Name of the requesting system.
    #[schema(min_length = 1, max_length = 100)]
    requester: String,
    /// Why the account is suspended. Only if `accountStatus` is `SUSPENDED`.
    suspension_reasons: Option<String>,
}

/// A date-time or null. The two are kept apart, as a format says nothing of other types.
fn optional_date_time() -> Schema {
    let date_time = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let null = ObjectBuilder::new().schema_type(Type::Null);
    let description = "When the account was closed. Mandatory if `accountStatus` is `CLOSED`.";
    let either = OneOfBuilder::new().item(date_time).item(null).description(Some(description));
    Schema::OneOf(either.build())
}

/// Limits a text to `values`, and null where that is allowed.
pub(super) fn allow(text: &mut Object, values: &[&str]) {
    let null = is_nullable(text).then_some(Value::Null);
    text.enum_values = Some(values.iter().map(|value| Value::from(*value)).chain(null).collect());
}

fn is_nullable(property: &Object) -> bool {
    matches!(&property.schema_type, SchemaType::Array(kinds) if kinds.contains(&Type::Null))
}

/// Whether a property may hold any text.
pub(super) fn is_free_text(property: &Object) -> bool {
    let is_text = match &property.schema_type {
        SchemaType::Type(kind) => *kind == Type::String,
        SchemaType::Array(kinds) => kinds.contains(&Type::String),
        SchemaType::AnyValue => false,
    };
    is_text && property.format.is_none() && property.enum_values.is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use crate::account::{
        Account, AccountExtId, AccountStatus, BusinessEntityExtId, BusinessUnit, CommunicationNumber,
        Requester,
    };

    use super::super::DOCUMENT;

    fn account_schema() -> Value {
        let document: Value = serde_json::from_slice(&DOCUMENT).unwrap();
        document["components"]["schemas"]["AmlyzeAccountApi"].clone()
    }

    /// A value that the schema of one property allows.
    fn example_of(property: &Value) -> Value {
        if let Some(alternatives) = property["oneOf"].as_array() {
            return example_of(&alternatives[0]);
        }
        if let Some(allowed) = property["enum"].as_array() {
            return allowed[0].clone();
        }
        let kinds = property["type"].to_string();
        match property["format"].as_str() {
            Some("date-time") => json!("2023-09-05T08:07:34.605Z"),
            None if kinds.contains("boolean") => json!(true),
            _ => json!("x"),
        }
    }

    fn example(names: impl Iterator<Item = String>, schema: &Value) -> Value {
        names
            .map(|name| {
                let value = example_of(&schema["properties"][&name]);
                (name, value)
            })
            .collect()
    }

    fn required(schema: &Value) -> BTreeSet<String> {
        serde_json::from_value(schema["required"].clone()).unwrap()
    }

    #[test]
    fn what_is_documented_as_enough_is_enough_and_nothing_less() {
        let schema = account_schema();
        let required = required(&schema);
        let minimal = example(required.iter().cloned(), &schema);
        assert!(Account::parse(&minimal.to_string()).is_ok(), "{minimal}");
        for name in &required {
            let mut less = minimal.clone();
            less.as_object_mut().unwrap().remove(name);
            assert!(Account::parse(&less.to_string()).is_err(), "{name}");
        }
    }

    #[test]
    fn every_documented_field_is_read_with_its_type() {
        let schema = account_schema();
        let names: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let whole = example(names.iter().cloned(), &schema);
        assert!(Account::parse(&whole.to_string()).is_ok(), "{whole}");
        let required = required(&schema);
        for name in names {
            let mut wrong = whole.clone();
            wrong[&name] = json!(1);
            assert!(Account::parse(&wrong.to_string()).is_err(), "{name}");
            let mut null = whole.clone();
            null[&name] = Value::Null;
            assert_eq!(Account::parse(&null.to_string()).is_err(), required.contains(&name), "{name}");
        }
    }

    #[test]
    fn documented_limits_and_values_are_the_parsers() {
        let schema = account_schema();
        let property = |name: &str| &schema["properties"][name];
        for (name, max) in [
            ("communicationNumber", CommunicationNumber::MAX_CHARS),
            ("requester", Requester::MAX_CHARS),
            ("businessUnit", BusinessUnit::MAX_CHARS),
            ("businessEntityExtId", BusinessEntityExtId::MAX_CHARS),
            ("accountExtId", AccountExtId::MAX_CHARS),
        ] {
            assert_eq!(property(name)["maxLength"], max, "{name}");
        }
        assert_eq!(property("accountStatus")["enum"], json!(AccountStatus::VALUES));
        assert_eq!(property("action")["enum"], json!(["CREATE", "UPDATE", null]));
        assert_eq!(property("accountNumber")["pattern"], super::NO_NUL_PATTERN);
        assert_eq!(property("bic")["pattern"], super::NO_NUL_PATTERN);
        assert_eq!(property("openingDate")["pattern"], Value::Null);
    }
}
