//! What arrives is accepted by an independent implementation of both specifications, while secrets change.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use penstock::callbacks::signature::SigningKey;
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::events::{self, Event};
use crate::installation::{Endpoint, Installation, RESULTS, SHORT_LEASE};
use crate::options::Extent;
use crate::process::TOKEN;
use crate::receivers::{Captured, Character, Memory, Receiver};

const PATIENCE: Duration = Duration::from_mins(1);
/// Accounts of each phase.
const ACCOUNTS: usize = 30;
/// Texts that headers cannot hold as they are.
const TEXTS: [&str; 6] =
    ["ž-ąčęė", "100%", "50%25 \"quoted\"", "a b\tc", "数字-😀", "%E2%82%AC € \\ ; , ="];

pub async fn run(extent: &Extent) -> anyhow::Result<String> {
    let binary = Receiver::start("binary", Character::Fast, Memory::Requests, extent.seed).await?;
    let batch = Receiver::start("batch", Character::Fast, Memory::Requests, extent.seed).await?;
    let (old, new) = (SigningKey::symmetric([1; 32]), SigningKey::symmetric([2; 32]));
    let asymmetric = SigningKey::asymmetric([3; 32]);
    let both = [&asymmetric, &new, &old].map(SigningKey::secret_text);
    let endpoints = |secrets: &[String]| {
        [
            Endpoint { secrets: secrets.to_vec(), ..Endpoint::of(&binary) },
            Endpoint { secrets: secrets.to_vec(), batch: 10, concurrency: 1, ..Endpoint::of(&batch) },
        ]
    };
    let mut installation = Installation::new(&endpoints(&both), 1, SHORT_LEASE).await?;
    installation.start_pipeline().await?;
    installation.start_callbacks().await?;
    let mut said = Vec::new();
    let (old, new) = (old.secret_text(), new.secret_text());
    let phases: [(&[String], &[&String], &[&String]); 2] =
        [(&both, &[&old, &new], &[]), (&both[..2], &[&new], &[&old])];
    for (phase, (secrets, accepted, refused)) in phases.into_iter().enumerate() {
        let before = [&binary, &batch].map(Receiver::count);
        if phase > 0 {
            installation.configure(&endpoints(secrets))?;
            installation.callbacks[0].stop().await?;
            installation.callbacks[0].start().await?;
        }
        submit(&installation, phase).await?;
        for receiver in [&binary, &batch] {
            installation.is_delivered(receiver.name, (phase + 1) * ACCOUNTS, PATIENCE).await?;
        }
        let events = events::read(installation.log.read(RESULTS).await?)?;
        for (receiver, before) in [&binary, &batch].into_iter().zip(before) {
            let requests = recorded(&receiver.arrivals()[before..], &events)?;
            said.extend(verify_all(&requests, accepted, refused).await?);
        }
    }
    installation.stop().await?;
    Ok(said.join(", "))
}

/// Sends accounts whose numbers and ids are texts that need care; all of them are accepted.
async fn submit(installation: &Installation, phase: usize) -> anyhow::Result<()> {
    let account = |place: usize| {
        let text = TEXTS[place % TEXTS.len()];
        json!({
            "communicationNumber": format!("{phase}/{place} {text}"), "requester": "SYSTEM ž 100%",
            "businessUnit": "sandbox", "businessEntityExtId": "ORG_C1_TEST",
            "accountExtId": format!("{text} {phase}/{place}"), "accountNumber": "LI2808800274335900017",
            "accountStatus": "ACTIVE", "currencyCode": "EUR", "openingDate": "2023-09-05T10:07:34+02:00",
        })
    };
    let accounts: Vec<Value> = (0..ACCOUNTS).map(account).collect();
    let url = format!("{}/amlyze-ws-rest/batch-accounts", installation.intake.address("url")?);
    let request = reqwest::Client::new().post(url).bearer_auth(TOKEN);
    let answer = request.json(&json!({ "accounts": accounts })).send().await?;
    let (status, answer) = (answer.status(), answer.json::<Value>().await?);
    ensure!(status.is_success(), "{status}: {answer}");
    Ok(())
}

