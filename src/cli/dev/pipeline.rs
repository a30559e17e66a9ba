//! The parts of `dev` from start to stop.
//!
//! Stopping goes in the direction of the data: readiness turns red, the intake stops accepting and
//! finishes what it took, the lanes finish and commit, then the files are closed. All of it within
//! the drain's time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::account::Policy;
use crate::intake::{self, Intake};
use crate::queue::sqlite::SqliteQueue;
use crate::queue::{Queue, Topic};
use crate::settings::{QueueKind, Settings};
use crate::sqlite::DataDir;
use crate::telemetry::{Exporter, Metrics, Readiness, serve_admin, with_causes};
use crate::worker::{Lane, LaneError};

use crate::cli::store::AnyStore;
use crate::cli::version::Version;
use crate::cli::{Unavailable, options};

/// The consumer group of the lanes.
const WORKER_GROUP: &str = "penstock-worker";

/// Everything that runs.
pub(super) struct Pipeline {
    queue: SqliteQueue,
    store: AnyStore,
    intake: Intake<SqliteQueue, AnyStore>,
    intake_address: SocketAddr,
    server: JoinHandle<()>,
    stop_server: CancellationToken,
    lanes: JoinSet<Result<(), LaneError>>,
    stop_lanes: CancellationToken,
    admin_address: SocketAddr,
    admin: JoinHandle<io::Result<()>>,
    readiness: Readiness,
    exporter: Exporter,
    // Last, so that the directory is ours until everything in it is closed.
    _data_dir: DataDir,
}

impl Pipeline {
    /// Opens the files, then the listeners, then starts the roles.
    pub(super) async fn start(settings: &Settings, policy: Policy) -> anyhow::Result<Self> {
        let version = Version::current();
        let exporter = Exporter::start(version.number, version.git_sha.unwrap_or_default())?;
        let data_dir = DataDir::open(&settings.data_dir).map_err(unavailable)?;
        let listener = bind(settings.intake.listen, "--listen").await?;
        let admin_listener = bind(settings.admin.listen, "--admin-listen").await?;
        let (queue, store) = open_ports(settings, &data_dir).await?;

        let policy = Arc::new(policy);
        let intake = Intake::open(
            queue.clone(),
            Some(store.clone()),
            options::intake(settings),
            options::authenticator(&settings.auth)?,
            Arc::clone(&policy),
            exporter.metrics(),
        )
        .await?;
        let stop_lanes = CancellationToken::new();
        let lanes =
            start_lanes(settings, &queue, &store, &policy, &exporter.metrics(), &stop_lanes).await?;
        let readiness = readiness(&intake);
        let stop_server = CancellationToken::new();
        Ok(Self {
            intake_address: listener.local_addr()?,
            admin_address: admin_listener.local_addr()?,
            server: tokio::spawn(intake::serve(
                listener,
                intake.router(),
                options::server(settings),
                stop_server.clone(),
            )),
            admin: tokio::spawn(serve_admin(admin_listener, readiness.clone(), exporter.clone())),
            queue,
            store,
            intake,
            stop_server,
            lanes,
            stop_lanes,
            readiness,
            exporter,
            _data_dir: data_dir,
        })
    }

    /// Where clients reach the intake.
    pub(super) fn intake_address(&self) -> SocketAddr {
        self.intake_address
    }

    /// Where probes and metrics are.
    pub(super) fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Runs until `stop` or until a part ends on its own, then drains within `limit`. An error when a
    /// part failed or the time was not enough.
    pub(super) async fn run(mut self, stop: CancellationToken, limit: Duration) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.lanes.join_next() => Err(failed_lane(ended)),
            ended = &mut self.server => Err(failed_task("the intake", ended.is_err())),
            ended = &mut self.admin => Err(failed_task("the admin listener", ended.is_err())),
        };
        tracing::info!(
            limit_seconds = limit.as_secs(),
            "stopping: no new requests, finishing what was accepted"
        );
        let drained = tokio::time::timeout(limit, self.drain(limit)).await.unwrap_or_else(|_| {
            Err(anyhow!(
                "stopping took longer than shutdown.drain_timeout ({} s); what is in the queue is \
                 processed after the next start",
                limit.as_secs()
            ))
        });
        ended.and(drained)
    }

    async fn drain(mut self, limit: Duration) -> anyhow::Result<()> {
        self.readiness.drain();
        self.intake.begin_drain();
        self.stop_server.cancel();
        let served = if self.server.is_finished() { Ok(()) } else { self.server.await };
        let settled = self.intake.drain(limit / 4).await;
        self.stop_lanes.cancel();
        let mut lanes = Ok(());
        while let Some(ended) = self.lanes.join_next().await {
            if !matches!(ended, Ok(Ok(()))) {
                lanes = Err(failed_lane(Some(ended)));
            }
        }
        self.queue.close().await;
        self.store.close().await;
        self.admin.abort();
        self.exporter.shutdown().context("ending the metrics")?;
        served.context("the intake")?;
        if !settled {
            return Err(anyhow!(
                "requests were cut off: the queue did not acknowledge their batches in time"
            ));
        }
        tracing::info!("stopped: everything is closed");
        lanes
    }
}

async fn open_ports(settings: &Settings, data_dir: &DataDir) -> anyhow::Result<(SqliteQueue, AnyStore)> {
    let queue = match settings.queue.kind {
        QueueKind::Sqlite => {
            SqliteQueue::open(data_dir.queue_file(), options::queue(&settings.queue.sqlite)).await
        }
    };
    let store = AnyStore::open(&settings.store, data_dir).await;
    Ok((queue.map_err(unavailable)?, store.map_err(unavailable)?))
}

async fn start_lanes(
    settings: &Settings,
    queue: &SqliteQueue,
    store: &AnyStore,
    policy: &Arc<Policy>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> anyhow::Result<JoinSet<Result<(), LaneError>>> {
    let mut lanes = JoinSet::new();
    for number in 0..settings.worker.lanes {
        let lane = Lane::new(
            number,
            queue.clone(),
            queue.subscribe(Topic::Submitted, WORKER_GROUP).await?,
            store.clone(),
            Arc::clone(policy),
            options::lane(settings),
            metrics.clone(),
        );
        lanes.spawn(lane.run(stop.clone()));
    }
    Ok(lanes)
}

fn readiness(intake: &Intake<SqliteQueue, AnyStore>) -> Readiness {
    let intake = intake.clone();
    Readiness::new(vec![(
        "intake",
        Box::new(move || {
            let intake = intake.clone();
            Box::pin(
                async move { intake.ready().await.map_err(|error| with_causes(&error).to_string()) },
            )
        }),
    )])
}

async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
            _ => error.to_string(),
        };
        Unavailable(format!("cannot listen on {address}: {what}; choose another address with {option}"))
            .into()
    })
}

fn unavailable(error: impl Into<anyhow::Error>) -> anyhow::Error {
    Unavailable(format!("{:#}", error.into())).into()
}

fn failed_lane(ended: Option<Result<Result<(), LaneError>, JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => anyhow::Error::from(error).context("a worker lane stopped"),
        Some(Err(_)) => failed_task("a worker lane", true),
        Some(Ok(Ok(()))) | None => failed_task("a worker lane", false),
    }
}

/// A panic's own words may quote data, so only its being one is told; the log has its place.
fn failed_task(part: &str, panicked: bool) -> anyhow::Error {
    if panicked {
        anyhow!("{part} failed by a bug; the log says where")
    } else {
        anyhow!("{part} ended on its own")
    }
}
