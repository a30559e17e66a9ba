//! What becomes of a part of the log once it is decided anew.

use std::future::Future;

use crate::account::{Offset, Partition, Redecision, Submission, View};
use crate::store::Wanted;
use crate::worker::Item;

use super::pass::ReplayError;
use super::report::Report;

/// A part that is decided.
pub struct Part<'a> {
    /// The records that are meant, with the submissions they are.
    pub(super) meant: &'a [(&'a Item, Submission)],
    /// What was decided of them, in their order.
    pub(super) redecision: &'a Redecision,
    /// The offset after the part, per partition.
    pub(super) through: &'a [(Partition, Offset)],
    /// What there is to report, the part included.
    pub(super) report: &'a Report,
}

/// Whether a part was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a part that was not taken is to be decided again"]
pub enum Taken {
    /// It was.
    Yes,
    /// The store has moved on since it showed what the part was decided on.
    Stale,
}

/// What a way through the log does with what it decides.
pub trait Effects: Send {
    /// Has a view show what the store would, if everything that was taken were written.
    fn lay_over(&self, wanted: &Wanted, view: &mut View);

    /// Takes a part.
    fn take(&mut self, part: &Part<'_>) -> impl Future<Output = Result<Taken, ReplayError>> + Send;
}
