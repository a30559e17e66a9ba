//! A letter on the topic of dead letters, and what was decided of it.

use std::cmp::Ordering;
use std::fmt;

use crate::account::{
    Account, Coordinates, Generation, LogPartition, Offset, Partition, Submission, Timestamp,
};
use crate::queue::{DeadLetter, Envelope, Received, Topic};
use crate::store::{Case, CaseState};

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

/// Whether a state of an account may be newer than a submission of it. Where both stand on different partitions, as
/// when a producer chose another one, it cannot be told and counts as newer.
pub fn may_be_newer(version: Coordinates, submission: Coordinates) -> bool {
    match version.log.generation.cmp(&submission.log.generation) {
        Ordering::Equal if version.log.partition == submission.log.partition => {
            version.offset > submission.offset
        }
        Ordering::Equal | Ordering::Greater => true,
        Ordering::Less => false,
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
    /// What was decided of it, if anything was.
    pub case: Option<Case>,
}

impl Letter {
    /// A record that was read.
    pub(super) fn of(received: &Received, generation: Generation) -> Self {
        let log = LogPartition { generation, partition: received.partition };
        Self {
            at: log.at(received.offset),
            put_aside_at: received.appended_at,
            told: DeadLetter::parse(&received.record),
            case: None,
        }
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
        Some(Submission::new(account, unit, log.at(told.offset)))
    }

    /// Why it cannot be put back, if it cannot.
    pub fn obstacle(&self) -> Option<&'static str> {
        match &self.told {
            None => Some("it does not tell where it came from"),
            Some(told) if told.topic.is_none() => Some("it came from no topic of this pipeline"),
            Some(told) if !told.is_whole => Some(
                "what was too large for the dead-letter topic is cut; the rest is only where it came from",
            ),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_newer_that_stands_behind_or_elsewhere() {
        let at = |generation, partition, offset| {
            let log =
                LogPartition { generation: Generation(generation), partition: Partition(partition) };
            log.at(Offset(offset))
        };
        let submission = at(2, 1, 7);
        for (version, is_newer) in [
            (at(2, 1, 8), true),
            (at(2, 1, 7), false),
            (at(2, 1, 6), false),
            (at(2, 0, 0), true),
            (at(1, 1, 99), false),
            (at(1, 2, 99), false),
            (at(3, 1, 0), true),
        ] {
            assert_eq!(may_be_newer(version, submission), is_newer, "{version}");
        }
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = LetterPlace { partition: Partition(3), offset: Offset(17) };
        assert_eq!(LetterPlace::parse(&place.to_string()), Some(place));
        for text in ["", "3", "3/", "/17", "3/-1", "3/17/1", "a/b"] {
            assert_eq!(LetterPlace::parse(text), None, "{text:?}");
        }
    }
}
