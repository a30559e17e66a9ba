//! Moving house: all that a log holds, copied to another one in its order.
//!
//! Every record keeps its key, value and headers, and tells when it was appended first. The other log is empty and
//! nobody else writes to it, so where a record will stand there is known before it is written, and what names the
//! place of another record names its new one.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::account::{Coordinates, Generation, LogPartition, Offset, Partition};
use crate::queue::{
    DeadLetter, PollLimits, Queue, QueueError, Reader, Received, Record, Topic, copied, moved_letter,
    partition_of, with_redriven_origin,
};

use super::window::whole;

/// Why nothing is copied, or not all.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Workers are not done.
    #[error(
        "partition {} of accounts.submitted holds {left} records that workers have not finished: stop the intake, let \
         the workers finish, and stop them", partition.0
    )]
    NotAtRest {
        /// The partition.
        partition: Partition,
        /// What is left of it.
        left: u64,
    },
    /// The log has lost its beginning.
    #[error(
        "partition {} of accounts.submitted begins at offset {}: what lay before it is deleted, and a store cannot be \
         rebuilt from the rest", partition.0, earliest.0
    )]
    Deleted {
        /// The partition.
        partition: Partition,
        /// The first offset that it still holds.
        earliest: Offset,
    },
    /// The log has grown meanwhile.
    #[error(
        "{} has grown while it was copied: stop everything that writes to it, empty the other log, and begin again",
        topic.name()
    )]
    Grown {
        /// The topic.
        topic: Topic,
    },
    /// There is something on the other log.
    #[error(
        "{} of the other log is not empty: only an empty one is copied to. Delete its topics and create them anew with \
         `penstock topics apply`, or name another directory", topic.name()
    )]
    NotEmpty {
        /// The topic.
        topic: Topic,
    },
    /// Something else was written meanwhile.
    #[error(
        "{} of the other log does not hold what was copied there and nothing else: somebody else wrote to it. Delete \
         its topics, create them anew, and begin again", topic.name()
    )]
    Disturbed {
        /// The topic.
        topic: Topic,
    },
    /// A log does not answer, or did not take everything.
    #[error("{0}. What was copied by then is of no use: empty the other log, and begin again")]
    Queue(#[from] QueueError),
}

/// How many records were copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Submissions.
    pub submitted: u64,
    /// Results.
    pub results: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// A log and the one it is copied to.
pub struct Move<'a, A, B> {
    /// What is copied.
    pub from: &'a A,
    /// Where to.
    pub to: &'a B,
    /// The generation of the log that is copied to.
    pub generation: Generation,
    /// The workers' group of the log that is copied.
    pub workers: &'a str,
    /// How much is copied at a time.
    pub limits: PollLimits,
}

/// Places of records by which others name them, and where these stand now.
#[derive(Default)]
struct Places {
    named: HashSet<(Partition, Offset)>,
    moved: HashMap<(Partition, Offset), (Partition, Offset)>,
}

