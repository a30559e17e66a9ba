//! What goes on beside the lane's own work: telling what is persisted, and committing what is told.

use std::future::poll_fn;
use std::pin::pin;

use crate::queue::Queue;

use super::committer::Committer;
use super::emitter::{Emitted, Emitter};

pub(super) struct Outflow<Q: Queue> {
    pub(super) emitter: Emitter<Q>,
    pub(super) committer: Committer,
}

impl<Q: Queue> Outflow<Q> {
    pub(super) fn new(emitter: Emitter<Q>) -> Self {
        Self { emitter, committer: Committer::new() }
    }

    /// Does `work`, tells and commits meanwhile. What came of that is to be asked for.
    pub(super) async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            // The work comes first: what it asks others for, they do while records are handed over.
            let done = work.as_mut().poll(context);
            self.emitter.advance(context);
            self.committer.advance(context);
            done
        })
        .await
    }

    /// Waits for what comes of telling next; none at once when nothing is on its way.
    pub(super) async fn next(&mut self) -> Option<Emitted> {
        let Self { emitter, committer } = self;
        let mut next = pin!(emitter.next());
        poll_fn(|context| {
            committer.advance(context);
            next.as_mut().poll(context)
        })
        .await
    }
}
