//! The role of the intake in a process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::account::Policy;
use crate::intake::{self, Intake};
use crate::settings::Settings;
use crate::telemetry::{Check, Metrics, check};

use super::failed_task;
use super::ports::Ports;
use super::queue::AnyQueue;
use super::store::AnyStore;
use crate::cli::options;

/// The intake while it serves.
pub(super) struct IntakePart {
    intake: Intake<AnyQueue, AnyStore>,
    address: SocketAddr,
    server: JoinHandle<()>,
    stop: CancellationToken,
}

impl IntakePart {
    pub(super) async fn start(
        listener: TcpListener,
        settings: &Settings,
        ports: &Ports,
        policy: &Arc<Policy>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let intake = Intake::open(
            ports.queue.clone(),
            ports.store.clone(),
            options::intake(settings),
            options::authenticator(&settings.auth)?,
            Arc::clone(policy),
            metrics.clone(),
        )
        .await?;
        let stop = CancellationToken::new();
        let serving = intake::serve(listener, intake.router(), options::server(settings), stop.clone());
        Ok(Self { intake, address, server: tokio::spawn(serving), stop })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ready while batches can be accepted.
    pub(super) fn check(&self) -> (&'static str, Check) {
        ("intake", check(self.intake.clone(), |intake| async move { intake.ready().await }))
    }

    /// Waits until it ends, which it does not by itself.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = &mut self.server => failed_task("the intake", ended.is_err()),
            () = self.intake.deaf() => failed_task("the intake's reader of replies", true),
        }
    }

    /// Stops accepting and finishes what was taken; what is not acknowledged within `limit` after the
    /// last answer is cut off.
    pub(super) async fn drain(self, limit: Duration) -> anyhow::Result<()> {
        self.intake.begin_drain();
        self.stop.cancel();
        let served = if self.server.is_finished() { Ok(()) } else { self.server.await };
        let settled = self.intake.drain(limit).await;
        served.context("the intake")?;
        if settled {
            Ok(())
        } else {
            Err(anyhow!("requests were cut off: the queue did not acknowledge their batches in time"))
        }
    }
}
