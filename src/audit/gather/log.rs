//! The log: what was submitted.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::{CommunicationNumber, Generation, LogPartition, Partition};
use crate::audit::bounds::{LogBounds, settled};
use crate::audit::facts::{
    AccountState, Key, NumberFact, Origin, PlaceFact, PlaceSays, Says, Submitted, account_digest,
    record_digest, subject_digest,
};
use crate::audit::findings::Counts;
use crate::audit::run::{AuditError, Stage, Telling};
use crate::queue::{BatchId, Queue, ReadRange, Reader, Received, Topic, first_appended_at, is_copied};
use crate::replay::Span;
use crate::worker::{Content, Item};

use super::{Gathered, Scope, key_text, letter_due, push_place};

/// The numbers of a batch, as the window has them.
pub(in crate::audit) async fn numbers_of_batch<Q: Queue>(
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
pub(in crate::audit) async fn log<Q: Queue>(
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
            bounds.is_copied |= is_copied(&received);
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
    let received = &item.received;
    let Received { partition, offset, .. } = received;
    let at = Origin::Submitted(LogPartition { generation, partition: *partition }.at(*offset));
    let due = letter_due(received, true);
    push_place(&mut into.places, &PlaceFact { at, says: PlaceSays::LetterDue(due) })
}
