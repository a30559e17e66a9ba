//! What `penstock doctor` finds of queue and store together: whether the roles would start with them. Embedded ones
//! are left alone: to look at them is to open them, which makes and migrates files.

use crate::callbacks::start_refusals;
use crate::settings::{QueueKind, Settings, StoreKind};
use crate::telemetry::{Finding, with_causes};
use crate::worker::standings;

use super::process::{AnyQueue, AnyStore, CALLBACKS_GROUP, at_ports};
use super::{callback_options, options};

const WORKER: &str = "worker: accounts.submitted";
const CALLBACKS: &str = "callbacks: accounts.results";

/// Looks at every partition.
pub(super) async fn examine(settings: &Settings) -> Vec<Finding> {
    if settings.queue.kind == QueueKind::Sqlite || settings.store.kind == StoreKind::Sqlite {
        return Vec::new();
    }
    let looked = at_ports(settings, async |queue, store| {
        let mut findings = worker(settings, queue, store).await;
        if !settings.callbacks.endpoints.is_empty() {
            findings.extend(callbacks(settings, queue, store).await);
        }
        Ok(findings)
    });
    looked.await.unwrap_or_else(|error| vec![Finding::wrong("queue and store", format!("{error:#}"))])
}

async fn worker(settings: &Settings, queue: &AnyQueue, store: &AnyStore) -> Vec<Finding> {
    let generation = options::generation(settings);
    let group = options::worker_group(&settings.queue);
    let standings = match standings(queue, store, group, generation).await {
        Ok(standings) => standings,
        Err(error) => return vec![Finding::wrong(WORKER, with_causes(&error).to_string())],
    };
    let mut findings = Vec::new();
    for standing in &standings {
        if let Some(refusal) = standing.refusal() {
            findings.push(Finding::wrong(WORKER, refusal.to_string()));
        } else if let Some(doubt) = standing.unvouched() {
            findings.push(Finding::warning(WORKER, doubt.to_string()));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine(WORKER, "what is applied and committed fits what the topic holds"));
    }
    findings
}

async fn callbacks(settings: &Settings, queue: &AnyQueue, store: &AnyStore) -> Vec<Finding> {
    let generation = options::generation(settings);
    let deleted = callback_options::deliverer(&settings.callbacks, generation).deleted_events;
    match start_refusals(queue, store, CALLBACKS_GROUP, generation, deleted).await {
        Ok(refused) if refused.is_empty() => {
            vec![Finding::fine(CALLBACKS, "what is recorded and committed fits what the topic holds")]
        }
        Ok(refused) => {
            refused.iter().map(|refused| Finding::wrong(CALLBACKS, refused.to_string())).collect()
        }
        Err(error) => vec![Finding::wrong(CALLBACKS, with_causes(&error).to_string())],
    }
}
