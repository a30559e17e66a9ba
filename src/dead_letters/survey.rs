//! One way through the topic of dead letters, part by part.

use std::collections::BTreeMap;

use crate::account::Generation;
use crate::queue::{PollLimits, Queue, QueueError, ReadRange, Reader, Start, Topic};
use crate::store::{Case, Cases, StoreError};

use super::letter::{Letter, LetterPlace, spans};
use super::selection::LetterSelection;

/// Why letters cannot be gone through.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The queue does not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A way through the letters that there were when it began.
pub struct Survey<Q: Queue, S> {
    reader: Q::Reader,
    store: S,
    generation: Generation,
    selection: LetterSelection,
    limits: PollLimits,
    letters: u64,
    read: u64,
}

impl<Q: Queue, S: Cases> Survey<Q, S> {
    /// Begins one. `group` is any that may be asked for how the topic stands.
    pub async fn begin(
        queue: &Q,
        store: &S,
        generation: Generation,
        group: &str,
        selection: LetterSelection,
        limits: PollLimits,
    ) -> Result<Self, SurveyError> {
        let mut ranges = Vec::new();
        for one in queue.standing(Topic::DeadLetter, group).await? {
            let whole = ReadRange { partition: one.partition, from: one.earliest, to: one.end };
            ranges.extend(narrowed(queue, &selection, whole).await?);
        }
        let letters = ranges.iter().map(|range| range.to.0 - range.from.0).sum();
        let reader = queue.open_reader(Topic::DeadLetter, ranges).await?;
        Ok(Self { reader, store: store.clone(), generation, selection, limits, letters, read: 0 })
    }

    /// At most so many letters are gone through.
    pub fn letters(&self) -> u64 {
        self.letters
    }

    /// So many were gone through.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// The selected ones of the next letters; none when there are no more. May be empty.
    pub async fn next(&mut self) -> Result<Option<Vec<Letter>>, SurveyError> {
        if self.reader.is_done() {
            return Ok(None);
        }
        let received = self.reader.read(self.limits).await?;
        self.read += received.len() as u64;
        let mut letters: Vec<_> =
            received.into_iter().map(|received| Letter::of(received, self.generation)).collect();
        let cases = self.store.cases(&spans(letters.iter().map(|letter| letter.at))).await?;
        let mut cases: BTreeMap<_, Case> = cases.into_iter().map(|case| (case.letter, case)).collect();
        for letter in &mut letters {
            letter.case = cases.remove(&letter.at);
        }
        letters.retain(|letter| self.selection.holds(letter));
        Ok(Some(letters))
    }
}

/// What of a partition may hold something that is selected.
async fn narrowed(
    queue: &impl Queue,
    selection: &LetterSelection,
    whole: ReadRange,
) -> Result<Option<ReadRange>, QueueError> {
    let ReadRange { partition, mut from, mut to } = whole;
    if let Some(time) = selection.from {
        from = from.max(queue.find(Topic::DeadLetter, partition, Start::Time(time)).await?);
    }
    if !selection.places.is_empty() {
        let here = |place: &&LetterPlace| place.partition == partition;
        let offsets = || selection.places.iter().filter(here).map(|place| place.offset);
        let (Some(first), Some(last)) = (offsets().min(), offsets().max()) else { return Ok(None) };
        (from, to) = (from.max(first), to.min(last.next()));
    }
    Ok((from < to).then_some(ReadRange { partition, from, to }))
}
