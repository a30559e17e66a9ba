//! One way through a window of the log, part by part.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::account::{
    CommunicationNumber, Coordinates, Decided, Decision, ForeignOutcome, Generation, LogPartition,
    Offset, Partition, Policy, Redecided, Redecision, Submission, View, redecide, restore,
};
use crate::queue::{PollLimits, Queue, QueueError, ReadRange, Reader, Topic};
use crate::store::{JobState, OffsetRange, Store, StoreError, Wanted};
use crate::worker::{Content, Item, wanted_by};

use super::effects::{Effects, Part, Taken};
use super::held_back::HeldBack;
use super::job::UnreadableJob;
use super::report::{Change, Report};
use super::selection::Selection;
use super::told::{ToldError, ToldOutcomes};
use super::window::Resolved;

/// How often a part is decided again that the store has moved on under.
const MAX_TRIES: u32 = 1_000;

/// Why a replay does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The queue does not answer, or no longer holds what is to be read.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Queue and store do not belong together.
    #[error(
        "{0}: this is not the log the store was filled from. Put the matching queue or store back; \
         `penstock frontiers` lists how the two stand"
    )]
    OtherLog(#[from] ForeignOutcome),
    /// The store goes on moving.
    #[error(
        "the store has moved on under every try to write a part; see that nobody else writes to its tables"
    )]
    NeverFits,
    /// An operator has stopped the job.
    #[error("the job is {}", .0.as_str())]
    Stopped(JobState),
    /// Somebody else has taken the job over.
    #[error("another process has taken the job over; `penstock replay status` tells how far it is")]
    NotOurs,
    /// More went wrong than may.
    #[error("{errors} submissions could not be gone through, more than --max-errors {limit}")]
    TooManyErrors {
        /// How many.
        errors: u64,
        /// How many may be.
        limit: u64,
    },
    /// The job's row cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableJob),
    /// A store that is rebuilt cannot hold what the one before held.
    #[error(
        "the store cannot hold the submission at {at}, as the one before it could: see what differs between them"
    )]
    NotRestorable {
        /// Where it stands.
        at: Coordinates,
    },
    /// What was told of submissions cannot be found out.
    #[error(transparent)]
    Told(ToldError),
    /// A text cannot be made.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What all ways through a log have in common.
#[derive(Clone)]
pub struct Way<S: Store> {
    /// Where the outcomes are.
    pub store: S,
    /// By what is decided.
    pub policy: Arc<Policy>,
    /// Of the log.
    pub generation: Generation,
    /// How large a part is.
    pub limits: PollLimits,
    /// A group that may be asked how topics stand: the workers'.
    pub group: String,
    /// Where what is compared is kept meanwhile.
    pub scratch: PathBuf,
    /// What is meant.
    pub selection: Selection,
}

/// A way through a window.
pub struct Pass<Q: Queue, S: Store, E: Effects> {
    reader: Q::Reader,
    way: Way<S>,
    pub(super) effects: E,
    report: Report,
    /// What was read and not taken yet.
    waiting: VecDeque<Vec<Item>>,
    tries: u32,
    /// What was told of the submissions, if that is to be restored.
    told: Option<ToldOutcomes>,
    /// The numbers that were asked for and were not met yet.
    unmet: BTreeSet<CommunicationNumber>,
}

impl<Q: Queue, S: Store> Pass<Q, S, HeldBack> {
    /// Begins a way that writes nothing.
    pub async fn plan(queue: &Q, way: Way<S>, window: &Resolved) -> Result<Self, ReplayError> {
        let (ranges, held_back) = (window.ranges.clone(), HeldBack::default());
        Self::begin(queue, way, ranges, held_back, Report::default(), None).await
    }
}

impl<Q: Queue, S: Store, E: Effects> Pass<Q, S, E> {
    /// Goes through these ranges; `report` tells of those before them.
    pub(super) async fn begin(
        queue: &Q,
        way: Way<S>,
        ranges: Vec<ReadRange>,
        effects: E,
        report: Report,
        told: Option<ToldOutcomes>,
    ) -> Result<Self, ReplayError> {
        let reader = queue.open_reader(Topic::Submitted, ranges).await?;
        let unmet = way.selection.numbers.clone().unwrap_or_default();
        let waiting = VecDeque::new();
        Ok(Self { reader, way, effects, report, waiting, tries: 0, told, unmet })
    }

