//! An audit, from the first look at the log to the last finding.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::account::{CommunicationNumber, Offset, Partition, Timestamp};
use crate::queue::{BatchId, Queue, QueueError, Topic};
use crate::replay::{Bound, Span, WindowError};
use crate::spill::{Spill, SpillError, SpillFile};
use crate::spread::spread;
use crate::store::{
    Deliveries, DeliveryKey, EndpointName, Replays, Scans, Store, StoreError, Wanted, WantedDeliveries,
};

use super::bounds::{Bounds, LogBounds};
use super::chain::{Chain, ChainError, Leaves};
use super::compare::{self, Compared, ComparedAccounts, ComparedNumbers};
use super::extent::Extent;
use super::facts::{AccountFact, Key, event_id};
use super::findings::{Counts, Finding, Kind};
use super::gather::{self, Behind, Gathered, Kept, Others, ReadLog, Scope};
use super::numbers::MissingDelivery;
use super::sieve::Sieve;

/// Facts that there are of a submission, about.
const FACTS_PER_SUBMISSION: u64 = 4;
/// Missing deliveries that are looked up at a time.
const LOOK_UP: usize = 1_000;

/// Why an audit does not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The queue does not answer, or no longer holds what is to be read.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The window is none.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// There is no room for what is compared.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// The log no longer holds what a digest is of.
    #[error(
        "partition {} begins at offset {} by now: what the digest is of is deleted in part, so it cannot be verified",
        partition.0, earliest.0
    )]
    Deleted {
        /// The partition.
        partition: Partition,
        /// The first offset that it still holds.
        earliest: Offset,
    },
    /// The log no longer holds what comes after a digest.
    #[error(
        "the digest before ended at offset {} of partition {}, which begins at offset {} by now: what was in between is \
         deleted and can no longer be audited. Say with --since what the new one is of",
        ended.0, partition.0, earliest.0
    )]
    Gap {
        /// The partition.
        partition: Partition,
        /// Where the digest ended.
        ended: Offset,
        /// The first offset that the partition still holds.
        earliest: Offset,
    },
    /// What is audited ends before a digest did.
    #[error(
        "the digest before ended at offset {} of partition {}, and what is audited ends at offset {}: --until is too \
         early, the digest is of another log, or this store was set back", ended.0, partition.0, ends.0
    )]
    Ahead {
        /// The partition.
        partition: Partition,
        /// Where the digest ended.
        ended: Offset,
        /// Where what is settled of the window ends.
        ends: Offset,
    },
    /// A digest is of another log.
    #[error(
        "partition {} is not, or not as far as the digest says, applied here: it is of another log, or this store was set back", partition.0
    )]
    NotThatLog {
        /// The partition.
        partition: Partition,
    },
    /// There is no room for the chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Nothing of a batch is there.
    #[error("the window has nothing of the batch {0}")]
    NoBatch(BatchId),
    /// Numbers are not there.
    #[error("the window has nothing of {}", first_of(.0))]
    NoNumbers(BTreeSet<CommunicationNumber>),
}

fn first_of(numbers: &BTreeSet<CommunicationNumber>) -> String {
    let first = numbers.first().map(|number| format!("{:?}", number.as_str())).unwrap_or_default();
    match numbers.len() {
        0 | 1 => format!("the number {first}"),
        more => format!("the number {first} and {} others", more - 1),
    }
}

/// What an audit is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It reads the log.
    Log,
    /// It reads ledger, rejections and accounts.
    Store,
    /// It reads the results.
    Results,
    /// It reads the deliveries.
    Deliveries,
    /// It reads the dead letters.
    DeadLetters,
    /// It compares what it has read.
    Comparing,
}

impl Stage {
    /// It in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Store => "store",
            Self::Results => "results",
            Self::Deliveries => "deliveries",
            Self::DeadLetters => "dead letters",
            Self::Comparing => "comparing",
        }
    }
}

/// Whoever is told how far an audit is and what it finds.
pub trait Telling {
    /// So many more records, rows or facts were gone through.
    fn read(&mut self, stage: Stage, count: u64);
    /// Something breaks a sum.
    fn found(&mut self, finding: &Finding);
}

/// An audit.
pub struct Audit<'a, Q, S> {
    /// The queue.
    pub queue: &'a Q,
    /// The store.
    pub store: &'a S,
    /// What is audited.
    pub scope: Scope,
    /// A batch of which all numbers are looked at.
    pub batch: Option<BatchId>,
    /// Which part of the window.
    pub extent: Extent,
    /// Where facts are kept while they are compared.
    pub scratch: PathBuf,
    /// Whether the chain over records and outcomes is made.
    pub is_chained: bool,
}

/// What an audit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// The sums.
    pub counts: Counts,
    /// The chains of the partitions, if they were to be made.
    pub chains: Vec<Chain>,
}

