//! Commits offsets beside everything else: a coordinator that is away holds up no batch.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::account::{Offset, Partition};
use crate::queue::QueueError;

/// Offsets, each the next one to read.
pub(super) type Offsets = Vec<(Partition, Offset)>;

/// How it stands with the commit that was begun last.
enum Stage {
    /// It has ended, and what came of it is known: since when, if there was one.
    Resting { since: Option<Instant> },
    /// It is on its way.
    UnderWay { offsets: Offsets, committed: BoxFuture<'static, Result<(), QueueError>> },
    /// It has ended, which nobody knows yet.
    Ended { offsets: Offsets, result: Result<(), QueueError> },
}

/// One commit at a time.
pub(super) struct Committer(Stage);

impl Committer {
    pub(super) fn new() -> Self {
        Self(Stage::Resting { since: None })
    }

    /// Whether a commit may begin that is to begin at once.
    pub(super) fn is_resting(&self) -> bool {
        matches!(self.0, Stage::Resting { .. })
    }

    /// Whether a commit may begin, `interval` after the end of the one before.
    pub(super) fn is_due(&self, interval: Duration, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= interval;
        matches!(self.0, Stage::Resting { since } if since.is_none_or(is_over))
    }

    /// Begins a commit, when none is under way.
    pub(super) fn begin(
        &mut self,
        offsets: Offsets,
        commit: impl Future<Output = Result<(), QueueError>> + Send + 'static,
    ) {
        if self.is_resting() {
            self.0 = Stage::UnderWay { offsets, committed: Box::pin(commit) };
        }
    }

    /// Goes on with the commit under way, if there is one, and wakes `context` when it can go further.
    pub(super) fn advance(&mut self, context: &mut Context<'_>) {
        if let Stage::UnderWay { offsets, committed } = &mut self.0
            && let Poll::Ready(result) = committed.poll_unpin(context)
        {
            self.0 = Stage::Ended { offsets: std::mem::take(offsets), result };
        }
    }

    /// Waits until no commit is under way.
    pub(super) async fn settle(&mut self) {
        poll_fn(|context| {
            self.advance(context);
            if matches!(self.0, Stage::UnderWay { .. }) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// The commit that has ended, and what came of it; known from `now` on.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Offsets, Result<(), QueueError>)> {
        match std::mem::replace(&mut self.0, Stage::Resting { since: Some(now) }) {
            Stage::Ended { offsets, result } => Some((offsets, result)),
            stage => {
                self.0 = stage;
                None
            }
        }
    }
}