    /// Goes through the next part. False when there was none left.
    pub async fn step(&mut self) -> Result<bool, ReplayError> {
        if self.waiting.is_empty() {
            if self.reader.is_done() {
                return Ok(false);
            }
            let received = self.reader.read(self.way.limits).await?;
            let generation = self.way.generation;
            let items = received.into_iter().map(|received| Item::decode(received, generation));
            self.waiting.extend(Some(items.collect::<Vec<_>>()).filter(|items| !items.is_empty()));
        }
        if let Some(items) = self.waiting.pop_front() {
            self.work_on(items).await?;
        }
        Ok(true)
    }

    /// What has been told so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Numbers that were asked for and do not lie in what was gone through.
    pub fn unmet(&self) -> &BTreeSet<CommunicationNumber> {
        &self.unmet
    }

    async fn work_on(&mut self, items: Vec<Item>) -> Result<(), ReplayError> {
        match self.take(&items).await {
            Ok((Taken::Yes, report)) => {
                self.report = report;
                self.tries = 0;
            }
            Ok((Taken::Stale, _)) => {
                self.tries += 1;
                if self.tries >= MAX_TRIES {
                    return Err(ReplayError::NeverFits);
                }
                self.waiting.push_front(items);
            }
            Err(ReplayError::Store(StoreError::Poison { .. })) => self.narrow(items)?,
            Err(error) => {
                self.waiting.push_front(items);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Finds the one record that the store cannot hold, and leaves that as it is.
    fn narrow(&mut self, mut items: Vec<Item>) -> Result<(), ReplayError> {
        if items.len() > 1 {
            let tail = items.split_off(items.len() / 2);
            self.waiting.push_front(tail);
            self.waiting.push_front(items);
        } else if let Some(submission) = items.first().and_then(Item::submission) {
            if self.told.is_some() {
                return Err(ReplayError::NotRestorable { at: submission.coordinates });
            }
            self.report.read += 1;
            self.report.add(submission, Change::NotStorable);
        }
        Ok(())
    }

    /// Decides a part and has it taken; what there is to report if it was.
    async fn take(&mut self, items: &[Item]) -> Result<(Taken, Report), ReplayError> {
        let mut report = self.report.clone();
        report.read += items.len() as u64;
        let (mut meant, mut wanted) = self.meant_by_themselves(items, &mut report);
        let through = through(items);
        let redecision = self.decide(&mut meant, &mut wanted, &through).await?;
        for ((_, submission), redecided) in meant.iter().zip(&redecision.redecided) {
            self.unmet.remove(&submission.account.communication_number);
            report.add(submission, Change::from(*redecided));
        }
        let part = Part { meant: &meant, redecision: &redecision, through: &through, report: &report };
        let taken = self.effects.take(&part).await?;
        Ok((taken, report))
    }

    /// Leaves out what is not meant, as far as a record tells itself. What is no submission is counted when
    /// everything is meant.
    fn meant_by_themselves<'a>(
        &self,
        items: &'a [Item],
        report: &mut Report,
    ) -> (Vec<(&'a Item, Submission)>, Wanted) {
        let Way { selection, generation, .. } = &self.way;
        let counts_unreadable = *selection == Selection::default();
        let mut meant = Vec::with_capacity(items.len());
        for item in items {
            match &item.content {
                Content::Submission(submission, _) if selection.may_hold(submission) => {
                    meant.push((item, (**submission).clone()));
                }
                Content::Unreadable(_) if counts_unreadable => {
                    let partition = item.received.partition;
                    let log = LogPartition { generation: *generation, partition };
                    report.add_unreadable(log.at(item.received.offset));
                }
                Content::Submission(..) | Content::Unreadable(_) => {}
            }
        }
        let wanted = if self.told.is_some() {
            // Frontiers are moved over what is no submission, too.
            wanted_by(&items.iter(), *generation)
        } else {
            wanted_by(&meant.iter().map(|(item, _)| *item), *generation)
        };
        (meant, wanted)
    }

    async fn decide(
        &self,
        meant: &mut Vec<(&Item, Submission)>,
        wanted: &mut Wanted,
        through: &[(Partition, Offset)],
    ) -> Result<Redecision, ReplayError> {
        let Way { store, policy, selection, .. } = &self.way;
        if selection.is_of_rejected() && !meant.is_empty() {
            // Most were accepted, and are not worth a look at their numbers and accounts.
            let ranges = Wanted { ranges: wanted.ranges.clone(), ..Wanted::default() };
            let view = store.load(&ranges).await?;
            meant.retain(|(_, submission)| selection.holds(submission, &view));
            let accounts = || meant.iter().map(|(_, submission)| &submission.account);
            wanted.numbers = accounts().map(|account| account.communication_number.clone()).collect();
            wanted.accounts = accounts().map(|account| account.key()).collect();
        }
        if meant.is_empty() && self.told.is_none() {
            return Ok(Redecision::default());
        }
        let mut view = store.load(wanted).await?;
        self.effects.lay_over(wanted, &mut view);
        meant.retain(|(_, submission)| selection.holds(submission, &view));
        let submissions: Vec<Submission> =
            meant.iter().map(|(_, submission)| submission.clone()).collect();
        match &self.told {
            None => Ok(redecide(&submissions, &view, policy)?),
            Some(told) => self.restored(told, &submissions, through, &view),
        }
    }

    /// What a worker would have decided, had it gone by what was told.
    fn restored(
        &self,
        told: &ToldOutcomes,
        submissions: &[Submission],
        through: &[(Partition, Offset)],
        view: &View,
    ) -> Result<Redecision, ReplayError> {
        let Way { policy, generation, .. } = &self.way;
        let log = |partition| LogPartition { generation: *generation, partition };
        let through: Vec<_> = through.iter().map(|(partition, next)| (log(*partition), *next)).collect();
        let told: Vec<_> = submissions.iter().map(|it| told.of(it.coordinates)).collect();
        let Decision { decided, plan } = restore(submissions, &told, &through, view, policy)?;
        let redecided = decided.into_iter().map(|decided| match decided {
            Decided::New(after) => Redecided::Changed { before: None, after },
            Decided::Redelivered(outcome) | Decided::Resubmitted(outcome) => {
                Redecided::Unchanged(outcome)
            }
            Decided::DeadLettered | Decided::PassedOver => Redecided::DeadLettered,
        });
        Ok(Redecision { redecided: redecided.collect(), plan })
    }

    /// Moves the frontiers of a store that is rebuilt to the end of these ranges, past places that hold no record.
    pub(super) async fn close(&mut self, ranges: &[ReadRange]) -> Result<(), ReplayError> {
        if self.told.is_none() {
            return Ok(());
        }
        let generation = self.way.generation;
        let through: Vec<_> = ranges.iter().map(|range| (range.partition, range.to)).collect();
        let at_end = |range: &ReadRange| {
            let log = LogPartition { generation, partition: range.partition };
            OffsetRange { log, from: range.to, to: range.to }
        };
        let mut wanted = Wanted { ranges: ranges.iter().map(at_end).collect(), ..Wanted::default() };
        let report = self.report.clone();
        for _ in 0..MAX_TRIES {
            let redecision = self.decide(&mut Vec::new(), &mut wanted, &through).await?;
            let part = Part { meant: &[], redecision: &redecision, through: &through, report: &report };
            if self.effects.take(&part).await? == Taken::Yes {
                return Ok(());
            }
        }
        Err(ReplayError::NeverFits)
    }
}

/// The offset after a part, per partition.
fn through(items: &[Item]) -> Vec<(Partition, Offset)> {
    let mut through = BTreeMap::new();
    for item in items {
        through.insert(item.received.partition, item.received.offset.next());
    }
    through.into_iter().collect()
}
