//! The role of the worker in a process: its lanes.

use std::sync::Arc;

use anyhow::anyhow;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::account::Policy;
use crate::queue::{Queue, Topic};
use crate::settings::Settings;
use crate::telemetry::Metrics;
use crate::worker::{Lane, LaneError};

use super::failed_task;
use super::ports::Ports;
use crate::cli::options;

/// The lanes while they run.
pub(super) struct WorkerPart {
    lanes: JoinSet<Result<(), LaneError>>,
    stop: CancellationToken,
}

impl WorkerPart {
    pub(super) async fn start(
        settings: &Settings,
        ports: &Ports,
        policy: &Arc<Policy>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let store = ports.store.as_ref().ok_or_else(|| anyhow!("a worker needs a store"))?;
        let stop = CancellationToken::new();
        let group = options::worker_group(&settings.queue);
        let mut lanes = JoinSet::new();
        for number in 0..settings.worker.lanes {
            let lane = Lane::new(
                number,
                ports.queue.clone(),
                ports.queue.subscribe(Topic::Submitted, group).await?,
                store.clone(),
                Arc::clone(policy),
                options::lane(settings),
                metrics.clone(),
            );
            lanes.spawn(lane.run(stop.clone()));
        }
        Ok(Self { lanes, stop })
    }

    /// Waits until a lane ends, which none does by itself.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        failed_lane(self.lanes.join_next().await)
    }

    /// Has the lanes finish and commit.
    pub(super) async fn drain(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut drained = Ok(());
        while let Some(ended) = self.lanes.join_next().await {
            if !matches!(ended, Ok(Ok(()))) {
                drained = Err(failed_lane(Some(ended)));
            }
        }
        drained
    }
}

fn failed_lane(ended: Option<Result<Result<(), LaneError>, JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => anyhow::Error::from(error).context("a worker lane stopped"),
        Some(Err(_)) => failed_task("a worker lane", true),
        Some(Ok(Ok(()))) | None => failed_task("a worker lane", false),
    }
}
