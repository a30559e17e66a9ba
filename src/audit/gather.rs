//! The sources, read one after the other in the order in which what they hold comes about: what follows from
//! something is read after it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::account::{
    CommunicationNumber, Generation, LogPartition, Offset, Partition, Rejection, Timestamp, Verdict,
};
use crate::callbacks::routing::{DeliverFrom, Filter, Origin as EventOrigin};
use crate::events::{CloudEvent, told_by};
use crate::queue::{
    Assignment, BatchId, DeadLetter, PollLimits, Queue, QueueError, ReadRange, Reader, Received, Start,
    Topic, first_appended_at,
};
use crate::replay::{Span, Window};
use crate::spill::{Encoded, Spill, SpillError};
use crate::store::{
    Availability, ChangeRow, EndpointName, EndpointState, JobState, Page, Replays, ScanPlace, Scans,
};
use crate::worker::{Content, Item};

use super::bounds::{Bounds, LogBounds, settled};
use super::facts::{
    Accepted, AccountFact, AccountSays, AccountState, Key, Letter, LetterDue, Noted, NotedAs,
    NumberFact, Origin, PlaceFact, PlaceSays, Recorded, Says, Submitted, Told, TopicPlace,
    account_digest, event_digest, id, record_digest, subject_digest,
};
use super::findings::Counts;
use super::run::{AuditError, Stage, Telling};
use super::sieve::Sieve;

/// Jobs of which is known whether they are done.
const JOBS: usize = 10_000;
/// How long before a submission's append its event may have been told, by clocks that differ.
const SLACK: Duration = Duration::from_mins(5);

/// An endpoint as far as an audit looks at it.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub name: EndpointName,
    /// What it takes.
    pub filter: Filter,
    /// From when on.
    pub deliver_from: DeliverFrom,
}

/// What is audited.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Of the topics.
    pub generation: Generation,
    /// The workers' group.
    pub workers: String,
    /// The group of the callbacks.
    pub callbacks: String,
    /// The part of the log.
    pub window: Window,
    /// The numbers that are looked at; none: all.
    pub numbers: Option<BTreeSet<CommunicationNumber>>,
    /// The endpoints.
    pub receivers: Vec<Receiver>,
    /// How long deliveries that have ended are kept.
    pub deliveries_kept: Duration,
    /// Whether accounts are looked at too.
    pub is_deep: bool,
    /// How much is read at a time.
    pub limits: PollLimits,
}

impl Scope {
    fn has(&self, number: &str) -> bool {
        let is_it = |numbers: &BTreeSet<CommunicationNumber>| {
            CommunicationNumber::parse(number).is_ok_and(|number| numbers.contains(&number))
        };
        self.numbers.as_ref().is_none_or(is_it)
    }
}

/// Where facts are gathered.
pub(super) struct Gathered {
    pub(super) numbers: Spill<NumberFact>,
    pub(super) places: Spill<PlaceFact>,
    pub(super) accounts: Spill<AccountFact>,
    /// The numbers of the window, and its accounts.
    pub(super) sieve: Sieve,
}

/// The numbers of a batch, as the window has them.
pub(super) async fn numbers_of_batch<Q: Queue>(
    queue: &Q,
    scope: &Scope,
    spans: &[Span],
    batch: BatchId,
) -> Result<BTreeSet<CommunicationNumber>, AuditError> {
    let mut numbers = BTreeSet::new();
    let mut reader = queue.open_reader(Topic::Submitted, ranges(spans)).await?;
    while !reader.is_done() {
        for received in reader.read(scope.limits).await? {
            let item = Item::decode(received, scope.generation);
            if let Content::Submission(submission, envelope) = &item.content
                && envelope.item.is_some_and(|(of, _)| of == batch)
            {
                numbers.insert(submission.account.communication_number.clone());
            }
        }
    }
    Ok(numbers)
}

fn ranges(spans: &[Span]) -> Vec<ReadRange> {
    let range = |span: &Span| ReadRange { partition: span.partition, from: span.from, to: span.to };
    spans.iter().map(range).filter(|range| range.from < range.to).collect()
}

