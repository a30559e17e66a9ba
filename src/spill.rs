//! Facts on disk, in as many files as keep one of them small: facts of one key lie in one file. The files have no
//! names, so that whatever ends the process removes them.

use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Facts that one file may hold, about: they are held in memory together.
const FACTS: u64 = 32_000;
/// Fewest and most files.
const FILES: std::ops::RangeInclusive<u64> = 4..=512;
/// What is gathered of a file before it is written.
const BUFFER_BYTES: usize = 32 * 1024;

/// Why facts cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// A directory takes no more.
    #[error(
        "the facts to be compared cannot be kept in {}; name a directory with more room by TMPDIR, or by --scratch \
         where there is such an option",
        directory.display()
    )]
    NotKept {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A fact has no form on disk.
    #[error("a fact to be compared cannot be encoded")]
    NotEncoded(#[from] postcard::Error),
}

/// Facts that are being gathered.
pub(crate) struct Spill<F> {
    directory: PathBuf,
    files: Vec<BufWriter<File>>,
    facts: PhantomData<F>,
}

/// Facts of some keys, encoded one after the other, per file.
#[derive(Clone)]
pub(crate) struct Encoded<F> {
    files: Vec<Vec<u8>>,
    facts: PhantomData<F>,
}

/// A file of facts that were gathered.
pub(crate) struct SpillFile<F> {
    directory: Arc<Path>,
    file: BufWriter<File>,
    facts: PhantomData<F>,
}

impl<F: Serialize + DeserializeOwned> Spill<F> {
    /// Begins to gather about so many facts.
    pub(crate) fn begin(directory: &Path, facts: u64) -> Result<Self, SpillError> {
        let files = (facts / FACTS).clamp(*FILES.start(), *FILES.end());
        let open = |_| {
            let file = tempfile::tempfile_in(directory)?;
            Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
        };
        let files = (0..files).map(open).collect::<io::Result<_>>();
        let files = files.map_err(|source| failed(directory, source))?;
        Ok(Self { directory: directory.to_owned(), files, facts: PhantomData })
    }

    /// Room for facts that are to be added together, by whatever thread.
    pub(crate) fn encoder(&self) -> Encoded<F> {
        Encoded { files: vec![Vec::new(); self.files.len()], facts: PhantomData }
    }

    /// Adds facts.
    pub(crate) fn add(&mut self, encoded: &Encoded<F>) -> Result<(), SpillError> {
        for (file, bytes) in self.files.iter_mut().zip(&encoded.files) {
            file.write_all(bytes).map_err(|source| failed(&self.directory, source))?;
        }
        Ok(())
    }

    /// The files, each of which has all facts of its keys.
    pub(crate) fn into_files(self) -> impl Iterator<Item = SpillFile<F>> {
        let Self { directory, files, .. } = self;
        let directory: Arc<Path> = directory.into();
        files.into_iter().map(move |file| SpillFile {
            directory: Arc::clone(&directory),
            file,
            facts: PhantomData,
        })
    }
}

impl<F: DeserializeOwned> SpillFile<F> {
    /// Its facts.
    pub(crate) fn read(self) -> Result<Vec<F>, SpillError> {
        let Self { directory, file, .. } = self;
        read(file).map_err(|source| failed(&directory, source))
    }
}

impl<F: Serialize> Encoded<F> {
    /// Adds a fact.
    pub(crate) fn push(&mut self, key: &[u8], fact: &F) -> Result<(), SpillError> {
        let place = place_of(key, self.files.len());
        if let Some(file) = self.files.get_mut(place) {
            *file = postcard::to_extend(fact, std::mem::take(file))?;
        }
        Ok(())
    }
}

/// The file in which facts of a key lie.
fn place_of(key: &[u8], files: usize) -> usize {
    let place = FixedState::default().hash_one(key) % files.max(1) as u64;
    usize::try_from(place).unwrap_or_default()
}

fn read<F: DeserializeOwned>(file: BufWriter<File>) -> io::Result<Vec<F>> {
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (mut rest, mut facts) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let (fact, left) = postcard::take_from_bytes(rest)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        facts.push(fact);
        rest = left;
    }
    Ok(facts)
}

fn failed(directory: &Path, source: io::Error) -> SpillError {
    SpillError::NotKept { directory: directory.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn facts_of_a_key_come_back_together_and_none_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let mut spill = Spill::begin(directory.path(), 1_000_000).unwrap();
        for part in 0..10 {
            let mut encoded = spill.encoder();
            for key in 0..1_000_u32 {
                encoded.push(&key.to_le_bytes(), &(key, part)).unwrap();
            }
            spill.add(&encoded).unwrap();
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the files have no names");
        let mut files_of = BTreeMap::<u32, Vec<usize>>::new();
        let mut facts = 0;
        for (place, file) in spill.into_files().enumerate() {
            for (key, _) in file.read().unwrap() {
                facts += 1;
                files_of.entry(key).or_default().push(place);
            }
        }
        assert_eq!(facts, 10_000);
        assert!(
            files_of.values().all(|files| files.len() == 10 && files.iter().all(|it| *it == files[0]))
        );
        assert!(
            files_of.values().any(|files| files[0] != files_of[&0][0]),
            "there is more than one file"
        );
    }

    #[test]
    fn a_directory_that_takes_nothing_is_named() {
        let missing = Path::new("/nowhere/at/all");
        let error = Spill::<u32>::begin(missing, 1).err().unwrap().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("TMPDIR"), "{error}");
    }
}