/// Requests as the verifier reads them, with what they must tell.
fn recorded(
    arrivals: &[crate::receivers::Arrival],
    events: &BTreeMap<Uuid, Event>,
) -> anyhow::Result<Vec<Value>> {
    let mut requests: Vec<(&Captured, Vec<Value>)> = Vec::new();
    for arrival in arrivals {
        let captured = arrival.request.as_deref().context("requests are remembered")?;
        let told = told(events.get(&arrival.event).context("an event of the topic")?)?;
        match requests.last_mut() {
            // The events of a batch came one after the other.
            Some((last, events)) if std::ptr::eq(*last, captured) => events.push(told),
            _ => requests.push((captured, vec![told])),
        }
    }
    let requests = requests.into_iter().map(|(captured, events)| {
        let headers = texts(&captured.headers)?;
        Ok(json!({ "headers": headers, "body": BASE64.encode(&captured.body), "events": events }))
    });
    requests.collect()
}

fn told(event: &Event) -> anyhow::Result<Value> {
    Ok(json!({
        "id": event.id.to_string(), "source": event.source, "type": event.kind, "subject": event.subject,
        "data": serde_json::from_slice::<Value>(&event.body)?,
    }))
}

fn texts(headers: &HeaderMap) -> anyhow::Result<BTreeMap<&str, &str>> {
    headers.iter().map(|(name, value)| Ok((name.as_str(), value.to_str()?))).collect()
}

/// Accepted with every secret that signs, refused with the others and when anything is altered.
async fn verify_all(
    requests: &[Value],
    accepted: &[&String],
    refused: &[&String],
) -> anyhow::Result<Vec<String>> {
    let mut said = Vec::new();
    for secret in accepted {
        match verify(requests, secret).await? {
            Ok(count) => said.push(count),
            Err(refusal) => bail!("a delivery is refused: {refusal}"),
        }
    }
    let unknown = SigningKey::symmetric([9; 32]).secret_text();
    for secret in refused.iter().copied().chain([&unknown]) {
        is_refused("a secret that does not sign", requests, secret, "No matching signature").await?;
    }
    let altered = |change: &dyn Fn(&mut Value)| {
        let mut requests = requests.to_vec();
        // The last one, so that it is shown that every request is looked at.
        change(requests.last_mut().unwrap());
        requests
    };
    let body = altered(&|request| {
        let body = BASE64.decode(request["body"].as_str().unwrap()).unwrap();
        let text = String::from_utf8(body).unwrap().replace("sandbox", "sandbix");
        request["body"] = BASE64.encode(text).into();
    });
    is_refused("an altered body", &body, accepted[0], "No matching signature").await?;
    let id = altered(&|request| request["headers"]["webhook-id"] = Uuid::nil().to_string().into());
    is_refused("an altered id", &id, accepted[0], "No matching signature").await?;
    let source = altered(&|request| request["events"][0]["source"] = "another".into());
    is_refused("another source", &source, accepted[0], "expected").await?;
    Ok(said)
}

async fn is_refused(what: &str, requests: &[Value], secret: &str, expected: &str) -> anyhow::Result<()> {
    match verify(requests, secret).await? {
        Err(refusal) if refusal.contains(expected) => Ok(()),
        other => bail!("{what} is not refused as it must be: {other:?}"),
    }
}

/// Runs the verifier; what it accepts or why it refuses. An error when it cannot be run.
async fn verify(requests: &[Value], secret: &str) -> anyhow::Result<Result<String, String>> {
    let mut file = tempfile::NamedTempFile::new()?;
    for request in requests {
        writeln!(file, "{request}")?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/callbacks_production/verify.py");
    let mut command = Command::new("python3");
    command.arg(script).args(["--secret", secret]).arg(file.path());
    let output = command.output().await.context("python3 cannot be run")?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(Ok(said)),
        Some(1) => Ok(Err(said)),
        _ => bail!("{}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}
