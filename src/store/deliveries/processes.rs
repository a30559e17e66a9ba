//! The processes that deliver, as they see each other.

use uuid::Uuid;

/// A process that delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub Uuid);

impl ProcessId {
    /// One that nobody has had, later than every earlier one.
    #[allow(clippy::new_without_default, reason = "no two are alike, so none is a default")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

/// What a process that reports itself learns of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// How many there are, itself among them.
    pub processes: u64,
    /// Whether it is the first: the one of them that does what one is to do.
    pub is_first: bool,
}
