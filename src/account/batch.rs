//! A request body cut into its accounts. The bytes of each account stay exactly as received.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::request::{Account, ItemError, problem_of};
use super::schema::{Place, Problem, SchemaErrors};

/// One account of a batch: its bytes as received and what they say.
#[derive(Clone, Debug)]
pub struct BatchItem {
    /// The account's JSON text, a slice of the body.
    pub bytes: Bytes,
    /// What it says.
    pub account: Account,
}

/// Bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most accounts of one batch.
    pub max_items: usize,
    /// Most bytes of one account's JSON text: what a record of the queue holds.
    pub max_item_bytes: usize,
}

/// Cuts `{"accounts": [...]}` into its items and checks each against the schema.
/// Errors name every violation of the whole batch.
pub fn parse_batch(body: &Bytes, limits: BatchLimits) -> Result<Vec<BatchItem>, SchemaErrors> {
    let text = utf8(body)?;
    let envelope: BatchBody<'_> = serde_json::from_str(text)
        .map_err(|error| SchemaErrors::one(Place::Body, problem_of(&error)))?;
    let accounts = envelope.accounts(limits.max_items)?;
    let mut items = Vec::with_capacity(accounts.len());
    let mut errors = SchemaErrors::default();
    for (index, raw) in accounts.into_iter().enumerate() {
        match parse_item(raw.get(), limits.max_item_bytes) {
            Ok(account) => items.push(BatchItem { bytes: slice_of(body, raw.get()), account }),
            Err(found) => note(&mut errors, found, |field| match field {
                Some(field) => Place::ItemField(index, field),
                None => Place::Item(index),
            }),
        }
    }
    if errors.is_empty() { Ok(items) } else { Err(errors) }
}

/// Reads a body that is one account.
pub fn parse_single(body: &Bytes, limits: BatchLimits) -> Result<BatchItem, SchemaErrors> {
    let text = utf8(body)?;
    parse_item(text, limits.max_item_bytes)
        .map(|account| BatchItem { bytes: body.clone(), account })
        .map_err(|found| {
            let mut errors = SchemaErrors::default();
            note(&mut errors, found, |field| field.map_or(Place::Body, Place::BodyField));
            errors
        })
}

fn utf8(body: &Bytes) -> Result<&str, SchemaErrors> {
    std::str::from_utf8(body)
        .map_err(|error| SchemaErrors::one(Place::Body, Problem::NotUtf8 { at: error.valid_up_to() }))
}

fn parse_item(json: &str, max_bytes: usize) -> Result<Account, Vec<ItemError>> {
    if json.len() > max_bytes {
        return Err(vec![(None, Problem::ItemTooLarge { max_bytes })]);
    }
    Account::parse(json)
}

fn note(
    errors: &mut SchemaErrors,
    found: Vec<ItemError>,
    place: impl Fn(Option<&'static str>) -> Place,
) {
    for (field, problem) in found {
        errors.push(place(field), problem);
    }
}

/// The part of `body` that `text`, borrowed from it, covers.
fn slice_of(body: &Bytes, text: &str) -> Bytes {
    body.slice_ref(text.as_bytes())
}

/// What stands under `accounts`, if it does once.
enum BatchBody<'a> {
    Missing,
    Repeated,
    Accounts(&'a RawValue),
}

impl<'a> BatchBody<'a> {
    fn accounts(self, max_items: usize) -> Result<Vec<&'a RawValue>, SchemaErrors> {
        let problem = match self {
            Self::Missing => Problem::Missing,
            Self::Repeated => Problem::Repeated,
            Self::Accounts(raw) => match raw.get() {
                "null" => Problem::Null,
                text if text.starts_with('[') => {
                    let items = Items { max_items }
                        .deserialize(&mut serde_json::Deserializer::from_str(text))
                        .map_err(|error| SchemaErrors::one(Place::Body, problem_of(&error)))?;
                    match items {
                        Some(items) => return Ok(items),
                        None => Problem::TooManyItems { max_items },
                    }
                }
                _ => Problem::WrongType { expected: "an array" },
            },
        };
        Err(SchemaErrors::one(Place::BodyField("accounts"), problem))
    }
}

impl<'de> Deserialize<'de> for BatchBody<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BatchBodyVisitor)
    }
}

/// Reads the items of an array; none when there are more than `max_items`, of which no more than
/// that are ever held: an item may be a single byte.
#[derive(Clone, Copy)]
struct Items {
    max_items: usize,
}

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Option<Vec<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.max_items {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(Some(items)),
            }
        }
        if seq.next_element::<IgnoredAny>()?.is_none() {
            return Ok(Some(items));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

struct BatchBodyVisitor;

impl<'de> Visitor<'de> for BatchBodyVisitor {
    type Value = BatchBody<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut body = BatchBody::Missing;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key != "accounts" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw = map.next_value::<&'de RawValue>()?;
            body = match body {
                BatchBody::Missing => BatchBody::Accounts(raw),
                BatchBody::Accounts(_) | BatchBody::Repeated => BatchBody::Repeated,
            };
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(accounts: &str, max_items: usize) -> Result<usize, String> {
        let body = Bytes::from(format!("{{\"accounts\":{accounts}}}"));
        let limits = BatchLimits { max_items, max_item_bytes: 1_000 };
        match parse_batch(&body, limits) {
            Ok(items) => Ok(items.len()),
            Err(errors) => Err(errors.kept()[0].to_string()),
        }
    }

    #[test]
    fn a_batch_may_be_as_large_as_configured_and_no_larger() {
        let too_many = |max_items| Err(format!("accounts: must have at most {max_items} items"));
        assert_eq!(total("[]", 0), Ok(0));
        assert_eq!(total("[1]", 0), too_many(0));
        assert_eq!(total("[1,2]", 2), Err("accounts[0]: must be an object".to_owned()));
        assert_eq!(total("[1,2,3]", 2), too_many(2));
        assert_eq!(total("[1,2,3,4]", 2), too_many(2));
    }
}