impl<A: Queue, B: Queue> Move<'_, A, B> {
    /// Copies everything; `tell` is told how many records were copied at a time.
    pub async fn run(&self, mut tell: impl FnMut(u64)) -> Result<Moved, MoveError> {
        self.is_at_rest().await?;
        let ends = self.ends().await?;
        for topic in Topic::ALL {
            let standing = self.to.standing(topic, self.workers).await?;
            if standing.iter().any(|one| one.end > Offset(0)) {
                return Err(MoveError::NotEmpty { topic });
            }
        }
        let (mut submitted, mut results) = self.named().await?;
        let generation = self.generation;
        let submitted_count = self
            .copy(Topic::Submitted, &mut submitted, &mut tell, |received, places| {
                let origin = |at: Coordinates| places.at(at, generation);
                with_redriven_origin(copied(received), origin)
            })
            .await?;
        let results_count = self
            .copy(Topic::Results, &mut results, &mut tell, |received, _| received.record.clone())
            .await?;
        let mut letters = Places::default();
        let dead_letters = self
            .copy(Topic::DeadLetter, &mut letters, &mut tell, |received, _| {
                let record = received.record.clone();
                let Some(letter) = DeadLetter::parse(&record) else { return record };
                let places = match letter.topic {
                    Some(Topic::Submitted) => &submitted,
                    Some(Topic::Results) => &results,
                    Some(Topic::DeadLetter) | None => return record,
                };
                let record = with_redriven_origin(record, |at| submitted.at(at, generation));
                match places.moved.get(&(letter.partition, letter.offset)) {
                    Some((partition, offset)) => moved_letter(record, *partition, *offset),
                    None => record,
                }
            })
            .await?;
        for (topic, end) in self.ends().await? {
            if ends.get(&topic) != Some(&end) {
                return Err(MoveError::Grown { topic });
            }
        }
        Ok(Moved { submitted: submitted_count, results: results_count, dead_letters })
    }

    async fn is_at_rest(&self) -> Result<(), MoveError> {
        for one in self.from.standing(Topic::Submitted, self.workers).await? {
            let (partition, earliest) = (one.partition, one.earliest);
            if earliest > Offset(0) {
                return Err(MoveError::Deleted { partition, earliest });
            }
            let done = one.committed.unwrap_or(earliest);
            let left = one.end.0.saturating_sub(done.0);
            if left > 0 {
                return Err(MoveError::NotAtRest { partition, left });
            }
        }
        Ok(())
    }

    /// Where the partitions of the topics end.
    async fn ends(&self) -> Result<BTreeMap<Topic, Vec<Offset>>, MoveError> {
        let mut ends = BTreeMap::new();
        for topic in Topic::ALL {
            let standing = self.from.standing(topic, self.workers).await?;
            ends.insert(topic, standing.into_iter().map(|one| one.end).collect());
        }
        Ok(ends)
    }

    /// The places that dead letters name, of submissions and of results.
    async fn named(&self) -> Result<(Places, Places), MoveError> {
        let (mut submitted, mut results) = (Places::default(), Places::default());
        let mut reader = self.whole(Topic::DeadLetter).await?;
        while !reader.is_done() {
            for received in reader.read(self.limits).await? {
                let Some(letter) = DeadLetter::parse(&received.record) else { continue };
                let first = letter.first.map(|first| (first.log.partition, first.offset));
                submitted.named.extend(first);
                match letter.topic {
                    Some(Topic::Submitted) => {
                        submitted.named.insert((letter.partition, letter.offset));
                    }
                    Some(Topic::Results) => {
                        results.named.insert((letter.partition, letter.offset));
                    }
                    Some(Topic::DeadLetter) | None => {}
                }
            }
        }
        Ok((submitted, results))
    }

    async fn whole(&self, topic: Topic) -> Result<A::Reader, MoveError> {
        let ranges = whole(self.from, topic, self.workers).await?;
        Ok(self.from.open_reader(topic, ranges).await?)
    }

    async fn copy(
        &self,
        topic: Topic,
        places: &mut Places,
        tell: &mut impl FnMut(u64),
        mut record: impl FnMut(&Received, &Places) -> Record,
    ) -> Result<u64, MoveError> {
        let partitions = self.to.standing(topic, self.workers).await?.len();
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX).max(1);
        let mut next: BTreeMap<Partition, u64> = BTreeMap::new();
        let mut count = 0;
        let mut reader = self.whole(topic).await?;
        while !reader.is_done() {
            let received = reader.read(self.limits).await?;
            let mut records = Vec::with_capacity(received.len());
            for received in &received {
                let to = partition_of(&received.record.key, partitions);
                let offset = next.entry(to).or_default();
                let from = (received.partition, received.offset);
                if places.named.contains(&from) {
                    places.moved.insert(from, (to, Offset(*offset)));
                }
                *offset += 1;
                records.push(record(received, places));
            }
            count += records.len() as u64;
            tell(records.len() as u64);
            self.to.publish(topic, records).await?;
        }
        self.holds_that_alone(topic, count, &next).await?;
        Ok(count)
    }

    /// Where records stand was foretold of topics in which a key has its partition.
    async fn holds_that_alone(
        &self,
        topic: Topic,
        count: u64,
        next: &BTreeMap<Partition, u64>,
    ) -> Result<(), MoveError> {
        let standing = self.to.standing(topic, self.workers).await?;
        let is_it = if topic.is_ordered() {
            standing.iter().all(|one| one.end.0 == next.get(&one.partition).copied().unwrap_or(0))
        } else {
            standing.iter().map(|one| one.end.0).sum::<u64>() == count
        };
        if is_it { Ok(()) } else { Err(MoveError::Disturbed { topic }) }
    }
}

impl Places {
    /// Where a record of the log stands now.
    fn at(&self, at: Coordinates, generation: Generation) -> Option<Coordinates> {
        let (partition, offset) = *self.moved.get(&(at.log.partition, at.offset))?;
        Some(LogPartition { generation, partition }.at(offset))
    }
}
