//! A letter on the topic of dead letters, and what was decided of it.

use std::collections::BTreeMap;
use std::fmt;

use crate::account::{
    Account, Coordinates, Generation, LogPartition, Offset, Partition, Submission, Timestamp,
};
use crate::queue::{DeadLetter, Envelope, Received, Record, Topic};
use crate::store::{Case, CaseState, OffsetRange};

/// Where a letter stands on its topic, as commands write it: `partition/offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterPlace {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

impl LetterPlace {
    /// Takes a text that is one.
    pub fn parse(text: &str) -> Option<Self> {
        let (partition, offset) = text.split_once('/')?;
        Some(Self {
            partition: Partition(partition.parse().ok()?),
            offset: Offset(offset.parse().ok()?),
        })
    }

    /// The place in a generation of the log.
    pub fn at(self, generation: Generation) -> Coordinates {
        LogPartition { generation, partition: self.partition }.at(self.offset)
    }
}

impl From<Coordinates> for LetterPlace {
    fn from(at: Coordinates) -> Self {
        Self { partition: at.log.partition, offset: at.offset }
    }
}

impl fmt::Display for LetterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition.0, self.offset.0)
    }
}

/// The ranges in which places lie, one a partition.
pub(super) fn spans(places: impl Iterator<Item = Coordinates>) -> Vec<OffsetRange> {
    let mut spans: BTreeMap<LogPartition, OffsetRange> = BTreeMap::new();
    for Coordinates { log, offset } in places {
        let (from, to) = (offset, offset.next());
        let span = spans.entry(log).or_insert(OffsetRange { log, from, to });
        (span.from, span.to) = (span.from.min(from), span.to.max(to));
    }
    spans.into_values().collect()
}

/// How a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Nobody has decided on it.
    Open,
    /// Somebody has.
    Decided(CaseState),
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Decided(CaseState::Requested),
        Self::Decided(CaseState::Failed),
        Self::Decided(CaseState::Redriven),
        Self::Decided(CaseState::Discarded),
    ];
    /// Those of which something is to be done.
    pub const UNSOLVED: [Self; 3] =
        [Self::Open, Self::Decided(CaseState::Requested), Self::Decided(CaseState::Failed)];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Decided(state) => state.as_str(),
        }
    }
}

/// A record of the topic of dead letters.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it stands there.
    pub at: Coordinates,
    /// When it was put aside.
    pub put_aside_at: Timestamp,
    /// What it tells; none when it is none of penstock's.
    pub told: Option<DeadLetter>,
    /// What stands there, if it tells nothing.
    foreign: Option<Record>,
    /// What was decided of it, if anything was.
    pub case: Option<Case>,
}

impl Letter {
    /// A record that was read.
    pub(super) fn of(received: Received, generation: Generation) -> Self {
        let log = LogPartition { generation, partition: received.partition };
        let told = DeadLetter::parse(&received.record);
        let foreign = told.is_none().then_some(received.record);
        let (at, put_aside_at) = (log.at(received.offset), received.appended_at);
        Self { at, put_aside_at, told, foreign, case: None }
    }

    /// As what it was put aside.
    pub fn class(&self) -> &str {
        self.told.as_ref().map_or("foreign", |told| &told.class)
    }

    /// Why it was put aside.
    pub fn reason(&self) -> &str {
        self.told.as_ref().map_or("it tells nothing of itself", |told| &told.reason)
    }

    /// The record that it was, or as much of it as there is.
    pub fn record(&self) -> Option<&Record> {
        self.told.as_ref().map(|told| &told.record).or(self.foreign.as_ref())
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.case.as_ref().map_or(Standing::Open, |case| Standing::Decided(case.state))
    }

    /// The submission that it was, where it stood, if it is one after all.
    pub fn submission(&self) -> Option<Submission> {
        let told = self.told.as_ref().filter(|told| told.topic == Some(Topic::Submitted))?;
        let account = Account::parse(std::str::from_utf8(&told.record.value).ok()?).ok()?;
        let unit = Envelope::from_headers(&told.record.headers).default_business_unit;
        let log = LogPartition { generation: self.at.log.generation, partition: told.partition };
        let stood_at = log.at(told.offset);
        Some(Submission::new(account, unit, stood_at).put_back_from(told.first))
    }

    /// Why it cannot be put back, if it cannot.
    pub fn obstacle(&self) -> Option<&'static str> {
        match &self.told {
            None => Some("it does not tell where it came from"),
            Some(told) if told.topic.is_none() => Some("it came from no topic that letters come from"),
            Some(told) if !told.is_whole => Some(
                "what was too large for the dead-letter topic is cut; the rest is only where it came from",
            ),
            // It would be put aside again, and what is put aside by the dozen stops a lane.
            Some(told) if told.topic == Some(Topic::Submitted) && self.submission().is_none() => {
                Some("it is still no account by the schema; correct it and send it anew")
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = LetterPlace { partition: Partition(3), offset: Offset(17) };
        assert_eq!(LetterPlace::parse(&place.to_string()), Some(place));
        for text in ["", "3", "3/", "/17", "3/-1", "3/17/1", "a/b"] {
            assert_eq!(LetterPlace::parse(text), None, "{text:?}");
        }
    }
}
