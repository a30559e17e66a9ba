//! The role of the worker in a process: its lanes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::account::Policy;
use crate::dead_letters::Redriver;
use crate::queue::{Queue, Topic};
use crate::replay::{Selection, Uptake, must_be_whole};
use crate::settings::{QueueKind, Settings};
use crate::telemetry::Metrics;
use crate::worker::{Lane, LaneError};

use super::attendants::Attendants;
use super::failed_task;
use super::ports::Ports;
use super::store::AnyStore;
use crate::cli::{options, unavailable};

/// How long what is under way beside the lanes is still waited for; what is not noted is done again.
const END_TIME: Duration = Duration::from_secs(3);

/// The lanes while they run, and what runs beside them.
pub(super) struct WorkerPart {
    lanes: JoinSet<Result<(), LaneError>>,
    attendants: Attendants,
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
        must_be_whole(store).await.map_err(unavailable)?;
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
        let attendants = Self::attendants(settings, ports, store, policy, &stop);
        Ok(Self { lanes, attendants, stop })
    }

    /// What runs beside the lanes.
    fn attendants(
        settings: &Settings,
        ports: &Ports,
        store: &AnyStore,
        policy: &Arc<Policy>,
        stop: &CancellationToken,
    ) -> Attendants {
        let (generation, limits) = (options::generation(settings), options::reading(settings));
        let redriver = Redriver::new(ports.queue.clone(), store.clone(), generation, limits);
        let mut attendants = Attendants::default();
        attendants.start("putting dead letters back", END_TIME, redriver.run(stop.clone()));
        // Where any process can run a job, the one that asks for it does.
        if settings.queue.kind == QueueKind::Sqlite {
            let way = options::replay_way(settings, policy, store, Selection::default());
            let prefix = settings.events.type_prefix.clone();
            let uptake = Uptake::new(ports.queue.clone(), way, prefix);
            attendants.start("running replays", END_TIME, uptake.run(stop.clone()));
        }
        attendants
    }

    /// Waits until a lane ends, or what runs beside them: none does by itself.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = self.lanes.join_next() => failed_lane(ended),
            failed = self.attendants.failed() => failed.context("the worker stopped"),
        }
    }

    /// Has the lanes finish and commit.
    pub(super) async fn drain(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.attendants.end().await;
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
