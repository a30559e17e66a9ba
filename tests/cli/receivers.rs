//! What docs/receivers.md tells those who write a receiver.

use standardwebhooks::Webhook;

const PAGE: &str = include_str!("../../docs/receivers.md");

/// The first block of the page in a language.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0
}

#[test]
fn the_request_on_the_page_is_signed_by_the_key_on_the_page() {
    let (head, body) = block("http").split_once("\n\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name}"))
    };
    let key = Webhook::new(block("text")).unwrap();
    let time = header("webhook-timestamp").parse().unwrap();
    let signed = key.sign(header("webhook-id"), time, body.as_bytes()).unwrap();
    assert_eq!(header("webhook-signature"), signed);
    assert_eq!(header("webhook-id"), header("ce-id"));
    let data: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(data["communicationNumber"], header("ce-source"));
}
