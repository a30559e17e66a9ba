//! What a bank archives of a day: sums and chains, and the digest of the one before.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::account::{Offset, Partition, Timestamp};
use crate::queue::ReadRange;

use super::chain::{Chain, hex};
use super::findings::Counts;
use super::run::Audited;

/// The form of digests.
const VERSION: u32 = 1;

/// What a file is that was taken for a digest.
#[derive(Debug, thiserror::Error)]
pub enum NoDigest {
    /// It is none.
    #[error("it is no digest of an audit: {0}")]
    Json(#[from] serde_json::Error),
    /// It is one of another release.
    #[error("it is a digest of version {0}; this release knows {VERSION}")]
    Version(u32),
}

/// A digest of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    version: u32,
    /// When it was made.
    pub created_at: String,
    /// Generation of the log.
    pub generation: u32,
    /// SHA-256 of the file that came before, in hex.
    pub previous_sha256: Option<String>,
    /// Whether everything balanced.
    pub balance: bool,
    /// The sums.
    pub counts: Counts,
    /// The chains of the partitions.
    pub partitions: Vec<Chain>,
}

impl Digest {
    /// One of an audit; `previous` is the file that came before.
    pub fn of(audited: &Audited, generation: u32, now: Timestamp, previous: Option<&[u8]>) -> Self {
        Self {
            version: VERSION,
            created_at: now.to_string(),
            generation,
            previous_sha256: previous.map(Self::sha256_of),
            balance: audited.counts.balance(),
            counts: audited.counts.clone(),
            partitions: audited.chains.clone(),
        }
    }

    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoDigest> {
        let digest: Self = serde_json::from_slice(bytes)?;
        if digest.version == VERSION { Ok(digest) } else { Err(NoDigest::Version(digest.version)) }
    }

    /// As a file has it.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// SHA-256 of a file, in hex.
    pub fn sha256_of(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    /// Partitions of which this digest does not begin where the one before ended; where that is of another
    /// generation of the log, those of which it does not begin at the beginning.
    pub fn gaps(&self, previous: &Self) -> Vec<u32> {
        if previous.generation != self.generation {
            return self.partitions.iter().filter(|own| own.from > 0).map(|own| own.partition).collect();
        }
        let begins_there = |before: &Chain| {
            let own = self.partitions.iter().find(|own| own.partition == before.partition);
            own.is_some_and(|own| own.from == before.to)
        };
        let apart = previous.partitions.iter().filter(|before| !begins_there(before));
        apart.map(|before| before.partition).collect()
    }

    /// Whether it says of another file that it came before.
    pub fn follows(&self, previous: &[u8]) -> bool {
        self.previous_sha256.as_deref() == Some(Self::sha256_of(previous).as_str())
    }

    /// What it is of.
    pub fn ranges(&self) -> Vec<ReadRange> {
        let range = |chain: &Chain| ReadRange {
            partition: Partition(chain.partition),
            from: Offset(chain.from),
            to: Offset(chain.to),
        };
        self.partitions.iter().map(range).collect()
    }

    /// The parts in which chains made anew differ: partition, first offset, and the one after the last.
    pub fn differs_in(&self, anew: &[Chain]) -> Vec<(u32, u64, u64)> {
        let part = |chain: &Chain| {
            let other = anew.iter().find(|other| other.partition == chain.partition);
            let (from, to) = match other {
                Some(other) => chain.differs_in(other)?,
                None => (chain.from, chain.to),
            };
            Some((chain.partition, from, to))
        };
        self.partitions.iter().filter_map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_was_written_and_names_the_one_before() {
        let chain =
            Chain { partition: 1, from: 0, to: 9, records: 9, link: "ab".into(), marks: Vec::new() };
        let audited = Audited { counts: Counts::default(), chains: vec![chain.clone()] };
        let now = Timestamp::from_unix_millis(0);
        let first = Digest::of(&audited, 1, now, None).to_json().unwrap();
        let second = Digest::of(&audited, 1, now, Some(&first));
        let read = Digest::parse(&second.to_json().unwrap()).unwrap();
        assert_eq!(read, second);
        assert!(read.follows(&first) && !read.follows(b"another"));
        assert_eq!(read.differs_in(std::slice::from_ref(&chain)), []);
        let other = Chain { link: "cd".into(), ..chain };
        assert_eq!(read.differs_in(&[other]), [(1, 0, 9)]);
        assert_eq!(read.differs_in(&[]), [(1, 0, 9)]);
        assert_eq!(read.gaps(&read), [1], "it begins at 0, and ends at 9");
        let mut next = read.clone();
        (next.partitions[0].from, next.partitions[0].to) = (9, 12);
        assert_eq!(next.gaps(&read), [] as [u32; 0]);
        next.generation = 2;
        assert_eq!(next.gaps(&read), [1], "the log began anew, at 0");
        next.partitions[0].from = 0;
        assert_eq!(next.gaps(&read), [] as [u32; 0]);
    }

    #[test]
    fn what_is_no_digest_is_told() {
        assert!(Digest::parse(b"{}").unwrap_err().to_string().contains("no digest"));
        let audited = Audited::default();
        let json = Digest::of(&audited, 1, Timestamp::from_unix_millis(0), None).to_json().unwrap();
        let later = String::from_utf8(json).unwrap().replace("\"version\": 1", "\"version\": 2");
        assert!(Digest::parse(later.as_bytes()).unwrap_err().to_string().contains("version 2"));
    }
}
