//! The role of callbacks in a process: its deliverer.

use anyhow::anyhow;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::callbacks::{Ambient, Deliverer, DelivererError};
use crate::queue::{Queue, Topic};
use crate::settings::Settings;
use crate::telemetry::Metrics;

use super::failed_task;
use super::ports::Ports;
use crate::cli::callback_options;

/// The consumer group of deliverers.
const GROUP: &str = "penstock-callbacks";

/// The deliverer while it runs.
pub(super) struct CallbacksPart {
    deliverer: JoinHandle<Result<(), DelivererError>>,
    stop: CancellationToken,
}

impl CallbacksPart {
    pub(super) async fn start(
        settings: &Settings,
        ports: &Ports,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let store = ports.store.as_ref().ok_or_else(|| anyhow!("callbacks need a store"))?;
        let (endpoints, sender) = callback_options::endpoints(&settings.callbacks)?;
        let deliverer = Deliverer::new(
            ports.queue.clone(),
            ports.queue.subscribe(Topic::Results, GROUP).await?,
            store.clone(),
            sender,
            endpoints,
            callback_options::deliverer(&settings.callbacks),
            Ambient::system(),
            metrics.clone(),
        );
        let stop = CancellationToken::new();
        Ok(Self { deliverer: tokio::spawn(deliverer.run(stop.clone())), stop })
    }

    /// Waits until it ends, which it does not by itself.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.deliverer).await {
            Ok(Err(error)) => anyhow::Error::from(error).context("callbacks stopped"),
            ended => failed_task("callbacks", ended.is_err()),
        }
    }

    /// Has it record what is under way and commit.
    pub(super) async fn drain(self) -> anyhow::Result<()> {
        self.stop.cancel();
        if self.deliverer.is_finished() {
            return Ok(());
        }
        match self.deliverer.await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(failed_task("callbacks", true)),
        }
    }
}
