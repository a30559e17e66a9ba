//! `penstock callbacks show`: one delivery with its attempts.

use std::io::{self, Write};

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::account::EventId;
use crate::cli::Exit;
use crate::store::{Attempt, Deliveries, DeliveryKey, DeliveryRecord, EndpointName, Selection};

use super::output::{self, AttemptJson, DeliveryJson, shown};
use super::{StoreArgs, at_store, unavailable};

/// Options of `penstock callbacks show`.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Name of the endpoint
    #[arg(value_parser = EndpointName::parse)]
    endpoint: EndpointName,
    /// Id of the event
    event_id: Uuid,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A delivery with its attempts, for programs.
#[derive(Serialize)]
struct ShownJson {
    #[serde(flatten)]
    delivery: DeliveryJson,
    kept_attempts: Vec<AttemptJson>,
}

pub(super) async fn run(args: ShowArgs) -> anyhow::Result<Exit> {
    let ShowArgs { endpoint, event_id, json, store } = args;
    let key = DeliveryKey { endpoint, event: EventId(event_id) };
    at_store(store, async |_, store| {
        let (endpoint, event) = (Some(key.endpoint.clone()), Some(key.event));
        let selection = Selection { endpoint, event, ..Selection::default() };
        let found = store.list(&selection, 1).await.map_err(unavailable)?.pop();
        let record = found.ok_or_else(|| {
            anyhow!(
                "no delivery of {} to {} is recorded; `penstock callbacks list` shows those there are",
                key.event,
                key.endpoint
            )
        })?;
        let failed = store.failed_attempts(&key).await.map_err(unavailable)?;
        let attempts = attempts(failed, record.last_attempt.as_ref());
        let mut out = io::stdout().lock();
        if json {
            let kept_attempts = attempts.iter().map(AttemptJson::of).collect();
            let shown = ShownJson { delivery: DeliveryJson::of(&record), kept_attempts };
            output::write_json(&mut out, &shown)?;
        } else {
            write_text(&mut out, &record, &attempts)?;
        }
        Ok(Exit::Ok)
    })
    .await
}

/// Every attempt that is known: those that failed, and the last one, which may not have.
fn attempts(mut failed: Vec<Attempt>, last: Option<&Attempt>) -> Vec<Attempt> {
    if let Some(last) = last
        && !failed.contains(last)
    {
        failed.push(last.clone());
        failed.sort_by_key(|attempt| attempt.at);
    }
    failed
}

fn write_text(out: &mut impl Write, record: &DeliveryRecord, attempts: &[Attempt]) -> io::Result<()> {
    writeln!(out, "endpoint      {}", record.key.endpoint)?;
    writeln!(out, "event         {}", record.key.event)?;
    writeln!(out, "number        {}", shown(&record.number))?;
    writeln!(out, "state         {}", record.state.as_str())?;
    writeln!(out, "since         {}", output::time(record.since))?;
    if let Some(reason) = &record.reason {
        writeln!(out, "reason        {}", shown(reason))?;
    }
    writeln!(out, "recorded      {}", output::time(record.recorded_at))?;
    if let Some(due_at) = record.due_at {
        writeln!(out, "next attempt  {}", output::time(due_at))?;
    }
    writeln!(out, "attempts      {}", record.attempts)?;
    for attempt in attempts {
        let (at, status) = (output::time(attempt.at), output::status(attempt));
        let millis = output::millis(attempt.duration);
        writeln!(out, "  {at}  {millis} ms  {status}  {}", shown(&attempt.answer))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::account::Timestamp;

    #[test]
    fn the_last_attempt_is_shown_once() {
        let attempt = |at, status| Attempt {
            at: Timestamp::from_unix_millis(at),
            duration: Duration::from_millis(1),
            status: Some(status),
            answer: String::new(),
        };
        let failed = vec![attempt(1, 500), attempt(3, 500)];
        assert_eq!(attempts(failed.clone(), Some(&attempt(3, 500))), failed);
        let delivered = attempt(2, 200);
        let all = attempts(failed.clone(), Some(&delivered));
        assert_eq!(all, [failed[0].clone(), delivered, failed[1].clone()]);
        assert!(attempts(Vec::new(), None).is_empty());
    }
}
