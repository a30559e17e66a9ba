//! The log: what was submitted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::account::{CommunicationNumber, Generation, LogPartition, Partition, Submission};
use crate::audit::bounds::{LogBounds, settled};
use crate::audit::facts::{
    AccountState, Key, NumberFact, Origin, PlaceFact, PlaceSays, Says, Submitted, account_digest,
    record_digest, subject_digest,
};
use crate::audit::findings::Counts;
use crate::audit::run::{AuditError, Stage, Telling};
use crate::audit::sieve::Sieve;
use crate::queue::{BatchId, Queue, ReadRange, Reader, Received, Topic, first_appended_at, is_copied};
use crate::replay::Span;
use crate::spill::SpillError;
use crate::spread::spread;
use crate::worker::{Content, Item};

use super::{Facts, Gathered, Scope, key_text, letter_due, next_of};

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

/// What the log came to.
pub(in crate::audit) struct ReadLog {
    /// When the records of each partition were appended.
    pub(in crate::audit) bounds: Vec<LogBounds>,
    /// Of what is no submission.
    pub(in crate::audit) counts: Counts,
    /// Numbers that are looked at and that it has none of.
    pub(in crate::audit) unmet: BTreeSet<CommunicationNumber>,
}

/// Reads the log.
pub(in crate::audit) async fn log<Q: Queue>(
    queue: &Q,
    scope: &Arc<Scope>,
    spans: &[Span],
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<ReadLog, AuditError> {
    let spans_of: BTreeMap<_, _> = spans.iter().map(|span| (span.partition, *span)).collect();
    let mut bounds: BTreeMap<_, _> =
        spans.iter().map(|span| (span.partition, LogBounds::of(*span))).collect();
    let mut counts = Counts::default();
    let mut unmet = scope.numbers.clone().unwrap_or_default();
    let mut reader = queue.open_reader(Topic::Submitted, ranges(spans)).await?;
    let next = async || next_of(&mut reader, scope.limits, Stage::Log, tell).await;
    let looking = Looking {
        scope: Arc::clone(scope),
        spans: spans_of,
        sieve: Arc::clone(&into.sieve),
        room: into.room(),
    };
    spread(
        next,
        move |received| looking.at(received),
        async |said: Said| {
            for (partition, of_piece) in said.bounds {
                let (bounds, appended) = (bounds.get_mut(&partition), of_piece.appended_ms);
                if let Some((bounds, appended)) = bounds.zip(appended) {
                    bounds.widen(appended, of_piece.is_copied);
                }
            }
            counts.add(&said.counts);
            for number in &said.met {
                unmet.remove(number);
            }
            Ok(into.add(&said.facts)?)
        },
    )
    .await?;
    Ok(ReadLog { bounds: bounds.into_values().collect(), counts, unmet })
}

/// How records of the log are looked at.
#[derive(Clone)]
struct Looking {
    scope: Arc<Scope>,
    spans: BTreeMap<Partition, Span>,
    sieve: Arc<Sieve>,
    room: Facts,
}

/// What a piece of the log says.
struct Said {
    facts: Facts,
    bounds: BTreeMap<Partition, LogBounds>,
    counts: Counts,
    /// The numbers that it has of those that are looked at alone.
    met: BTreeSet<CommunicationNumber>,
}

impl Looking {
    fn at(&self, received: Vec<Received>) -> Result<Said, AuditError> {
        let mut said = Said {
            facts: self.room.clone(),
            bounds: BTreeMap::new(),
            counts: Counts::default(),
            met: BTreeSet::new(),
        };
        for received in received {
            let Some(span) = self.spans.get(&received.partition) else { continue };
            let at_ms = first_appended_at(&received).unix_millis();
            let bounds = said.bounds.entry(received.partition).or_insert_with(|| LogBounds::of(*span));
            bounds.widen((at_ms, at_ms), is_copied(&received));
            let is_settled = received.offset < settled(span);
            self.record(&Item::decode(received, self.scope.generation), is_settled, &mut said)?;
        }
        Ok(said)
    }

    fn record(&self, item: &Item, is_settled: bool, said: &mut Said) -> Result<(), AuditError> {
        let Self { scope, sieve, .. } = self;
        let Some(submission) = item.submission() else {
            if scope.numbers.is_none() {
                said.counts.submitted += 1;
                if is_settled {
                    unreadable(item, scope.generation, &mut said.facts)?;
                } else {
                    said.counts.in_flight += 1;
                }
            }
            return Ok(());
        };
        let number = &submission.account.communication_number;
        if !scope.has(number.as_str()) {
            return Ok(());
        }
        if scope.numbers.is_some() {
            said.met.insert(number.clone());
        }
        let submitted = submitted(item, submission, is_settled, scope.is_deep);
        sieve.put(number.as_str());
        if let Some(state) = &submitted.state {
            sieve.put(&key_text(&state.key));
        }
        let fact = NumberFact::new(number, Says::Submitted(submitted));
        Ok(said.facts.numbers.push(fact.number.as_bytes(), &fact)?)
    }
}

fn submitted(item: &Item, submission: &Submission, is_settled: bool, is_deep: bool) -> Submitted {
    let account = &submission.account;
    let communication = account.communication();
    let state = || AccountState {
        key: Key::from(&communication.account),
        version: submission.version(),
        content: account_digest(account),
    };
    Submitted {
        at: submission.coordinates,
        is_settled,
        fingerprint: *submission.fingerprint.as_bytes(),
        subject: subject_digest(&communication),
        appended_ms: first_appended_at(&item.received).unix_millis(),
        record: record_digest(&item.received.record),
        state: is_deep.then(|| Box::new(state())),
    }
}

fn unreadable(item: &Item, generation: Generation, facts: &mut Facts) -> Result<(), SpillError> {
    let received = &item.received;
    let Received { partition, offset, .. } = received;
    let at = Origin::Submitted(LogPartition { generation, partition: *partition }.at(*offset));
    facts.others.place(&PlaceFact { at, says: PlaceSays::LetterDue(letter_due(received, true)) })
}
