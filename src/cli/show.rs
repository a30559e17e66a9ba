//! `penstock show`: what became of a communication, from the log to the endpoints. Who it is about is masked.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use crate::account::{CommunicationNumber, Coordinates, EventId, Generation, Verdict};
use crate::queue::{
    Envelope, PollLimits, Queue, ReadRange, Reader, Received, Start, Topic, redriven_from,
    redriven_origin,
};
use crate::settings::Loaded;
use crate::store::{Attempt, Deliveries, DeliveryRecord, PersistedOutcome, Selection, Store, Wanted};

use super::config::PlaceArgs;
use super::masked::masked_text;
use super::output::{shown, time, write_json};
use super::process::{AnyQueue, AnyStore, beside_ports};
use super::{Exit, Misused, options, runtime, unavailable};

/// Outcomes of a number that are shown: the accepted one, and the newest rejections.
const OUTCOMES: usize = 20;
/// Endpoints that an event may have gone to.
const DELIVERIES: usize = 100;
/// How often a record is asked for that the log holds.
const READS: usize = 30;

/// Options of `penstock show`.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The communicationNumber
    #[arg(value_name = "NUMBER", value_parser = parse_number)]
    number: CommunicationNumber,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

fn parse_number(text: &str) -> Result<CommunicationNumber, String> {
    CommunicationNumber::parse(text).map_err(|problem| problem.to_string())
}

/// Runs `penstock show`.
pub(super) fn run(args: ShowArgs) -> anyhow::Result<Exit> {
    let ShowArgs { number, json, place } = args;
    let Loaded { settings, .. } = place.load()?;
    runtime()?.block_on(beside_ports(&settings, async |queue, store| {
        let (generation, limits) = (options::generation(&settings), options::reading(&settings));
        let looked_up = LookUp { queue, store, generation, limits };
        let shown_json = looked_up.number(&number).await?;
        let mut out = io::stdout().lock();
        if json {
            write_json(&mut out, &shown_json)?;
        } else {
            write_text(&mut out, &shown_json)?;
        }
        Ok(Exit::Ok)
    }))
}

/// All that is known of a number.
#[derive(Debug, Serialize)]
struct ShownJson {
    communication_number: String,
    /// Its submissions that have an outcome of their own, in the order of the log.
    submissions: Vec<SubmissionJson>,
}

/// A submission with what came of it.
#[derive(Debug, Serialize)]
struct SubmissionJson {
    /// Generation, partition and offset.
    coordinates: String,
    /// `accepted`, the code of the rejection, or `dead_letter`.
    outcome: &'static str,
    event_id: Option<String>,
    requester: String,
    masked_account: String,
    masked_customer: String,
    /// Whether the account's state is this submission's; none when it was not accepted.
    is_account_state: Option<bool>,
    /// What the log still holds of it.
    record: Option<RecordJson>,
    deliveries: Vec<DeliveryJson>,
}

/// A submission as the log has it.
#[derive(Debug, Serialize)]
struct RecordJson {
    appended_at: String,
    received_at: Option<String>,
    batch: Option<String>,
    item: Option<u32>,
    /// The dead letter that it was before, as `partition/offset`.
    redriven_from: Option<String>,
}

impl RecordJson {
    fn of(received: &Received) -> Self {
        let item = Envelope::from_headers(&received.record.headers).item;
        let from = redriven_from(&received.record.headers);
        Self {
            appended_at: time(received.appended_at),
            received_at: item.and_then(|(batch, _)| batch.received_at()).map(time),
            batch: item.map(|(batch, _)| batch.to_string()),
            item: item.map(|(_, item)| item),
            redriven_from: from.map(|(partition, offset)| format!("{}/{}", partition.0, offset.0)),
        }
    }
}

/// What one endpoint got of an event.
#[derive(Debug, Serialize)]
struct DeliveryJson {
    endpoint: String,
    state: &'static str,
    recorded_at: String,
    since: String,
    due_at: Option<String>,
    attempts: Vec<AttemptJson>,
}

/// An attempt without what was answered.
#[derive(Debug, Serialize)]
struct AttemptJson {
    at: String,
    duration_ms: u128,
    status: Option<u16>,
}

impl DeliveryJson {
    fn of(record: &DeliveryRecord, mut attempts: Vec<Attempt>) -> Self {
        if let Some(last) = record.last_attempt.as_ref().filter(|last| !attempts.contains(last)) {
            attempts.push(last.clone());
        }
        attempts.sort_by_key(|attempt| attempt.at);
        let attempt = |attempt: &Attempt| AttemptJson {
            at: time(attempt.at),
            duration_ms: attempt.duration.as_millis(),
            status: attempt.status,
        };
        Self {
            endpoint: record.key.endpoint.to_string(),
            state: record.state.as_str(),
            recorded_at: time(record.recorded_at),
            since: time(record.since),
            due_at: record.due_at.map(time),
            attempts: attempts.iter().map(attempt).collect(),
        }
    }
}

/// Where everything is looked up.
struct LookUp<'a> {
    queue: &'a AnyQueue,
    store: &'a AnyStore,
    generation: Generation,
    limits: PollLimits,
}

