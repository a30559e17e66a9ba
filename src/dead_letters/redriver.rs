//! Puts letters back that operators asked for, beside the lanes of a worker. Any number of processes do it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::account::{Coordinates, Generation, LogPartition, Offset, Partition, Timestamp};
use crate::queue::{PollLimits, Queue, QueueError, ReadRange, Reader, Record, Start, Topic};
use crate::store::{Cases, OffsetRange, RunnerId, SettledCase};
use crate::telemetry::with_causes;

use super::letter::{Letter, spans};
use super::survey::SurveyError;

/// Letters that are put back at a time: few, so that a step is long done when its lease ends, and so that little is
/// put back again when a broker fails in the middle.
const LETTERS: usize = 50;
/// Letters of a partition that lie further from the first one are left to a later step.
const SPAN: u64 = 1_000;
/// Until when nobody else puts back what one has taken over.
const LEASE: Duration = Duration::from_mins(1);
/// How often is looked whether anything is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two tries while queue or store is away.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// A letter that is to be put back, and the record that does it.
struct Back {
    letter: Coordinates,
    topic: Topic,
    /// Where it stood: what was in order goes back in order.
    origin: (Partition, Offset),
    record: Record,
}

/// Puts letters back that operators asked for.
pub struct Redriver<Q, S> {
    queue: Q,
    store: S,
    generation: Generation,
    limits: PollLimits,
    id: RunnerId,
}

impl<Q: Queue, S: Cases> Redriver<Q, S> {
    /// One of this log.
    pub fn new(queue: Q, store: S, generation: Generation, limits: PollLimits) -> Self {
        Self { queue, store, generation, limits, id: RunnerId(Uuid::new_v4()) }
    }

    /// Goes on until it is told to stop. What is away is waited for.
    pub async fn run(self, stop: CancellationToken) {
        let mut is_away = false;
        while !stop.is_cancelled() {
            let pause = match self.step(Timestamp::from(SystemTime::now())).await {
                Ok(count) => {
                    is_away = false;
                    if count > 0 { Duration::ZERO } else { LOOK_EVERY }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        let error = with_causes(&error);
                        tracing::warn!(%error, "dead letters cannot be put back now; that is tried again");
                    }
                    RETRY_PAUSE
                }
            };
            // Whether it was told to stop is asked above.
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Puts some letters back; tells for how many that is settled.
    pub async fn step(&self, now: Timestamp) -> Result<usize, SurveyError> {
        let leased = self.store.lease_cases(self.id, now, now.later(LEASE), LETTERS).await?;
        let near = near(&leased);
        if near.is_empty() {
            return Ok(0);
        }
        let letters = self.read(&near).await?;
        let (mut back, mut settled) = (Vec::new(), Vec::new());
        for letter in near {
            match self.way_back(letter, letters.get(&letter)) {
                Ok(way_back) => back.push(way_back),
                Err(problem) => settled.push(failed(letter, problem)),
            }
        }
        back.sort_by_key(|back| (back.topic, back.origin));
        for topic in Topic::ALL {
            let of_topic: Vec<_> = back.extract_if(.., |back| back.topic == topic).collect();
            settled.extend(self.publish(topic, of_topic).await?);
        }
        self.store.settle_cases(self.id, &settled, now).await?;
        tell(&settled);
        Ok(settled.len())
    }

    /// The letters at these places, as far as the topic still holds them.
    async fn read(&self, places: &[Coordinates]) -> Result<BTreeMap<Coordinates, Letter>, SurveyError> {
        let mut ranges = Vec::new();
        let of_this = places.iter().filter(|place| place.log.generation == self.generation);
        for OffsetRange { log: LogPartition { partition, .. }, from, to } in spans(of_this.copied()) {
            let found = self.queue.find(Topic::DeadLetter, partition, Start::Offset(from)).await;
            match found {
                Ok(from) if from < to => ranges.push(ReadRange { partition, from, to }),
                // The topic has no such partition, or nothing of it that far back.
                Ok(_) | Err(QueueError::Broken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut reader = self.queue.open_reader(Topic::DeadLetter, ranges).await?;
        let mut letters = BTreeMap::new();
        while !reader.is_done() {
            for received in reader.read(self.limits).await? {
                let letter = Letter::of(received, self.generation);
                if places.contains(&letter.at) {
                    letters.insert(letter.at, letter);
                }
            }
        }
        Ok(letters)
    }

    /// How a letter goes back, or why it cannot.
    fn way_back(&self, at: Coordinates, letter: Option<&Letter>) -> Result<Back, String> {
        if at.log.generation != self.generation {
            let generation = at.log.generation.0;
            return Err(format!(
                "it is of the log's generation {generation}, which is no longer the log's"
            ));
        }
        let Some(letter) = letter else {
            return Err("the dead-letter topic no longer holds it".to_owned());
        };
        if let Some(obstacle) = letter.obstacle() {
            return Err(obstacle.to_owned());
        }
        let told = letter.told.as_ref();
        let Some((told, topic)) = told.and_then(|told| told.topic.map(|topic| (told, topic))) else {
            return Err("it does not tell where it came from".to_owned());
        };
        Ok(Back { letter: at, topic, origin: (told.partition, told.offset), record: told.redriven(at) })
    }

    /// Publishes records, and tells what became of their letters. One that the topic never takes keeps back none
    /// of the others.
    async fn publish(&self, topic: Topic, back: Vec<Back>) -> Result<Vec<SettledCase>, QueueError> {
        if back.is_empty() {
            return Ok(Vec::new());
        }
        let records = back.iter().map(|back| back.record.clone()).collect();
        match self.queue.publish(topic, records).await {
            Ok(()) => {
                return Ok(back.iter().map(|back| done(back.letter)).collect());
            }
            Err(QueueError::Broken { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut settled = Vec::with_capacity(back.len());
        for Back { letter, record, .. } in back {
            settled.push(match self.queue.publish(topic, vec![record]).await {
                Ok(()) => done(letter),
                Err(error @ QueueError::Broken { .. }) => {
                    failed(letter, with_causes(&error).to_string())
                }
                Err(error) => return Err(error),
            });
        }
        Ok(settled)
    }
}

/// What is read in one go: of each partition the first letter, and those near it.
fn near(leased: &[Coordinates]) -> Vec<Coordinates> {
    let mut first = BTreeMap::new();
    let is_near = |place: &&Coordinates| {
        let first = *first.entry(place.log).or_insert(place.offset);
        place.offset.0 - first.0 < SPAN
    };
    leased.iter().filter(is_near).copied().collect()
}

fn tell(settled: &[SettledCase]) {
    let letters = settled.len();
    let failures = settled.iter().filter(|one| one.problem.is_some()).count();
    if failures == 0 {
        tracing::info!(letters, "dead letters were put back");
    } else {
        tracing::warn!(
            letters,
            failures,
            "dead letters were put back, and some cannot be; `penstock dlq list` tells why"
        );
    }
}

fn done(letter: Coordinates) -> SettledCase {
    SettledCase { letter, problem: None }
}

fn failed(letter: Coordinates, problem: String) -> SettledCase {
    SettledCase { letter, problem: Some(problem) }
}
