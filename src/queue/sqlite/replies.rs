//! Replies between the roles of one process. Nothing of them is stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::queue::{Reply, ReplyAddress, ReplyInbox};

/// Deliveries an inbox holds; what comes while it is full is lost.
const INBOX_DELIVERIES: usize = 1024;

/// The open inboxes.
#[derive(Debug, Default)]
pub(super) struct Replies {
    inboxes: Mutex<HashMap<u32, mpsc::Sender<Vec<Reply>>>>,
    last_address: AtomicU32,
}

impl Replies {
    pub(super) fn open(self: &Arc<Self>) -> SqliteInbox {
        let address = ReplyAddress(self.last_address.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        let (sender, receiver) = mpsc::channel(INBOX_DELIVERIES);
        self.lock().insert(address.0, sender);
        SqliteInbox { address, receiver, replies: Arc::clone(self) }
    }

    pub(super) fn send(&self, to: ReplyAddress, replies: Vec<Reply>) {
        if replies.is_empty() {
            return;
        }
        if let Some(inbox) = self.lock().get(&to.0) {
            // Full: the intake is behind and its clients' waits will run out.
            let _ = inbox.try_send(replies);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, mpsc::Sender<Vec<Reply>>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An inbox within this process; it is closed by dropping it.
#[derive(Debug)]
pub struct SqliteInbox {
    address: ReplyAddress,
    receiver: mpsc::Receiver<Vec<Reply>>,
    replies: Arc<Replies>,
}

impl ReplyInbox for SqliteInbox {
    fn address(&self) -> ReplyAddress {
        self.address
    }

    async fn receive(&mut self) -> Vec<Reply> {
        match self.receiver.recv().await {
            Some(replies) => replies,
            None => std::future::pending().await,
        }
    }
}

impl Drop for SqliteInbox {
    fn drop(&mut self) {
        self.replies.lock().remove(&self.address.0);
    }
}