impl LookUp<'_> {
    async fn number(&self, number: &CommunicationNumber) -> anyhow::Result<ShownJson> {
        let mut outcomes = self.store.outcomes(number, OUTCOMES).await.map_err(unavailable)?;
        if outcomes.is_empty() {
            let told = format!(
                "no communication {} is decided on: it was not submitted, or is still on its way; `penstock frontiers` \
                 tells how far the workers are, `penstock dlq list` what was put aside unread",
                shown(number.as_str())
            );
            return Err(Misused(told).into());
        }
        outcomes.sort_by_key(|outcome| outcome.coordinates);
        let mut submissions = Vec::new();
        for outcome in &outcomes {
            submissions.push(self.submission(outcome).await?);
        }
        Ok(ShownJson { communication_number: number.as_str().to_owned(), submissions })
    }

    async fn submission(&self, found: &PersistedOutcome) -> anyhow::Result<SubmissionJson> {
        let PersistedOutcome { communication, coordinates, outcome } = found;
        let is_accepted = outcome.is_some_and(|outcome| outcome.verdict == Verdict::Accepted);
        let wanted = Wanted { accounts: vec![communication.account.clone()], ..Wanted::default() };
        let view = self.store.load(&wanted).await.map_err(unavailable)?;
        let version = view.accounts.get(&communication.account).map(|state| state.version);
        let record = self.record(*coordinates).await?;
        // What was put back counts as submitted where it stood first.
        let origin = record.as_ref().and_then(|record| redriven_origin(&record.record.headers));
        let stood_at = origin.unwrap_or(*coordinates);
        Ok(SubmissionJson {
            coordinates: coordinates.to_string(),
            outcome: outcome.map_or("dead_letter", |outcome| outcome.verdict.as_str()),
            event_id: outcome.map(|outcome| outcome.event_id.to_string()),
            requester: communication.requester.as_str().to_owned(),
            masked_account: masked_text(communication.account.account_ext_id.as_str()),
            masked_customer: masked_text(communication.business_entity_ext_id.as_str()),
            is_account_state: is_accepted.then_some(version == Some(stood_at)),
            record: record.as_ref().map(RecordJson::of),
            deliveries: match outcome {
                Some(outcome) => self.deliveries(outcome.event_id).await?,
                None => Vec::new(),
            },
        })
    }

    /// The record at a place, if the log still holds it.
    async fn record(&self, at: Coordinates) -> anyhow::Result<Option<Received>> {
        if at.log.generation != self.generation {
            return Ok(None);
        }
        let (topic, partition, from) = (Topic::Submitted, at.log.partition, at.offset);
        let found = self.queue.find(topic, partition, Start::Offset(from)).await;
        if found.map_err(unavailable)? != from {
            return Ok(None);
        }
        let range = ReadRange { partition, from, to: from.next() };
        let mut reader = self.queue.open_reader(topic, vec![range]).await.map_err(unavailable)?;
        for _ in 0..READS {
            if let Some(received) = reader.read(self.limits).await.map_err(unavailable)?.pop() {
                return Ok(Some(received));
            }
            if reader.is_done() {
                break;
            }
        }
        Ok(None)
    }

    async fn deliveries(&self, event: EventId) -> anyhow::Result<Vec<DeliveryJson>> {
        let selection = Selection { event: Some(event), ..Selection::default() };
        let records = self.store.list(&selection, DELIVERIES).await.map_err(unavailable)?;
        let mut deliveries = Vec::new();
        for record in &records {
            let failed = self.store.failed_attempts(&record.key).await.map_err(unavailable)?;
            deliveries.push(DeliveryJson::of(record, failed));
        }
        deliveries.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
        Ok(deliveries)
    }
}

fn write_text(out: &mut impl Write, found: &ShownJson) -> io::Result<()> {
    writeln!(out, "{}", shown(&found.communication_number))?;
    for submission in &found.submissions {
        write_submission(out, submission)?;
    }
    Ok(())
}

fn write_submission(out: &mut impl Write, submission: &SubmissionJson) -> io::Result<()> {
    let SubmissionJson { coordinates, outcome, requester, masked_account, masked_customer, .. } =
        submission;
    writeln!(out)?;
    writeln!(
        out,
        "submission {coordinates} by {}: account {}, customer {}",
        shown(requester),
        shown(masked_account),
        shown(masked_customer)
    )?;
    match &submission.record {
        Some(RecordJson { appended_at, received_at, batch, item, redriven_from }) => {
            if let (Some(at), Some(batch), Some(item)) = (received_at, batch, item) {
                writeln!(out, "  {at}  received as item {item} of batch {batch}")?;
            }
            let from = redriven_from.as_ref().map(|from| format!(", put back from dead letter {from}"));
            writeln!(out, "  {appended_at}  appended to the log{}", from.unwrap_or_default())?;
        }
        None => writeln!(out, "  the log no longer holds it")?,
    }
    let event = submission.event_id.as_ref().map(|id| format!(", event {id}")).unwrap_or_default();
    let state = match submission.is_account_state {
        Some(true) => "; it is the account's state",
        Some(false) => "; the account has a newer state",
        None => "",
    };
    writeln!(out, "  {outcome}{event}{state}")?;
    for delivery in &submission.deliveries {
        write_delivery(out, delivery)?;
    }
    Ok(())
}

fn write_delivery(out: &mut impl Write, delivery: &DeliveryJson) -> io::Result<()> {
    let DeliveryJson { endpoint, state, since, due_at, attempts, .. } = delivery;
    let due = due_at.as_ref().map(|at| format!(", due {at}")).unwrap_or_default();
    writeln!(out, "  {since}  {state} to {endpoint}{due}")?;
    for AttemptJson { at, duration_ms, status } in attempts {
        let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        writeln!(out, "    {at}  {duration_ms} ms  {status}")?;
    }
    Ok(())
}