/// Reads the log; tells when its records were appended, and which of the numbers that are looked at it has none of.
pub(super) async fn log<Q: Queue>(
    queue: &Q,
    scope: &Scope,
    spans: &[Span],
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<(Vec<LogBounds>, Counts, BTreeSet<CommunicationNumber>), AuditError> {
    let mut log: BTreeMap<Partition, LogBounds> = spans
        .iter()
        .map(|span| {
            let bounds = LogBounds { span: *span, appended_ms: None, is_copied: false };
            (span.partition, bounds)
        })
        .collect();
    let mut counts = Counts::default();
    let mut unmet = scope.numbers.clone().unwrap_or_default();
    let mut reader = queue.open_reader(Topic::Submitted, ranges(spans)).await?;
    while !reader.is_done() {
        let received = reader.read(scope.limits).await?;
        tell.read(Stage::Log, received.len() as u64);
        let mut numbers = into.numbers.encoder();
        for received in received {
            let Some(bounds) = log.get_mut(&received.partition) else { continue };
            let at_ms = first_appended_at(&received).unix_millis();
            bounds.is_copied |= first_appended_at(&received) != received.appended_at;
            let (first, last) = bounds.appended_ms.unwrap_or((at_ms, at_ms));
            bounds.appended_ms = Some((first.min(at_ms), last.max(at_ms)));
            let is_settled = received.offset < settled(&bounds.span);
            let item = Item::decode(received, scope.generation);
            if let Some(submission) = item.submission() {
                unmet.remove(&submission.account.communication_number);
            }
            match submitted(&item, is_settled, scope) {
                Some(fact) => {
                    into.sieve.put(&fact.number);
                    if scope.is_deep
                        && let Some(submission) = item.submission()
                    {
                        into.sieve.put(&key_text(&Key::from(&submission.account.key())));
                    }
                    numbers.push(fact.number.as_bytes(), &fact)?;
                }
                None if item.submission().is_some() || scope.numbers.is_some() => {}
                None => {
                    counts.submitted += 1;
                    if is_settled {
                        unreadable(&item, scope.generation, into)?;
                    } else {
                        counts.in_flight += 1;
                    }
                }
            }
        }
        into.numbers.add(&numbers)?;
    }
    Ok((log.into_values().collect(), counts, unmet))
}

fn submitted(item: &Item, is_settled: bool, scope: &Scope) -> Option<NumberFact> {
    let submission = item.submission()?;
    let account = &submission.account;
    let communication = account.communication();
    if !scope.has(communication.number.as_str()) {
        return None;
    }
    let state = || AccountState {
        key: Key::from(&communication.account),
        version: submission.version(),
        content: account_digest(account),
    };
    let submitted = Submitted {
        at: submission.coordinates,
        is_settled,
        fingerprint: *submission.fingerprint.as_bytes(),
        subject: subject_digest(&communication),
        appended_ms: first_appended_at(&item.received).unix_millis(),
        record: record_digest(&item.received.record),
        state: scope.is_deep.then(|| Box::new(state())),
    };
    Some(NumberFact::new(&communication.number, Says::Submitted(submitted)))
}

fn unreadable(item: &Item, generation: Generation, into: &mut Gathered) -> Result<(), AuditError> {
    let Received { partition, offset, appended_at, record } = &item.received;
    let at = Origin::Submitted(LogPartition { generation, partition: *partition }.at(*offset));
    let due = LetterDue {
        number: None,
        record: record_digest(record),
        content: Sha256::digest(&record.value).into(),
        appended_ms: appended_at.unix_millis(),
        is_only_outcome: true,
    };
    push_place(&mut into.places, &PlaceFact { at, says: PlaceSays::LetterDue(due) })
}

/// Adds a fact about a place.
pub(super) fn push_place(into: &mut Spill<PlaceFact>, fact: &PlaceFact) -> Result<(), AuditError> {
    let key = match fact.at {
        Origin::Submitted(at) => (0_u8, at.log.generation.0, at.log.partition.0, at.offset.0),
        Origin::Results(at) => (1, 0, at.partition, at.offset),
    };
    let (topic, generation, partition, offset) = key;
    let mut bytes = vec![topic];
    bytes.extend(generation.to_le_bytes());
    bytes.extend(partition.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    Ok(into.push(&bytes, fact)?)
}

/// Adds a fact about an account.
pub(super) fn push_account(into: &mut Spill<AccountFact>, fact: &AccountFact) -> Result<(), AuditError> {
    Ok(into.push(key_text(&fact.key).as_bytes(), fact)?)
}

/// An account in one text.
fn key_text(key: &Key) -> String {
    format!("{}\0{}", key.business_unit.as_deref().unwrap_or_default(), key.account_ext_id)
}

/// Reads the rows of the store that say how submissions ended. What a replay changes meanwhile goes from the
/// rejections to the ledger, so these are read in that order, and it is met at least once.
pub(super) async fn outcomes<S: Scans>(
    store: &S,
    scope: &Scope,
    bounds: &Bounds,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<(), AuditError> {
    let mut place = Some(ScanPlace::default());
    while let Some(from) = place {
        let page = store.scan_rejections(from).await?;
        place = page.next;
        gather(into, (scope, bounds), &page, Stage::Store, tell, |row| {
            let as_what = match row.rejection {
                Some(Rejection::Decided(outcome)) => {
                    NotedAs::Rejected(outcome.verdict, id(outcome.event_id))
                }
                Some(Rejection::DeadLettered) => NotedAs::DeadLettered,
                None => NotedAs::Unreadable,
            };
            let subject = subject_digest(&row.communication);
            let says = Says::Noted(Noted { at: row.coordinates, as_what, subject });
            NumberFact::new(&row.communication.number, says)
        })?;
    }
    let mut place = Some(ScanPlace::default());
    while let Some(from) = place {
        let page = store.scan_ledger(from).await?;
        place = page.next;
        gather(into, (scope, bounds), &page, Stage::Store, tell, |row| {
            let accepted = Accepted {
                at: row.entry.coordinates,
                event: id(row.entry.event_id),
                fingerprint: *row.entry.fingerprint.as_bytes(),
                subject: subject_digest(&row.communication),
            };
            NumberFact::new(&row.communication.number, Says::Accepted(accepted))
        })?;
    }
    Ok(())
}

fn gather<T>(
    into: &mut Gathered,
    within: (&Scope, &Bounds),
    page: &Page<T>,
    stage: Stage,
    tell: &mut impl Telling,
    mut fact: impl FnMut(&T) -> NumberFact,
) -> Result<(), AuditError> {
    tell.read(stage, page.rows.len() as u64);
    let mut numbers = into.numbers.encoder();
    for row in &page.rows {
        push(&mut numbers, &into.sieve, within, &fact(row))?;
    }
    Ok(into.numbers.add(&numbers)?)
}

/// Adds a fact of a number that the window has, or that it should have.
fn push(
    numbers: &mut Encoded<NumberFact>,
    sieve: &Sieve,
    (scope, bounds): (&Scope, &Bounds),
    fact: &NumberFact,
) -> Result<(), SpillError> {
    let is_asked_for = scope.has(&fact.number);
    if is_asked_for && (sieve.may_have(&fact.number) || should_be_there(&fact.says, bounds)) {
        numbers.push(fact.number.as_bytes(), fact)?;
    }
    Ok(())
}

/// Whether the window should have a submission because of what is said.
fn should_be_there(says: &Says, bounds: &Bounds) -> bool {
    match says {
        Says::Submitted(_) => true,
        Says::Accepted(accepted) => bounds.is_audited(accepted.at),
        Says::Noted(noted) => bounds.is_audited(noted.at),
        Says::Told(told) => bounds.must_be_submitted(Some(told.at.partition), told.time_ms),
        Says::Recorded(recorded) => {
            recorded.content.is_none() || bounds.must_be_submitted(None, recorded.time_ms)
        }
    }
}

/// Reads the accounts.
pub(super) async fn accounts<S: Scans>(
    store: &S,
    bounds: &Bounds,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<(), AuditError> {
    let mut place = Some(ScanPlace::default());
    while let Some(from) = place {
        let page = store.scan_accounts(from).await?;
        place = page.next;
        tell.read(Stage::Store, page.rows.len() as u64);
        for row in &page.rows {
            let key = Key::from(&row.key);
            if !into.sieve.may_have(&key_text(&key)) && !bounds.is_audited(row.version) {
                continue;
            }
            let content = row.account.as_deref().map(account_digest);
            let number =
                row.account.as_deref().map(|account| account.communication_number.as_str().into());
            let says = AccountSays::Row { version: row.version, content, number };
            push_account(&mut into.accounts, &AccountFact { key, says })?;
        }
    }
    Ok(())
}

/// How a topic behind the log is to be read.
pub(super) struct Behind {
    ranges: Vec<ReadRange>,
    /// Offsets up to which a group has committed.
    committed: BTreeMap<Partition, Offset>,
    /// Partitions of which records were deleted that may matter.
    deleted: BTreeSet<Partition>,
}

impl Behind {
    /// From the first record that may follow from what was appended to the log since then.
    pub(super) async fn look(
        queue: &impl Queue,
        topic: Topic,
        group: &str,
        since_ms: Option<i64>,
    ) -> Result<Self, QueueError> {
        let standing = queue.standing(topic, group).await?;
        let committed = |one: &Assignment| (one.partition, one.committed.unwrap_or(Offset(0)));
        let committed = standing.iter().map(committed).collect();
        let since = since_ms.map(|since| Timestamp::from_unix_millis(since).earlier(SLACK));
        let (mut ranges, mut deleted) = (Vec::new(), BTreeSet::new());
        for Assignment { partition, earliest, end, .. } in standing {
            let from = match since {
                Some(since) => queue.find(topic, partition, Start::Time(since)).await?,
                None => end,
            };
            if from <= earliest && earliest > Offset(0) {
                deleted.insert(partition);
            }
            if from < end {
                ranges.push(ReadRange { partition, from, to: end });
            }
        }
        Ok(Self { ranges, committed, deleted })
    }

    /// Whether a group has committed a record.
    fn is_committed(&self, received: &Received) -> bool {
        self.committed.get(&received.partition).is_some_and(|committed| received.offset < *committed)
    }

    /// Reads it; tells up to when what was appended to a partition may be deleted.
    async fn read(
        &self,
        queue: &impl Queue,
        topic: Topic,
        limits: PollLimits,
        mut each: impl FnMut(Vec<Received>) -> Result<(), AuditError>,
    ) -> Result<BTreeMap<Partition, i64>, AuditError> {
        // Of a partition without a record nobody knows how much is deleted.
        let mut first: BTreeMap<Partition, i64> =
            self.deleted.iter().map(|partition| (*partition, i64::MAX)).collect();
        let mut reader = queue.open_reader(topic, self.ranges.clone()).await?;
        while !reader.is_done() {
            let received = reader.read(limits).await?;
            for received in &received {
                if let Some(first) = first.get_mut(&received.partition) {
                    *first = (*first).min(received.appended_at.unix_millis());
                }
            }
            each(received)?;
        }
        Ok(first)
    }
}

/// Reads the results; tells up to when they may be deleted.
pub(super) async fn results<Q: Queue>(
    queue: &Q,
    scope: &Scope,
    (behind, states): (&Behind, &[EndpointState]),
    bounds: &Bounds,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<BTreeMap<Partition, i64>, AuditError> {
    let known_since: Vec<_> = scope
        .receivers
        .iter()
        .map(|receiver| states.iter().find(|state| state.name == receiver.name))
        .collect();
    behind
        .read(queue, Topic::Results, scope.limits, |received| {
            tell.read(Stage::Results, received.len() as u64);
            let mut numbers = into.numbers.encoder();
            for received in &received {
                let is_recorded = behind.is_committed(received);
                let Some(event) = event_of(received) else {
                    // What callbacks cannot read they put aside; nobody else looks at it.
                    if is_recorded && scope.numbers.is_none() && !scope.receivers.is_empty() {
                        unreadable_result(received, into)?;
                    }
                    continue;
                };
                let due = due(&event, &scope.receivers, &known_since);
                let number = event.source.as_str().into();
                let says = Says::Told(told(received, &event, due, is_recorded));
                push(&mut numbers, &into.sieve, (scope, bounds), &NumberFact { number, says })?;
            }
            Ok(into.numbers.add(&numbers)?)
        })
        .await
}

/// The event, if callbacks take the record for one.
fn event_of(received: &Received) -> Option<CloudEvent> {
    let record = &received.record;
    let event = CloudEvent::from_kafka(record.headers.iter(), Bytes::clone(&record.value)).ok()?;
    CommunicationNumber::parse(&event.source).is_ok().then_some(event)
}

fn due(event: &CloudEvent, receivers: &[Receiver], states: &[Option<&EndpointState>]) -> Vec<u16> {
    let origin = EventOrigin::of(event);
    let is_due = |(receiver, state): &(&Receiver, Option<&EndpointState>)| {
        let known_since = state.and_then(|state| state.known_since);
        receiver.filter.takes(&event.event_type, &origin)
            && receiver.deliver_from.takes(event.time(), known_since)
            // Of one that callbacks do not know yet nothing is kept.
            && state.is_some_and(|state| state.availability != Availability::Disabled)
    };
    let due = receivers.iter().zip(states.iter().copied()).enumerate().filter(|(_, of)| is_due(of));
    due.filter_map(|(place, _)| u16::try_from(place).ok()).collect()
}

fn told(received: &Received, event: &CloudEvent, due: Vec<u16>, is_recorded: bool) -> Told {
    let subject = |(communication, verdict): (_, Verdict)| (verdict, subject_digest(&communication));
    Told {
        at: TopicPlace { partition: received.partition.0, offset: received.offset.0 },
        event: id(event.id),
        outcome: told_by(event).map(subject),
        time_ms: event.time().map(Timestamp::unix_millis),
        is_replayed: event.further.iter().any(|(name, _)| name == "replay"),
        content: event_digest(event),
        appended_ms: received.appended_at.unix_millis(),
        due,
        is_recorded,
    }
}

fn unreadable_result(received: &Received, into: &mut Gathered) -> Result<(), AuditError> {
    let Received { partition, offset, appended_at, record } = received;
    let due = LetterDue {
        number: None,
        record: record_digest(record),
        content: Sha256::digest(&record.value).into(),
        appended_ms: appended_at.unix_millis(),
        is_only_outcome: false,
    };
    let at = Origin::Results(TopicPlace { partition: partition.0, offset: offset.0 });
    push_place(&mut into.places, &PlaceFact { at, says: PlaceSays::LetterDue(due) })
}

/// Reads the deliveries. Those of endpoints that are no longer configured have places of their own.
pub(super) async fn deliveries<S: Scans>(
    store: &S,
    scope: &Scope,
    bounds: &Bounds,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<Vec<EndpointName>, AuditError> {
    let mut names: Vec<EndpointName> =
        scope.receivers.iter().map(|receiver| receiver.name.clone()).collect();
    let mut place = Some(ScanPlace::default());
    while let Some(from) = place {
        let page = store.scan_deliveries(from).await?;
        place = page.next;
        gather(into, (scope, bounds), &page, Stage::Deliveries, tell, |row| {
            let known = names.iter().position(|name| *name == row.key.endpoint);
            let known = known.unwrap_or_else(|| {
                names.push(row.key.endpoint.clone());
                names.len() - 1
            });
            let says = Says::Recorded(Recorded {
                endpoint: u16::try_from(known).unwrap_or(u16::MAX),
                event: id(row.key.event),
                time_ms: row.event.as_ref().and_then(CloudEvent::time).map(Timestamp::unix_millis),
                content: row.event.as_ref().map(event_digest),
            });
            NumberFact { number: row.number.as_str().into(), says }
        })?;
    }
    Ok(names)
}

/// Reads the dead letters; tells up to when they may be deleted.
pub(super) async fn letters<Q: Queue>(
    queue: &Q,
    scope: &Scope,
    behind: &Behind,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<BTreeMap<Partition, i64>, AuditError> {
    behind
        .read(queue, Topic::DeadLetter, scope.limits, |received| {
            tell.read(Stage::DeadLetters, received.len() as u64);
            for received in &received {
                if let Some(fact) = letter(received, scope.generation) {
                    push_place(&mut into.places, &fact)?;
                }
            }
            Ok(())
        })
        .await
}

fn letter(received: &Received, generation: Generation) -> Option<PlaceFact> {
    let letter = DeadLetter::parse(&received.record)?;
    let DeadLetter { partition, offset, .. } = letter;
    let at = match letter.topic? {
        Topic::Submitted => Origin::Submitted(LogPartition { generation, partition }.at(offset)),
        Topic::Results => Origin::Results(TopicPlace { partition: partition.0, offset: offset.0 }),
        Topic::DeadLetter => return None,
    };
    let place = TopicPlace { partition: received.partition.0, offset: received.offset.0 };
    let record = letter.is_whole.then(|| record_digest(&letter.record));
    Some(PlaceFact { at, says: PlaceSays::Letter(Letter { at: place, record }) })
}

/// Reads what replays have changed. What a job does that was not done at `since` may be half of it.
pub(super) async fn changes<S: Scans + Replays>(
    store: &S,
    since: Timestamp,
    into: &mut Gathered,
) -> Result<(), AuditError> {
    let jobs = store.jobs(JOBS).await?;
    let is_recent = |row: &ChangeRow| {
        let job = jobs.iter().find(|job| job.job.name == row.job);
        job.is_some_and(|job| job.state == JobState::Running || job.changed_at >= since)
    };
    let mut place = Some(ScanPlace::default());
    while let Some(from) = place {
        let page: Page<ChangeRow> = store.scan_changes(from).await?;
        place = page.next;
        for row in &page.rows {
            let says = PlaceSays::Changed {
                before: row.event_before().map(id),
                after: id(row.change.after.event_id),
                is_recent: is_recent(row),
            };
            push_place(
                &mut into.places,
                &PlaceFact { at: Origin::Submitted(row.change.coordinates), says },
            )?;
        }
    }
    Ok(())
}
