//! The mark of a file in use: a file beside it that is there from opening to closing. What is left of a process
//! that did not close shows by it, and what of that is missing.
//!
//! `SQLite` keeps what was committed last in the write-ahead log until that is moved into the file; without the
//! log the file is sound and lacks those commits. Nothing in the file itself tells so.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::file::{has_wal, sibling};

/// Where the mark of a file is.
fn mark_of(path: &Path) -> PathBuf {
    sibling(path, "-open")
}

/// Whether the file was left open, and its write-ahead log is gone all the same.
pub(super) fn lacks_wal(path: &Path) -> bool {
    mark_of(path).exists() && !has_wal(path)
}

/// Marks the file as in use. Its write-ahead log is there by now.
pub(super) fn set(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).open(mark_of(path))?.sync_all()?;
    sync_directory_of(path)
}

/// Takes the mark off, once the last connection is closed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(mark_of(path)) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

/// Makes a change of the directory's entries durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if directory != Path::new("") => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marked_file_without_its_log_lacks_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let wal = sibling(&path, "-wal");
        assert!(!lacks_wal(&path));
        std::fs::write(&wal, "").unwrap();
        set(&path).unwrap();
        assert!(!lacks_wal(&path), "an empty one is one");
        std::fs::remove_file(&wal).unwrap();
        assert!(lacks_wal(&path));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!lacks_wal(&path));
    }
}
