//! Clients of one member, one after the other: a spent one is replaced by one of the same make.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;

use super::super::client::Observing;
use super::membership::{GroupClient, Membership};
use super::signal::Signal;

/// What the member's clients are made of.
pub(super) struct Blueprint {
    pub(super) config: ClientConfig,
    pub(super) topic: String,
    pub(super) name: String,
    pub(super) observing: Observing,
    pub(super) signal: Arc<Signal>,
}

impl Blueprint {
    /// A client that joins the group in the background.
    pub(super) fn build(&self) -> KafkaResult<Arc<GroupClient>> {
        let context = self.observing.context(&self.name, Membership::default());
        let mut client: GroupClient = self.config.create_with_context(context)?;
        let raised = Arc::clone(&self.signal);
        client.set_nonempty_callback(move || raised.raise());
        client.subscribe(&[&self.topic])?;
        Ok(Arc::new(client))
    }

    /// Whether the member stays in its group while it is away.
    pub(super) fn is_static(&self) -> bool {
        self.config.get("group.instance.id").is_some()
    }
}

/// The client the member has now.
pub(super) struct Current(Mutex<Arc<GroupClient>>);

impl Current {
    pub(super) fn new(client: Arc<GroupClient>) -> Self {
        Self(Mutex::new(client))
    }

    pub(super) fn get(&self) -> Arc<GroupClient> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, client: Arc<GroupClient>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}
