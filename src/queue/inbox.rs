//! An inbox that replies reach over a channel within this process.

use std::future::pending;

use tokio::sync::mpsc;

use super::{Reply, ReplyAddress, ReplyInbox};

/// Deliveries an inbox holds; what comes while it is full is lost.
const MAX_DELIVERIES: usize = 1024;

/// An inbox on a channel; it is closed by dropping it.
#[derive(Debug)]
pub struct ChannelInbox {
    address: ReplyAddress,
    deliveries: mpsc::Receiver<Vec<Reply>>,
}

/// Where deliveries to a [`ChannelInbox`] are put.
#[derive(Clone, Debug)]
pub struct InboxSender(mpsc::Sender<Vec<Reply>>);

impl ChannelInbox {
    /// Opens an inbox with an address, which its implementation must keep unique.
    pub fn open(address: ReplyAddress) -> (InboxSender, Self) {
        let (sender, deliveries) = mpsc::channel(MAX_DELIVERIES);
        (InboxSender(sender), Self { address, deliveries })
    }
}

impl InboxSender {
    /// Puts replies into the inbox. What finds it full is lost: the intake is behind and its clients'
    /// waits will run out.
    pub fn send(&self, replies: Vec<Reply>) {
        if !replies.is_empty() {
            let _ = self.0.try_send(replies);
        }
    }

    /// Whether the inbox is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl ReplyInbox for ChannelInbox {
    fn address(&self) -> ReplyAddress {
        self.address
    }

    async fn receive(&mut self) -> Vec<Reply> {
        match self.deliveries.recv().await {
            Some(replies) => replies,
            None => pending().await,
        }
    }
}
