//! What is in a record, as far as it may be shown to anybody: how it is built, and nothing of what it says.

use serde_json::Value;

use crate::account::Account;

/// Most of a value that is shown, in characters.
const SHOWN_CHARS: usize = 2_000;

/// A value with every letter as `x` and every digit as `9`. Of JSON the names of the schema's fields stay.
pub(super) fn masked(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let masked = match serde_json::from_str::<Value>(&text) {
        Ok(json @ (Value::Object(_) | Value::Array(_))) => masked_json(json).to_string(),
        Ok(_) | Err(_) => masked_text(&text),
    };
    match masked.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", masked.get(..end).unwrap_or_default()),
        None => masked,
    }
}

fn masked_json(json: Value) -> Value {
    match json {
        Value::Null | Value::Bool(_) => json,
        Value::Number(number) => Value::String(masked_text(&number.to_string())),
        Value::String(text) => Value::String(masked_text(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(masked_json).collect()),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(name, value)| (masked_name(name), masked_json(value))).collect(),
        ),
    }
}

fn masked_name(name: String) -> String {
    if Account::has_field(&name) { name } else { masked_text(&name) }
}

/// The name of a header, if it is one that penstock or a producer of CloudEvents writes; masked otherwise.
pub(super) fn masked_header(name: &str) -> String {
    let known = ["penstock-", "ce_", "content-type", "traceparent", "tracestate"];
    if known.iter().any(|known| name.starts_with(known)) { name.to_owned() } else { masked_text(name) }
}

/// A text with every letter as `x` and every digit as `9`.
pub(super) fn masked_text(text: &str) -> String {
    let mask = |c: char| match c {
        c if c.is_numeric() => '9',
        c if c.is_alphabetic() => 'x',
        c => c,
    };
    text.chars().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_is_left_but_how() {
        let value = r#"{"accountNumber":"LT12 1000","bic":"Ąžuolas","action":true,"n":-1.5,"Jonas":{}}"#;
        let expected =
            r#"{"xxxxx":{},"accountNumber":"xx99 9999","x":"-9.9","bic":"xxxxxxx","action":true}"#;
        let found: Value = serde_json::from_str(&masked(value.as_bytes())).unwrap();
        assert_eq!(found, serde_json::from_str::<Value>(expected).unwrap());
        assert_eq!(masked_header("Jonas-1"), "xxxxx-9");
        assert_eq!(masked_header("penstock-batch"), "penstock-batch");
    }

    #[test]
    fn what_is_no_json_is_masked_too() {
        assert_eq!(masked(b"{\"a\": \"Jo 7"), "{\"x\": \"xx 9");
        assert_eq!(masked(b"\"secret\""), "\"xxxxxx\"");
        assert_eq!(masked(&[b'a', 0xff, b'1']), "x\u{fffd}9");
        assert_eq!(masked("y".repeat(5_000).as_bytes()), format!("{}…", "x".repeat(SHOWN_CHARS)));
    }
}
