//! A request body cut into its accounts. The bytes of each account stay exactly as received.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::request::{Account, ItemError, problem_of};
use super::schema::{Place, Problem, SchemaErrors};

/// One account of a batch: its bytes as received and what they say. Its `Debug` shows their number alone.
#[derive(Clone)]
pub struct BatchItem {
    /// The account's JSON text, a slice of the body.
    pub bytes: Bytes,
    /// What it says.
    pub account: Account,
}

impl std::fmt::Debug for BatchItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an account of {} bytes", self.bytes.len())
    }
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
    match parse_flawless(body, text, limits) {
        Some(items) => Ok(items),
        None => parse_thoroughly(body, text, limits),
    }
}

/// Reads a body in one pass when it is nothing but `{"accounts": [...]}` and every account meets the
/// schema. None for any other body, whatever is the matter with it.
fn parse_flawless(body: &Bytes, text: &str, limits: BatchLimits) -> Option<Vec<BatchItem>> {
    let mut rest = ["{", "\"accounts\"", ":", "["].into_iter().try_fold(text, after)?;
    let mut items = Vec::new();
    let mut end = after(rest, "]");
    while end.is_none() {
        let start = rest.trim_start_matches(WHITESPACE);
        let (account, length) = Account::parse_first(start)?;
        let (item, behind) = start.split_at(length);
        if items.len() == limits.max_items || length > limits.max_item_bytes {
            return None;
        }
        if items.is_empty() {
            // The others are about as long.
            items.reserve_exact((start.len() / length).min(limits.max_items));
        }
        items.push(BatchItem { bytes: slice_of(body, item), account });
        end = after(behind, "]");
        rest = if end.is_none() { after(behind, ",")? } else { behind };
    }
    let behind = after(end?, "}")?;
    behind.trim_start_matches(WHITESPACE).is_empty().then_some(items)
}

/// Between the tokens of JSON.
const WHITESPACE: [char; 4] = [' ', '\n', '\t', '\r'];

/// What follows `token`, if that is what `text` begins with.
fn after<'a>(text: &'a str, token: &str) -> Option<&'a str> {
    text.trim_start_matches(WHITESPACE).strip_prefix(token)
}

/// Reads any body: first where each account begins and ends, then what each says.
fn parse_thoroughly(
    body: &Bytes,
    text: &str,
    limits: BatchLimits,
) -> Result<Vec<BatchItem>, SchemaErrors> {
    let accounts = read_accounts(text, limits.max_items)
        .map_err(|error| SchemaErrors::one(Place::Body, problem_of(&error)))?
        .items(limits.max_items)
        .map_err(|problem| SchemaErrors::one(Place::BodyField("accounts"), problem))?;
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

fn read_accounts(text: &str, max_items: usize) -> Result<Accounts<'_>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let accounts = Body { max_items }.deserialize(&mut json)?;
    json.end()?;
    Ok(accounts)
}

/// What stands under `accounts`.
enum Accounts<'a> {
    Missing,
    Repeated,
    Null,
    NoArray,
    TooMany,
    Items(Vec<&'a RawValue>),
}

impl<'a> Accounts<'a> {
    fn items(self, max_items: usize) -> Result<Vec<&'a RawValue>, Problem> {
        match self {
            Self::Items(items) => Ok(items),
            Self::Missing => Err(Problem::Missing),
            Self::Repeated => Err(Problem::Repeated),
            Self::Null => Err(Problem::Null),
            Self::NoArray => Err(Problem::WrongType { expected: "an array" }),
            Self::TooMany => Err(Problem::TooManyItems { max_items }),
        }
    }
}

/// Reads the body, an object, for its `accounts`.
#[derive(Clone, Copy)]
struct Body {
    max_items: usize,
}

impl<'de> DeserializeSeed<'de> for Body {
    type Value = Accounts<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body {
    type Value = Accounts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut accounts = Accounts::Missing;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key != "accounts" {
                map.next_value::<IgnoredAny>()?;
            } else if matches!(accounts, Accounts::Missing) {
                accounts = map.next_value_seed(Items { max_items: self.max_items })?;
            } else {
                map.next_value::<IgnoredAny>()?;
                accounts = Accounts::Repeated;
            }
        }
        Ok(accounts)
    }
}

