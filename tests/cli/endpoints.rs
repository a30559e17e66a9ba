//! What endpoints get, as they are configured: each the events it asks for, and no others.

use std::collections::BTreeSet;

use serde_json::json;

use crate::account::account;
use crate::process::{Dev, until};
use crate::receiver::Receiver;

/// Numbers of the communications that a receiver was told of.
fn numbers(receiver: &Receiver) -> BTreeSet<String> {
    receiver.arrivals().iter().map(|arrival| arrival.header("ce-source").to_owned()).collect()
}

#[tokio::test]
async fn an_endpoint_gets_the_units_requesters_and_types_that_it_asks_for() {
    let wanted = [
        ("all", "", vec!["a", "b", "c", "d"]),
        ("unit", ", business_units = ['retail', 'private']", vec!["a", "c"]),
        ("requester", ", requesters = ['CARDS']", vec!["b", "c"]),
        ("both", ", business_units = ['retail'], requesters = ['CARDS']", vec![]),
        ("type", ", event_types = ['*.rejected']", vec!["d"]),
    ];
    let mut receivers = Vec::new();
    let mut endpoints = Vec::new();
    for (name, filter, expected) in wanted {
        let receiver = Receiver::start(200, "").await;
        let url = receiver.url();
        endpoints.push(format!(
            "{{ name = '{name}', url = '{url}', allow_http = true, unsigned = true{filter} }}"
        ));
        let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
        receivers.push((name, receiver, expected));
    }
    let endpoints = endpoints.join(",\n");
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("penstock.toml");
    std::fs::write(&config, format!("[callbacks]\nendpoints = [\n{endpoints}\n]\n")).unwrap();
    let dev = Dev::start(&directory, &["--config", config.to_str().unwrap()]).await;

    let of = |number: &str, unit: &str, requester: &str, currency: &str| {
        let mut account = account(number, &format!("A-{number}"));
        account["businessUnit"] = unit.into();
        account["requester"] = requester.into();
        account["currencyCode"] = currency.into();
        account
    };
    let batch = json!({ "accounts": [
        of("a", "retail", "CORE", "EUR"),
        of("b", "corporate", "CARDS", "EUR"),
        of("c", "private", "CARDS", "EUR"),
        of("d", "corporate", "CORE", "ZZZ"),
    ] });
    assert_eq!(dev.send(batch.to_string()).await.0, 200);
    for (name, receiver, expected) in &receivers {
        until(async || numbers(receiver).is_superset(expected)).await;
        assert_eq!(numbers(receiver), *expected, "{name}");
    }
    // Whatever was to go out has gone out: nobody got more meanwhile.
    dev.stop().await;
    for (name, receiver, expected) in &receivers {
        assert_eq!(numbers(receiver), *expected, "{name}");
    }
}
