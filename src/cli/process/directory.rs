//! The data directory, for the parts that are embedded.

use std::path::{Path, PathBuf};

use crate::sqlite::{DataDir, DataDirError};

/// A data directory that is opened, and locked, by the first part that needs it.
pub(super) struct Directory {
    path: PathBuf,
    opened: Option<DataDir>,
}

impl Directory {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), opened: None }
    }

    /// The directory, locked against other processes.
    pub(super) fn opened(&mut self) -> Result<&DataDir, DataDirError> {
        match &mut self.opened {
            Some(opened) => Ok(opened),
            none => Ok(none.insert(DataDir::open(&self.path)?)),
        }
    }
}
