//! A chain of digests over the log's records and how they ended, partition by partition in the order of the log:
//! whoever has the last of them knows whether any record or outcome before it is another by now.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::account::{Coordinates, Offset, Partition};
use crate::replay::Span;

use super::bounds::settled;

/// Bytes of a link.
const LINK: usize = 32;
/// Offsets from one mark to the next.
const MARK_EVERY: u64 = 10_000;

/// Why a chain cannot be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "the digests of records cannot be kept in {}; name a directory with more room by TMPDIR or --scratch",
    directory.display()
)]
pub struct ChainError {
    directory: PathBuf,
    source: io::Error,
}

/// The chain of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The partition.
    pub partition: u32,
    /// The first offset.
    pub from: u64,
    /// The offset after the last one.
    pub to: u64,
    /// Records with an outcome between them.
    pub records: u64,
    /// The last link, in hex.
    pub link: String,
    /// Links on the way.
    pub marks: Vec<Mark>,
}

/// A link on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The offset after the last record before it.
    pub to: u64,
    /// The link, in hex.
    pub link: String,
}

impl Chain {
    /// The first part in which another chain of the same range differs, if it does.
    pub fn differs_in(&self, other: &Self) -> Option<(u64, u64)> {
        if self == other {
            return None;
        }
        let marks = self.marks.iter().zip(&other.marks);
        let last_same = marks.take_while(|(own, others)| own == others).last().map(|(own, _)| own.to);
        let from = last_same.unwrap_or(self.from);
        let next = self.marks.iter().map(|mark| mark.to).find(|to| *to > from);
        Some((from, next.unwrap_or(self.to)))
    }
}

/// Digests of records with their outcomes, by their places.
pub(super) struct Leaves {
    directory: PathBuf,
    partitions: BTreeMap<Partition, (Offset, Offset, File)>,
}

impl Leaves {
    /// None yet, of these ranges as far as they are settled.
    pub(super) fn of(spans: &[Span], directory: &Path) -> Result<Self, ChainError> {
        let open = |span: &Span| {
            let to = settled(span).max(span.from);
            Ok((span.partition, (span.from, to, tempfile::tempfile_in(directory)?)))
        };
        let partitions = spans.iter().map(open).collect::<io::Result<_>>();
        let directory = directory.to_owned();
        match partitions {
            Ok(partitions) => Ok(Self { directory, partitions }),
            Err(source) => Err(ChainError { directory, source }),
        }
    }

    /// Notes how a record ended.
    pub(super) fn note(
        &self,
        at: Coordinates,
        content: &[u8; LINK],
        outcome: &str,
    ) -> Result<(), ChainError> {
        let Some((from, to, file)) = self.partitions.get(&at.log.partition) else { return Ok(()) };
        if at.offset < *from || at.offset >= *to {
            return Ok(());
        }
        let leaf = Sha256::new().chain_update(content).chain_update(outcome).finalize();
        let place = (at.offset.0 - from.0).saturating_mul(LINK as u64);
        file.write_all_at(&leaf, place).map_err(|source| self.failed(source))
    }

    /// The chains.
    pub(super) fn chains(self) -> Result<Vec<Chain>, ChainError> {
        let Self { directory, partitions } = self;
        let chains =
            partitions.into_iter().map(|(partition, (from, to, file))| chain(partition, from, to, file));
        chains.collect::<io::Result<_>>().map_err(|source| ChainError { directory, source })
    }

    fn failed(&self, source: io::Error) -> ChainError {
        ChainError { directory: self.directory.clone(), source }
    }
}

/// A place without a record has no leaf, and no link.
fn chain(partition: Partition, from: Offset, to: Offset, mut file: File) -> io::Result<Chain> {
    // What was never written reads as zeros up to the end that the file is given.
    file.set_len((to.0 - from.0).saturating_mul(LINK as u64))?;
    file.rewind()?;
    let mut leaves = BufReader::with_capacity(1 << 20, file);
    let (mut link, mut records, mut marks) = ([0; LINK], 0, Vec::new());
    let mut leaf = [0; LINK];
    for offset in from.0..to.0 {
        leaves.read_exact(&mut leaf)?;
        if leaf != [0; LINK] {
            let next = Sha256::new().chain_update(link).chain_update(offset.to_be_bytes());
            link = next.chain_update(leaf).finalize().into();
            records += 1;
        }
        if (offset + 1).is_multiple_of(MARK_EVERY) && offset + 1 < to.0 {
            marks.push(Mark { to: offset + 1, link: hex(&link) });
        }
    }
    Ok(Chain { partition: partition.0, from: from.0, to: to.0, records, link: hex(&link), marks })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Generation, LogPartition};

    fn chain_of(outcomes: &[(u64, &str)], to: u64) -> Chain {
        let partition = Partition(3);
        let (from, end) = (Offset(5), Offset(to));
        let span = Span { partition, from, to: end, settled: end, deleted_before: None };
        let directory = tempfile::tempdir().unwrap();
        let leaves = Leaves::of(&[span], directory.path()).unwrap();
        let log = LogPartition { generation: Generation(1), partition };
        for (offset, outcome) in outcomes {
            leaves.note(log.at(Offset(*offset)), &[7; LINK], outcome).unwrap();
        }
        leaves.chains().unwrap().remove(0)
    }

    #[test]
    fn a_chain_is_of_records_and_outcomes_in_their_order_however_they_were_noted() {
        let first = chain_of(&[(5, "accepted"), (8, "A007"), (9, "dead")], 12);
        assert_eq!((first.partition, first.from, first.to, first.records), (3, 5, 12, 3));
        assert_eq!(chain_of(&[(9, "dead"), (8, "A007"), (5, "accepted")], 12), first);
        let others = [
            chain_of(&[(5, "accepted"), (8, "A008"), (9, "dead")], 12),
            chain_of(&[(5, "accepted"), (7, "A007"), (9, "dead")], 12),
            chain_of(&[(5, "accepted"), (9, "dead")], 12),
        ];
        for other in others {
            assert_ne!(other.link, first.link);
            assert_eq!(first.differs_in(&other), Some((5, 12)));
        }
        assert_eq!(first.differs_in(&first.clone()), None);
        assert_eq!(chain_of(&[(4, "accepted"), (12, "accepted")], 12).records, 0, "elsewhere");
    }

    #[test]
    fn a_difference_is_found_between_two_marks() {
        let outcomes = |other: u64| {
            let word = move |offset| if offset == other { "A007" } else { "accepted" };
            (5..35_000).map(|offset| (offset, word(offset))).collect::<Vec<_>>()
        };
        let same = chain_of(&outcomes(0), 35_000);
        assert_eq!(same.marks.iter().map(|mark| mark.to).collect::<Vec<_>>(), [10_000, 20_000, 30_000]);
        for (other, part) in [(6, (5, 10_000)), (25_000, (20_000, 30_000)), (34_999, (30_000, 35_000))] {
            assert_eq!(same.differs_in(&chain_of(&outcomes(other), 35_000)), Some(part));
        }
    }
}
