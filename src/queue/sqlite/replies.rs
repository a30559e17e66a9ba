//! Replies between the roles of one process. Nothing of them is stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::queue::{ChannelInbox, InboxSender, Reply, ReplyAddress};

/// The open inboxes, and those that were closed since the last one was opened.
#[derive(Debug, Default)]
pub(super) struct Replies {
    inboxes: Mutex<HashMap<u32, InboxSender>>,
    last_address: AtomicU32,
}

impl Replies {
    pub(super) fn open(&self) -> ChannelInbox {
        let address = ReplyAddress(self.last_address.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        let (sender, inbox) = ChannelInbox::open(address);
        let mut inboxes = self.lock();
        inboxes.retain(|_, known| !known.is_closed());
        inboxes.insert(address.0, sender);
        inbox
    }

    pub(super) fn send(&self, to: ReplyAddress, replies: Vec<Reply>) {
        if let Some(inbox) = self.lock().get(&to.0) {
            inbox.send(replies);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, InboxSender>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
