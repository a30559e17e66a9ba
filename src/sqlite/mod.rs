//! What both embedded ports share: one directory for one process, and `SQLite` files that are opened
//! only when they are sound and ours.
//!
//! A file is created under another name and renamed when it is complete, so a file under its own name
//! always carries its application id. Whatever does not is somebody else's and is never written to.
//!
//! Commands that look at a file, or change a few rows of it, open it beside the process that has the
//! directory: `SQLite` lets one write at a time. They create, migrate and check nothing.

mod directory;
mod error;
mod file;
mod mark;
mod writing;

pub use directory::{DataDir, DataDirError, queue_file, store_file};
pub use error::OpenError;
pub(crate) use error::{FailureClass, classify};
pub(crate) use file::{Database, FileKind};
pub(crate) use writing::Writing;