impl<Q: Queue, S: Store + Scans + Deliveries + Replays> Audit<'_, Q, S> {
    /// Reads everything and compares it.
    pub async fn run(mut self, tell: &mut impl Telling) -> Result<Audited, AuditError> {
        let begun_at = Timestamp::from(SystemTime::now());
        let spans = self.spans().await?;
        if matches!(self.extent, Extent::Of(_)) {
            // What lies in it is known by its offsets alone.
            self.scope.window.to = Bound::Offset(Offset(0));
        }
        self.narrow(&spans).await?;
        let offsets: u64 = spans.iter().map(|span| span.to.0.saturating_sub(span.from.0)).sum();
        let mut gathered = Gathered {
            numbers: Spill::begin(&self.scratch, offsets.saturating_mul(FACTS_PER_SUBMISSION))?,
            places: Spill::begin(&self.scratch, offsets / FACTS_PER_SUBMISSION)?,
            accounts: Spill::begin(&self.scratch, if self.scope.is_deep { offsets } else { 0 })?,
            sieve: Arc::new(Sieve::of(offsets)),
        };
        let leaves = if self.is_chained { Some(Leaves::of(&spans, &self.scratch)?) } else { None };
        let (bounds, endpoints, mut counts, unmet) =
            self.gather(&spans, begun_at, &mut gathered, tell).await?;
        let bounds = Arc::new(bounds);
        self.compare(gathered, &bounds, (&endpoints, leaves.as_ref()), &mut counts, tell).await?;
        let chains = leaves.map(Leaves::chains).transpose()?.unwrap_or_default();
        // A number of which only the store knows is a finding.
        if !unmet.is_empty() && counts.findings == 0 {
            return Err(AuditError::NoNumbers(unmet));
        }
        Ok(Audited { counts, chains })
    }

    async fn spans(&self) -> Result<Vec<Span>, AuditError> {
        let Scope { window, workers, generation, .. } = &self.scope;
        self.extent.of(window.spans(self.queue, self.store, workers, *generation).await?)
    }

    /// A batch is its numbers.
    async fn narrow(&mut self, spans: &[Span]) -> Result<(), AuditError> {
        let Some(batch) = self.batch else { return Ok(()) };
        let numbers = gather::numbers_of_batch(self.queue, &self.scope, spans, batch).await?;
        if numbers.is_empty() {
            return Err(AuditError::NoBatch(batch));
        }
        self.scope.numbers = Some(numbers);
        Ok(())
    }

    async fn gather(
        &self,
        spans: &[Span],
        begun_at: Timestamp,
        into: &mut Gathered,
        tell: &mut impl Telling,
    ) -> Result<(Bounds, Vec<EndpointName>, Counts, BTreeSet<CommunicationNumber>), AuditError> {
        let Self { queue, store, .. } = self;
        let scope = Arc::new(self.scope.clone());
        let partitions = queue.standing(Topic::Submitted, &scope.workers).await?.len();
        let ReadLog { bounds: log, counts, unmet } =
            gather::log(*queue, &scope, spans, into, tell).await?;
        let alike = queue.standing(Topic::Results, &scope.callbacks).await?.len() == partitions;
        let mut bounds = Bounds::of(scope.generation, &scope.window, &log, alike);
        let sieve = Arc::clone(&into.sieve);
        let kept = Kept { scope: Arc::clone(&scope), bounds: Arc::new(bounds.clone()), sieve };
        gather::outcomes(*store, &kept, into, tell).await?;
        if scope.is_deep {
            gather::accounts(*store, &kept, into, tell).await?;
        }
        let since = first_appended(&log);
        let states = store.endpoint_states().await?;
        let results = Behind::look(*queue, Topic::Results, &scope.callbacks, since).await?;
        let results_deleted = gather::results(*queue, (&results, &states), &kept, into, tell).await?;
        let endpoints = gather::deliveries(*store, &kept, into, tell).await?;
        let letters = Behind::look(*queue, Topic::DeadLetter, &scope.callbacks, since).await?;
        let letters_deleted = gather::letters(*queue, &scope, &letters, into, tell).await?;
        gather::changes(*store, begun_at, into).await?;
        bounds.is_narrowed = scope.numbers.is_some();
        bounds.results_deleted_ms = results_deleted;
        bounds.letters_deleted_ms = letters_deleted;
        let kept_since = Timestamp::from(SystemTime::now()).earlier(scope.deliveries_kept);
        bounds.deliveries_removed_ms = kept_since.unix_millis();
        Ok((bounds, endpoints, counts, unmet))
    }

    async fn compare(
        &self,
        gathered: Gathered,
        bounds: &Arc<Bounds>,
        (endpoints, leaves): (&[EndpointName], Option<&Leaves>),
        counts: &mut Counts,
        tell: &mut impl Telling,
    ) -> Result<(), AuditError> {
        let Gathered { numbers, mut places, mut accounts, sieve: _ } = gathered;
        let room = Others { places: places.encoder(), accounts: accounts.encoder() };
        each_file(
            numbers,
            bounds,
            move |file, bounds| compare::numbers(file, bounds, room.clone()),
            async |of_numbers: ComparedNumbers| {
                let ComparedNumbers { compared, missing, others } = of_numbers;
                note(&compared, leaves, counts, tell)?;
                places.add(&others.places)?;
                accounts.add(&others.accounts)?;
                self.missing(missing, endpoints, counts, tell).await
            },
        )
        .await?;
        each_file(places, bounds, compare::places, async |compared: Compared| {
            note(&compared, leaves, counts, tell)
        })
        .await?;
        if self.scope.is_deep {
            self.accounts(accounts, bounds, counts, tell).await?;
        }
        Ok(())
    }

    /// A delivery whose row has moved while the table was read is found by its key.
    async fn missing(
        &self,
        missing: Vec<MissingDelivery>,
        endpoints: &[EndpointName],
        counts: &mut Counts,
        tell: &mut impl Telling,
    ) -> Result<(), AuditError> {
        let key = |missing: &MissingDelivery| {
            let endpoint = endpoints.get(usize::from(missing.endpoint))?.clone();
            Some(DeliveryKey { endpoint, event: event_id(missing.event) })
        };
        for some in missing.chunks(LOOK_UP) {
            let keys = some.iter().filter_map(key).collect();
            let wanted = WantedDeliveries { keys, ..WantedDeliveries::default() };
            let known = self.store.look(&wanted).await?.recorded;
            for missing in some {
                let key = key(missing);
                if key.as_ref().is_some_and(|key| known.contains(key)) {
                    counts.deliveries.found += 1;
                    continue;
                }
                let endpoint = key.map(|key| key.endpoint.as_str().to_owned()).unwrap_or_default();
                let further = missing.finding.further.as_deref().unwrap_or_default();
                let finding = missing.finding.clone().further(format!("endpoint {endpoint}, {further}"));
                counts.findings += 1;
                tell.found(&finding);
            }
        }
        Ok(())
    }

    /// An account whose row has changed while the table was read is looked up by its key, and the communication that
    /// it comes from by its number.
    async fn accounts(
        &self,
        accounts: Spill<AccountFact>,
        bounds: &Arc<Bounds>,
        counts: &mut Counts,
        tell: &mut impl Telling,
    ) -> Result<(), AuditError> {
        each_file(accounts, bounds, compare::accounts, async |compared: ComparedAccounts| {
            tell.read(Stage::Comparing, compared.facts);
            counts.add(&compared.counts);
            for (key, finding) in &compared.findings {
                if self.is_still_so(finding, key, bounds).await? {
                    counts.findings += 1;
                    tell.found(finding);
                }
            }
            Ok(())
        })
        .await
    }

    async fn is_still_so(
        &self,
        finding: &Finding,
        key: &Key,
        bounds: &Bounds,
    ) -> Result<bool, AuditError> {
        let number =
            finding.number.as_deref().and_then(|number| CommunicationNumber::parse(number).ok());
        let wanted = Wanted {
            numbers: number.iter().cloned().collect(),
            accounts: key.parsed().into_iter().collect(),
            ranges: Vec::new(),
        };
        let view = self.store.load(&wanted).await?;
        let entry = number.and_then(|number| view.ledger.get(&number));
        let version = view.accounts.values().next().map(|state| state.version);
        Ok(match finding.kind {
            // Something else has written the row since it was read, or it was missed.
            Kind::AccountMissing => version.is_none(),
            Kind::AccountStale => {
                version.is_none_or(|version| finding.at.is_some_and(|at| version < at))
            }
            Kind::AccountAltered => version.is_some_and(|version| finding.at == Some(version)),
            // It may come from what was accepted since the ledger was read, or outside of the window.
            _ => {
                let is_of_another = entry.is_none_or(|entry| {
                    finding.at != Some(entry.coordinates) && bounds.is_audited(entry.coordinates)
                });
                is_of_another && version == finding.at
            }
        })
    }
}

