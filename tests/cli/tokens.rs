//! What a token may, as it is configured: on every route, for every unit, from every address. The binary is asked, so
//! that nothing between the file of settings and the door goes untried.

use penstock::settings::Sha256Digest;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::account::account;
use crate::process::{DEADLINE, Dev};

const BATCH: &str = "/amlyze-ws-rest/batch-accounts";
const SINGLE: &str = "/amlyze-ws-rest/account";
const VALIDATE: &str = "/amlyze-ws-rest/validate-batch-accounts";
const EVENTS: &str = "/api/integration-services/v1/communications-events";

/// Every route behind a token, with the scope that it takes.
const ROUTES: [(&str, &str); 7] = [
    (BATCH, "submit"),
    (SINGLE, "submit"),
    (VALIDATE, "validate"),
    (EVENTS, "read"),
    ("/classifier/accountType", "read"),
    ("/classifier/businessUnit", "read"),
    ("/classifier/currency", "read"),
];

/// A `dev` with these tokens, each of which is its own name.
async fn dev(directory: &TempDir, tokens: &[(&str, &str)], auth: &str) -> Dev {
    let line = |(name, limits): &(&str, &str)| {
        format!("{{ name = '{name}', sha256 = '{}'{limits} }},\n", Sha256Digest::of(name))
    };
    let tokens: String = tokens.iter().map(line).collect();
    let config = directory.path().join("penstock.toml");
    std::fs::write(&config, format!("[auth]\n{auth}\ntokens = [\n{tokens}]\n")).unwrap();
    Dev::start(directory, &["--config", config.to_str().unwrap()]).await
}

fn of_unit(number: &str, unit: Option<&str>) -> Value {
    let mut account = account(number, &format!("A-{number}"));
    match unit {
        Some(unit) => account["businessUnit"] = unit.into(),
        None => drop(account.as_object_mut().unwrap().remove("businessUnit")),
    }
    account
}

/// What is asked of a route: accounts where it takes some, the outcome of a number where it has such.
async fn ask(dev: &Dev, token: &str, route: &str, number: &str, unit: Option<&str>) -> (u16, Value) {
    let account = of_unit(number, unit);
    let (method, path, body) = match route {
        SINGLE => (Method::POST, route.to_owned(), Some(account)),
        BATCH | VALIDATE => (Method::POST, route.to_owned(), Some(json!({ "accounts": [account] }))),
        EVENTS => (Method::GET, format!("{route}/{number}"), None),
        _ => (Method::GET, route.to_owned(), None),
    };
    let request = reqwest::Client::new().request(method, format!("{}{path}", dev.url));
    let request = request.bearer_auth(token).timeout(DEADLINE);
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_token_opens_the_routes_of_its_scopes_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = [
        ("submits", ", scopes = ['submit']"),
        ("validates", ", scopes = ['validate']"),
        ("reads", ", scopes = ['read']"),
        ("both", ", scopes = ['submit', 'read']"),
        ("all", ""),
    ];
    let dev = dev(&directory, &tokens, "").await;
    assert_eq!(ask(&dev, "all", BATCH, "known", None).await.0, 200);
    for (token, limits) in tokens {
        for (route, scope) in ROUTES {
            let may = limits.is_empty() || limits.contains(scope);
            // A number of its own where something is submitted, one that is known where it is looked up.
            let number = if route == EVENTS { "known".to_owned() } else { format!("{token}-{scope}") };
            let (status, body) = ask(&dev, token, route, &number, None).await;
            assert_eq!(status, if may { 200 } else { 403 }, "{token} at {route}: {body}");
        }
    }
    for (route, _) in ROUTES {
        assert_eq!(ask(&dev, "nobody", route, "known", None).await.0, 401, "{route}");
    }
    dev.stop().await;
}

#[tokio::test]
async fn a_token_of_some_units_submits_validates_and_sees_these_alone() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = [
        ("retail", ", business_units = ['retail']"),
        ("two", ", business_units = ['retail', 'private']"),
        ("all", ""),
    ];
    let dev = dev(&directory, &tokens, "").await;
    for (token, unit, may) in [
        ("retail", "retail", true),
        ("retail", "private", false),
        ("two", "private", true),
        ("two", "corporate", false),
        ("all", "corporate", true),
    ] {
        for route in [VALIDATE, BATCH, SINGLE] {
            // Of an account of its own each time: the two that submit must not meet.
            let number = format!("{token}-{unit}-{}", route.len());
            let (status, body) = ask(&dev, token, route, &number, Some(unit)).await;
            assert_eq!(status, if may { 200 } else { 403 }, "{token} with {unit} at {route}: {body}");
        }
    }
    let corporate = format!("all-corporate-{}", BATCH.len());
    let private = format!("two-private-{}", BATCH.len());
    for (token, number, sees) in [
        ("retail", &private, false),
        ("two", &private, true),
        ("two", &corporate, false),
        ("all", &private, true),
        ("all", &corporate, true),
    ] {
        let (status, body) = ask(&dev, token, EVENTS, number, None).await;
        let (unknown, _) = ask(&dev, token, EVENTS, "never-sent", None).await;
        assert_eq!(status == 200, sees, "{token} asks for {number}: {body}");
        assert!(sees || status == unknown, "it answers as an unknown one does");
    }
    dev.stop().await;
}

#[tokio::test]
async fn an_account_without_a_unit_is_of_the_tokens_only_one_all_the_way_to_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = [
        ("retail", ", business_units = ['retail']"),
        ("private", ", business_units = ['private']"),
        ("all", ""),
    ];
    let dev = dev(&directory, &tokens, "").await;
    for route in [BATCH, SINGLE] {
        let number = format!("no-unit-{}", route.len());
        assert_eq!(ask(&dev, "retail", route, &number, None).await.0, 200);
        let (_, seen) = ask(&dev, "retail", EVENTS, &number, None).await;
        assert!(seen.to_string().contains("\"retail\""), "{seen}");
        assert_ne!(ask(&dev, "private", EVENTS, &number, None).await.0, 200, "it is not theirs");
    }
    dev.stop().await;
}

#[tokio::test]
async fn who_connects_from_elsewhere_is_refused_whatever_the_token() {
    for (allowed, expected) in [("'10.0.0.0/8'", 403), ("'10.0.0.0/8', '127.0.0.1'", 200)] {
        let directory = tempfile::tempdir().unwrap();
        let dev = dev(&directory, &[("all", "")], &format!("allow_ips = [{allowed}]")).await;
        for (route, _) in ROUTES.into_iter().filter(|(route, _)| *route != EVENTS) {
            let number = format!("from-here-{}", route.len());
            assert_eq!(ask(&dev, "all", route, &number, None).await.0, expected, "{route}");
        }
        dev.stop().await;
    }
}
