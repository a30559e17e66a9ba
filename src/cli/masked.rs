//! What is in a letter, as far as it may be shown to anybody: how it is built, and nothing of what it says.

use serde_json::Value;

/// Most of a value that is shown, in characters.
const SHOWN_CHARS: usize = 2_000;
/// Longest name of a field that is shown as it is.
const NAME_CHARS: usize = 40;

/// A value with every letter as `x` and every digit as `9`. Of JSON the names of fields stay, if they are plain.
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
    let is_plain = name.len() <= NAME_CHARS && name.chars().all(|c| c.is_ascii_alphabetic());
    if is_plain { name } else { masked_text(&name) }
}

fn masked_text(text: &str) -> String {
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
        let value = r#"{"accountNumber":"LT12 1000","name":"Ąžuolas","open":true,"n":-1.5,"list":["a1"],"LT12":{}}"#;
        let expected = r#"{"LT99":{},"accountNumber":"LT99 9999","list":["x9"],"n":"-9.9","name":"xxxxxxx","open":true}"#;
        let expected = expected.replace("\"LT99\":{}", "\"xx99\":{}").replace("LT99 9999", "xx99 9999");
        let found: Value = serde_json::from_str(&masked(value.as_bytes())).unwrap();
        assert_eq!(found, serde_json::from_str::<Value>(&expected).unwrap());
    }

    #[test]
    fn what_is_no_json_is_masked_too() {
        assert_eq!(masked(b"{\"a\": \"Jo 7"), "{\"x\": \"xx 9");
        assert_eq!(masked(b"\"secret\""), "\"xxxxxx\"");
        assert_eq!(masked(&[b'a', 0xff, b'1']), "x\u{fffd}9");
        assert_eq!(masked("y".repeat(5_000).as_bytes()), format!("{}…", "x".repeat(SHOWN_CHARS)));
    }
}
