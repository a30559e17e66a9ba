//! The role of callbacks in a process: its deliverer.

use std::time::Duration;

use anyhow::anyhow;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::account::Generation;
use crate::callbacks::{Ambient, Deliverer, DelivererError, Housekeeper, operator_webhook};
use crate::queue::{Queue, Topic};
use crate::settings::CallbackSettings;
use crate::telemetry::Metrics;

use super::attendants::Attendants;
use super::failed_task;
use super::ports::Ports;
use super::renewal::{Contents, Renewal};
use crate::cli::callback_options;

/// The consumer group of deliverers.
pub(in crate::cli) const GROUP: &str = "penstock-callbacks";

/// How long operators are still told of what was seen before the end.
const REPORT_TIME: Duration = Duration::from_secs(3);
/// How long the others are still told that this process is gone.
const HOUSEKEEPING_TIME: Duration = Duration::from_secs(1);

/// The deliverer while it runs.
pub(super) struct CallbacksPart {
    deliverer: JoinHandle<Result<(), DelivererError>>,
    /// They end after the deliverer.
    attendants: Attendants,
    stop: CancellationToken,
}

impl CallbacksPart {
    pub(super) async fn start(
        settings: &CallbackSettings,
        (type_prefix, generation): (&str, Generation),
        ports: &Ports,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let store = ports.store.as_ref().ok_or_else(|| anyhow!("callbacks need a store"))?;
        let used = Contents::of(settings);
        let (endpoints, sender) = callback_options::endpoints(settings)?;
        let operator = callback_options::operator(settings)?;
        let renewal =
            Renewal::new(settings.clone(), used, endpoints.clone(), sender.clone(), operator.clone());
        let housekeeper = Housekeeper::new(
            store.clone(),
            endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
            callback_options::housekeeping(settings),
            Ambient::system(),
            metrics.clone(),
        );
        let mut deliverer = Deliverer::new(
            ports.queue.clone(),
            ports.queue.subscribe(Topic::Results, GROUP).await?,
            store.clone(),
            sender,
            endpoints,
            callback_options::deliverer(settings, generation),
            Ambient::system(),
            metrics.clone(),
        )
        .sharing_with(housekeeper.processes());
        let stop = CancellationToken::new();
        let reporter = operator.map(|(endpoint, sender)| {
            let (ambient, metrics) = (Ambient::system(), metrics.clone());
            operator_webhook(endpoint, type_prefix, sender, ambient, metrics)
        });
        let mut attendants = Attendants::default();
        if let Some((reports, reporter)) = reporter {
            deliverer = deliverer.with_reports(reports);
            attendants.start("telling operators", REPORT_TIME, reporter.run(stop.clone()));
        }
        attendants.start("housekeeping", HOUSEKEEPING_TIME, housekeeper.run(stop.clone()));
        attendants.start("reading keys anew", Duration::ZERO, renewal.run(stop.clone()));
        Ok(Self { deliverer: tokio::spawn(deliverer.run(stop.clone())), attendants, stop })
    }

    /// Waits until it ends, which it does not by itself.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            ended = &mut self.deliverer => ended,
            failed = self.attendants.failed() => return failed.context("callbacks stopped"),
        };
        match ended {
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
        let ended = match self.deliverer.await {
            Ok(ended) => ended.map_err(anyhow::Error::from),
            Err(_) => Err(failed_task("callbacks", true)),
        };
        self.attendants.end().await;
        ended
    }
}
