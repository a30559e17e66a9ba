//! `penstock show`: what became of a communication, from the log to the endpoints. Who it is about is masked, unless an
//! operator says why it must be seen.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::account::{Communication, CommunicationNumber, Coordinates, EventId, Generation, Verdict};
use crate::queue::{
    Envelope, PollLimits, Queue, ReadRange, Reader, Received, Start, Topic, redriven_from,
    redriven_origin,
};
use crate::settings::Loaded;
use crate::store::{
    Attempt, Deliveries, DeliveryRecord, JobChange, OperationId, OperatorCommand, PersistedOutcome,
    Replays, Selection, Store, Wanted,
};

use super::config::PlaceArgs;
use super::masked::masked_text;
use super::numbers::parse_number;
use super::operator::{Said, parse_operation, parse_reason};
use super::output::{shown, time, write_json};
use super::process::{AnyQueue, AnyStore, beside_ports};
use super::recorded::{Intended, recorded};
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
    /// Show account and customer as they are; that this was done, and why, is recorded first
    #[arg(long, requires = "reason")]
    reveal: bool,
    /// Why they must be seen, for the record
    #[arg(long, value_name = "TEXT", value_parser = parse_reason, requires = "reveal")]
    reason: Option<String>,
    /// Do what was asked for under this id, now that somebody has approved it (operations.approval)
    #[arg(long, value_name = "ID", value_parser = parse_operation, requires = "reveal")]
    approved: Option<OperationId>,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `penstock show`.
pub(super) fn run(args: ShowArgs) -> anyhow::Result<Exit> {
    let ShowArgs { number, reveal, reason, approved, json, place } = args;
    let Loaded { settings, .. } = place.load()?;
    runtime()?.block_on(beside_ports(&settings, async |queue, store| {
        let (generation, limits) = (options::generation(&settings), options::reading(&settings));
        let looked_up = LookUp { queue, store, generation, limits, reveal };
        if !reveal {
            return looked_up.show(&number, json).await;
        }
        let grounds = Said { reason, approved }.grounds(&settings, store).await?;
        let subject = json!({ "communication_number": number.as_str() });
        let intended = Intended { command: OperatorCommand::ShowReveal, subject, grounds };
        let show = async || looked_up.show(&number, json).await;
        Ok(recorded(&settings, store, intended, show).await?.exit())
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
    #[serde(flatten)]
    about: AboutJson,
    /// Whether the account's state is this submission's; none when it was not accepted.
    is_account_state: Option<bool>,
    /// What the log still holds of it.
    record: Option<RecordJson>,
    /// Jobs that changed its outcome, the first one first.
    replays: Vec<ReplayJson>,
    deliveries: Vec<DeliveryJson>,
}

/// Whom it is about: their external ids.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum AboutJson {
    Masked { masked_account: String, masked_customer: String },
    Revealed { account: String, customer: String },
}

impl AboutJson {
    fn of(communication: &Communication, reveal: bool) -> Self {
        let account = communication.account.account_ext_id.as_str();
        let customer = communication.business_entity_ext_id.as_str();
        if reveal {
            Self::Revealed { account: account.to_owned(), customer: customer.to_owned() }
        } else {
            let (masked_account, masked_customer) = (masked_text(account), masked_text(customer));
            Self::Masked { masked_account, masked_customer }
        }
    }

    fn names(&self) -> (&str, &str) {
        match self {
            Self::Masked { masked_account, masked_customer } => (masked_account, masked_customer),
            Self::Revealed { account, customer } => (account, customer),
        }
    }
}

/// A change of an outcome by a job.
#[derive(Debug, Serialize)]
struct ReplayJson {
    job: String,
    changed_at: String,
    /// As `outcome` tells it; none when there was none.
    before: Option<&'static str>,
    after: &'static str,
}

impl ReplayJson {
    fn of(changed: &JobChange) -> Self {
        let JobChange { job, change, changed_at } = changed;
        Self {
            job: job.to_string(),
            changed_at: time(*changed_at),
            before: change.before.map(|before| before.verdict.as_str()),
            after: change.after.verdict.as_str(),
        }
    }
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
    reveal: bool,
}

impl LookUp<'_> {
    /// Shows what is known of a number.
    async fn show(&self, number: &CommunicationNumber, json: bool) -> anyhow::Result<Exit> {
        let found = self.number(number).await?;
        let mut out = io::stdout().lock();
        if json {
            write_json(&mut out, &found)?;
        } else {
            write_text(&mut out, &found)?;
        }
        Ok(Exit::Ok)
    }

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
        let changes = self.store.changes_at(&[*coordinates]).await.map_err(unavailable)?;
        // What was put back counts as submitted where it stood first.
        let origin = record.as_ref().and_then(|record| redriven_origin(&record.record.headers));
        let stood_at = origin.unwrap_or(*coordinates);
        Ok(SubmissionJson {
            coordinates: coordinates.to_string(),
            outcome: outcome.map_or("dead_letter", |outcome| outcome.verdict.as_str()),
            event_id: outcome.map(|outcome| outcome.event_id.to_string()),
            requester: communication.requester.as_str().to_owned(),
            about: AboutJson::of(communication, self.reveal),
            is_account_state: is_accepted.then_some(version == Some(stood_at)),
            record: record.as_ref().map(RecordJson::of),
            replays: changes.iter().map(ReplayJson::of).collect(),
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
    let SubmissionJson { coordinates, outcome, requester, about, .. } = submission;
    let (account, customer) = about.names();
    writeln!(out)?;
    writeln!(
        out,
        "submission {coordinates} by {}: account {}, customer {}",
        shown(requester),
        shown(account),
        shown(customer)
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
    for ReplayJson { job, changed_at, before, after } in &submission.replays {
        let before = before.map_or_else(|| "no outcome".to_owned(), str::to_owned);
        writeln!(out, "  {changed_at}  replay {job} changed {before} to {after}")?;
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
