//! Reprocessing: what was decided before is decided anew by the rules and lists of today, beside live traffic.
//!
//! Invariant: a plan and a run go the same way, part by part of the log: read, choose, load, decide anew. A plan
//! holds back what would be written and shows each later part the store as it would be then, so the two differ by
//! what arrived in between and nothing else. A run writes a part together with how far its job is, and tells what
//! changed before it goes on; whoever goes on with a job tells again what may not have been told.

mod driver;
mod effects;
mod held_back;
mod job;
mod moving;
mod pass;
mod rebuild;
mod report;
mod run;
mod selection;
mod told;
mod uptake;
mod window;
mod written;

pub use driver::{Driven, Driver, News};
pub use effects::{Effects, Part, Taken};
pub use held_back::HeldBack;
pub use job::{Mode, Progress, Request, UnreadableJob};
pub use moving::{Move, MoveError, Moved};
pub use pass::{Pass, ReplayError, Way};
pub use rebuild::{HalfRebuilt, RebuildRefused, commit_rebuilt, must_be_whole, rebuild_window};
pub use report::{Change, Line, Report, Row};
pub use run::{RESUMABLE, Run, RunStep, new_job};
pub use selection::{OutcomeFilter, Selection};
pub use told::ToldError;
pub use uptake::Uptake;
pub use window::{Bound, Resolved, Shortened, Span, Window, WindowError};
pub use written::{Running, Written};