/// Has every file of facts compared, and what each came to taken, in the order of the files.
async fn each_file<F, T>(
    facts: Spill<F>,
    bounds: &Arc<Bounds>,
    compare: impl Fn(SpillFile<F>, &Bounds) -> Result<T, SpillError> + Clone + Send + 'static,
    take: impl AsyncFnMut(T) -> Result<(), AuditError>,
) -> Result<(), AuditError>
where
    F: Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    let (bounds, mut files) = (Arc::clone(bounds), facts.into_files());
    spread(async || Ok(files.next()), move |file| Ok(compare(file, &bounds)?), take).await
}

/// Adds what a file came to. How submissions ended is noted if a chain is made of it.
fn note(
    compared: &Compared,
    leaves: Option<&Leaves>,
    counts: &mut Counts,
    tell: &mut impl Telling,
) -> Result<(), AuditError> {
    tell.read(Stage::Comparing, compared.facts);
    counts.add(&compared.counts);
    compared.findings.iter().for_each(|finding| tell.found(finding));
    if let Some(leaves) = leaves {
        let mut ended = compared.ended.iter();
        ended.try_for_each(|ended| leaves.note(ended.at, &ended.content, ended.outcome))?;
    }
    Ok(())
}

/// When the first record of the window was appended.
fn first_appended(log: &[LogBounds]) -> Option<i64> {
    log.iter().filter_map(|it| it.appended_ms).map(|(first, _)| first).min()
}
