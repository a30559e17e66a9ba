//! The data directory, held by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "LOCK";
/// A process id has far fewer digits; a larger lock file is not read to its end.
const MAX_HOLDER_BYTES: u64 = 32;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds it.
    #[error(
        "data directory {} is in use by another penstock process{}; stop that one, or choose \
         another directory",
        path.display(),
        holder.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The holder's process id, if it can be read.
        holder: Option<u32>,
    },
    /// It cannot be created or written to.
    #[error("data directory {} cannot be written to; check that it is a directory of this user on a \
             writable disk", path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

/// A directory that belongs to this process for as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The system releases the lock with the file, however the process ends.
    _lock: File,
}

impl DataDir {
    /// Whether another process has the directory at this moment. Nothing is created.
    pub fn is_in_use(path: &Path) -> bool {
        let Ok(lock) = File::open(path.join(LOCK_FILE)) else { return false };
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Creates the directory if it is missing and takes it for this process.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        let lock = match open_lock_file(&path) {
            Ok(lock) => lock,
            Err(cause) => return Err(DataDirError::NotWritable { path, cause }),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse { path, holder: read_holder(&lock) });
            }
            Err(TryLockError::Error(cause)) => return Err(DataDirError::NotWritable { path, cause }),
        }
        if let Err(cause) = write_holder(&lock) {
            // The lock itself is held; the id only makes another process's message more helpful.
            tracing::warn!(directory = %path.display(), %cause, "process id not noted in lock file");
        }
        Ok(Self { path, _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The queue's file within it.
    pub fn queue_file(&self) -> PathBuf {
        queue_file(&self.path)
    }

    /// The store's file within it.
    pub fn store_file(&self) -> PathBuf {
        store_file(&self.path)
    }
}

/// The queue's file within a data directory, whoever has it.
pub fn queue_file(directory: &Path) -> PathBuf {
    directory.join("queue.db")
}

/// The store's file within a data directory, whoever has it.
pub fn store_file(directory: &Path) -> PathBuf {
    directory.join("store.db")
}

fn open_lock_file(directory: &Path) -> io::Result<File> {
    create_for_this_user(directory)?;
    // Not truncated: it names the holder, who may be another process.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join(LOCK_FILE))
}

/// Accounts are in there: other users of the machine have no business with a directory that is made here. One
/// that is there already has the mode that somebody gave it.
fn create_for_this_user(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn read_holder(mut lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.take(MAX_HOLDER_BYTES).read_to_string(&mut text).ok()?;
    lock.rewind().ok()?;
    text.trim().parse().ok()
}

fn write_holder(mut lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}
