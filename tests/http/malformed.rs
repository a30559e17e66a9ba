//! Malformed bodies of every kind: 400, the place named, nothing published.

use serde_json::json;

use crate::account::account;
use crate::harness::{BATCH, Harness, account_with, errors_of};
use crate::ports::MAX_RECORD_BYTES;

/// A batch whose second item has `field` set to `value` (JSON text).
fn second_item(field: &str, value: &str) -> Vec<u8> {
    let good = account("n1", "a1");
    let mut bad = account("n2", "a2");
    bad.as_object_mut().unwrap().remove(field);
    let bad = bad.to_string();
    format!(r#"{{"accounts":[{good},{{"{field}":{value},{}]}}"#, &bad[1..]).into_bytes()
}

fn without(field: &str) -> Vec<u8> {
    json!({ "accounts": [account_with(field, None)] }).to_string().into_bytes()
}

fn items(items: &str) -> Vec<u8> {
    format!(r#"{{"accounts":{items}}}"#).into_bytes()
}

/// What it is, the body, and what must be said of it.
type Row = (&'static str, Vec<u8>, &'static str);

/// Bodies that are no batches.
fn malformed_bodies() -> Vec<Row> {
    let good = account("n1", "a1").to_string();
    let mut invalid_utf8 = items(&format!("[{good}]"));
    invalid_utf8[70] = 0xff;
    vec![
        ("nothing", Vec::new(), "body: is not JSON"),
        ("no JSON", b"accounts".to_vec(), "body: is not JSON"),
        ("cut off", items(&format!("[{good}"))[..200].to_vec(), "body: is not JSON"),
        ("trailing garbage", [items("[]"), b"x".to_vec()].concat(), "body: is not JSON"),
        ("a byte order mark", ["\u{feff}".as_bytes(), &items("[]")].concat(), "body: is not JSON"),
        ("invalid UTF-8", invalid_utf8, "body: is not UTF-8 at byte 70"),
        ("a control character", items("[{\"a\":\"\n\"}]"), "body: is not JSON"),
        ("an array", b"[]".to_vec(), "body: must be an object"),
        ("a text", b"\"accounts\"".to_vec(), "body: must be an object"),
        ("null", b"null".to_vec(), "body: must be an object"),
        ("no accounts", b"{}".to_vec(), "accounts: is mandatory"),
        ("accounts null", items("null"), "accounts: is mandatory, must not be null"),
        ("accounts an object", items("{}"), "accounts: must be an array"),
        (
            "accounts twice",
            br#"{"accounts":[],"accounts":[]}"#.to_vec(),
            "accounts: occurs more than once",
        ),
        ("an item null", items(&format!("[{good},null]")), "accounts[1]: must be an object"),
        ("an item a number", items("[1]"), "accounts[0]: must be an object"),
        ("an item a list", items("[[]]"), "accounts[0]: must be an object"),
    ]
}

/// Batches with an item that is no account.
fn malformed_items() -> Vec<Row> {
    let long = |length: usize| format!("\"{}\"", "x".repeat(length));
    let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let date = "accounts[1].openingDate: must be an RFC 3339 date-time with offset";
    vec![
        ("missing", without("requester"), "accounts[0].requester: is mandatory"),
        (
            "null",
            second_item("requester", "null"),
            "accounts[1].requester: is mandatory, must not be null",
        ),
        (
            "empty",
            second_item("requester", "\"\""),
            "accounts[1].requester: is mandatory, must not be empty",
        ),
        ("a number", second_item("accountNumber", "1"), "accounts[1].accountNumber: must be a string"),
        ("a list", second_item("bic", "[]"), "accounts[1].bic: must be a string"),
        (
            "a text",
            second_item("isOtherFinInstAccount", "\"true\""),
            "accounts[1].isOtherFinInstAccount: must be a boolean",
        ),
        (
            "a zero",
            second_item("isOtherFinInstAccount", "0"),
            "accounts[1].isOtherFinInstAccount: must be a boolean",
        ),
        (
            "no status",
            second_item("accountStatus", "\"OPEN\""),
            "accounts[1].accountStatus: must be one of ACTIVE, CLOSED, SUSPENDED",
        ),
        (
            "lower case",
            second_item("action", "\"create\""),
            "accounts[1].action: must be one of CREATE, UPDATE",
        ),
        (
            "too long",
            second_item("requester", &long(101)),
            "accounts[1].requester: must have at most 100 characters",
        ),
        (
            "too long",
            second_item("communicationNumber", &long(256)),
            "accounts[1].communicationNumber: must have at most 255 characters",
        ),
        (
            "too long",
            second_item("businessUnit", &long(256)),
            "accounts[1].businessUnit: must have at most 255 characters",
        ),
        ("no time", second_item("openingDate", "\"2023-09-05\""), date),
        ("no offset", second_item("openingDate", "\"2023-09-05T08:07:34\""), date),
        ("no such day", second_item("openingDate", "\"2023-02-30T08:07:34Z\""), date),
        (
            "empty date",
            second_item("closingDate", "\"\""),
            "accounts[1].closingDate: must be an RFC 3339",
        ),
        (
            "NUL",
            second_item("accountExtId", r#""a\u0000b""#),
            "accounts[1].accountExtId: must not contain the character U+0000",
        ),
        ("200 levels", second_item("unknown", &nested), "accounts[1]: is nested deeper than 128 levels"),
        (
            "a key twice",
            second_item("requester", r#""A","requester":"B""#),
            "accounts[1].requester: occurs more than once",
        ),
        ("number overflow", second_item("unknown", "1e999"), "accounts[1]: is not JSON"),
        ("lone surrogate", second_item("requester", r#""\ud800""#), "accounts[1]: is not JSON"),
        ("lone surrogate", second_item("unknown", r#""\udc00x""#), "accounts[1]: is not JSON"),
        (
            "too large",
            second_item("accountPurpose", &long(MAX_RECORD_BYTES)),
            "accounts[1]: must have at most 4000 bytes",
        ),
    ]
}

#[tokio::test]
async fn malformed_batches_are_refused_with_the_place_named() {
    let intake = Harness::new().await;
    for (what, body, expected) in malformed_bodies().into_iter().chain(malformed_items()) {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let response = intake.post(BATCH).body(body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{what}: {shown}");
        let errors = errors_of(response).await;
        assert!(errors[0].starts_with(expected), "{what}: {errors:?}");
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
    }
    assert_eq!(intake.queue.count(), 0);
}