/// Reads the value of `accounts`. Of an array with more than `max_items` no more than that are ever
/// held: an item may be a single byte.
#[derive(Clone, Copy)]
struct Items {
    max_items: usize,
}

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Accounts<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Accounts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.max_items {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(Accounts::Items(items)),
            }
        }
        if seq.next_element::<IgnoredAny>()?.is_none() {
            return Ok(Accounts::Items(items));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Accounts::TooMany)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Accounts::NoArray)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Accounts::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Accounts::NoArray)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Accounts::NoArray)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Accounts::NoArray)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Accounts::NoArray)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Accounts::NoArray)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_an_account() {
        let account = r#"{"communicationNumber":"CANARY","requester":"CANARY","businessEntityExtId":"CANARY",
            "accountExtId":"CANARY","accountNumber":"CANARY","accountStatus":"ACTIVE","currencyCode":"EUR",
            "openingDate":"2023-09-05T08:07:34Z"}"#;
        let item =
            parse_single(&Bytes::from(account), BatchLimits { max_items: 1, max_item_bytes: 1_000 });
        assert_eq!(format!("{:?}", item.unwrap()), format!("an account of {} bytes", account.len()));
    }

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

    const ACCOUNT: &str = r#"{"communicationNumber":"n-1","requester":"r","businessEntityExtId":"c",
        "accountExtId":"a\u00e9","accountNumber":"1","accountStatus":"ACTIVE","currencyCode":"EUR",
        "openingDate":"2023-09-05T08:07:34Z","bic":null,"more":[{"x":[]}, 1.5e3, "]},{"]}"#;
    const LIMITS: BatchLimits = BatchLimits { max_items: 3, max_item_bytes: 1_000 };

    fn flawless(body: &str) -> Option<Vec<(Bytes, Account)>> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let items = parse_flawless(&body, std::str::from_utf8(&body).unwrap(), LIMITS)?;
        Some(items.into_iter().map(|item| (item.bytes, item.account)).collect())
    }

    fn thorough(body: &str) -> Option<Vec<(Bytes, Account)>> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let items = parse_thoroughly(&body, std::str::from_utf8(&body).unwrap(), LIMITS).ok()?;
        Some(items.into_iter().map(|item| (item.bytes, item.account)).collect())
    }

    #[test]
    fn one_pass_reads_a_flawless_batch_as_two_do() {
        for body in [
            "{\"accounts\":[]}".to_owned(),
            format!("{{\"accounts\":[{ACCOUNT}]}}"),
            format!(" {{ \"accounts\" :\n[\t{ACCOUNT} ,\r\n{ACCOUNT}\n,{ACCOUNT} ] }}\n"),
        ] {
            let read = flawless(&body);
            assert!(read.is_some(), "{body}");
            assert_eq!(read, thorough(&body));
        }
    }

    #[test]
    fn one_pass_takes_no_batch_that_two_would_not() {
        let many = [ACCOUNT; 4].join(",");
        let long = ACCOUNT.replace("\"1\"", &format!("\"{}\"", "1".repeat(LIMITS.max_item_bytes)));
        for body in [
            format!("{{\"accounts\":[{many}]}}"),
            format!("{{\"accounts\":[{long}]}}"),
            format!("{{\"accounts\":[{ACCOUNT}],\"accounts\":[]}}"),
            format!("{{\"accounts\":[{ACCOUNT},]}}"),
            format!("{{\"accounts\":[{ACCOUNT}]}}]"),
            format!("{{\"accounts\":[,{ACCOUNT}]}}"),
            format!("{{\"accounts\":[{ACCOUNT} {ACCOUNT}]}}"),
            "{\"accounts\":[{}]}".to_owned(),
        ] {
            assert_eq!((flawless(&body), thorough(&body)), (None, None), "{body}");
        }
    }

    #[test]
    fn one_pass_reads_a_damaged_batch_as_two_do_or_not_at_all() {
        let whole = format!("{{\"accounts\": [{ACCOUNT}, {ACCOUNT}]}}");
        let places = (0..whole.len()).filter(|at| whole.is_char_boundary(*at));
        for at in places {
            let (before, behind) = whole.split_at(at);
            let mut rest = behind.chars();
            rest.next();
            for put in ["", " ", ",", "]", "}", "{", "[", "\"", "\\", ":", "0", "\u{a0}"] {
                for body in [format!("{before}{put}{behind}"), format!("{before}{put}{}", rest.as_str())]
                {
                    if let Some(read) = flawless(&body) {
                        assert_eq!(Some(read), thorough(&body), "{body}");
                    }
                }
            }
        }
    }
}
