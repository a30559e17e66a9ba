//! A process with some of the roles, from start to stop.
//!
//! Stopping goes in the direction of the data: readiness turns red, the intake stops accepting and
//! finishes what it took, the lanes and then callbacks finish and commit, then queue and store are closed. All of it within
//! the drain's time.

mod admin;
mod attendants;
mod callbacks;
mod cases;
mod deliveries;
mod directory;
mod files;
mod intake;
mod operations;
mod ports;
mod queue;
mod renewal;
mod replays;
mod scans;
mod store;
mod worker;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::account::Policy;
use crate::settings::{CallbackSettings, EndpointSettings, Settings};
use crate::telemetry::{Exporter, Metrics, Readiness, Telemetry, check};

use super::signals::stop_on_signal;
use super::version::Version;
use super::{Exit, Unavailable, options, unavailable};
use admin::AdminPart;
use callbacks::CallbacksPart;
pub(super) use callbacks::GROUP as CALLBACKS_GROUP;
pub(super) use files::raise_limit;
use intake::IntakePart;
use ports::Ports;
pub(super) use queue::AnyQueue;
pub(super) use store::AnyStore;
use worker::WorkerPart;

/// How long whatever still blocks a thread may hold up the end of the process.
const RUNTIME_SHUTDOWN: Duration = Duration::from_secs(1);

/// How long the last lines of the log and the last message may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How long work may take without a sign of it: longer than any statement, publishing or pause by default.
const LONGEST_STANDSTILL: Duration = Duration::from_mins(2);

/// What a process does of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Takes batches in over HTTP.
    Intake,
    /// Decides, persists and tells outcomes.
    Worker,
    /// Brings result events to endpoints.
    Callbacks,
}

impl Role {
    /// Its name, as the command line has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Worker => "worker",
            Self::Callbacks => "callbacks",
        }
    }
}

/// Where a process that serves can be reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// Clients; none without an intake.
    pub(super) intake: Option<SocketAddr>,
    /// Probes and metrics.
    pub(super) admin: SocketAddr,
}

impl Addresses {
    fn log(self, roles: &[Role]) {
        let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
        tracing::info!(
            roles = roles.join(","),
            version = Version::current().number,
            intake = self.intake.map(tracing::field::display),
            admin = %self.admin,
            "serving"
        );
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(intake) = self.intake {
            writeln!(f, "  url    http://{intake}")?;
            writeln!(f, "  docs   http://{intake}/docs")?;
        }
        writeln!(f, "  admin  http://{} (/healthz, /readyz, /metrics)", self.admin)
    }
}

/// A receiver of callbacks that a process has itself, on its admin listener.
pub(super) struct OwnReceiver {
    /// Its paths.
    pub(super) routes: Router,
    /// The endpoint that sends to it, given where the admin listener is.
    pub(super) endpoint: Box<dyn FnOnce(SocketAddr) -> EndpointSettings + Send>,
}

/// Runs a process with these roles until it is asked to stop or a part of it ends on its own. Calls
/// `serving` once everything is up.
pub(super) fn run(
    roles: &[Role],
    settings: &Settings,
    policy: Policy,
    own: Option<OwnReceiver>,
    serving: impl FnOnce(Addresses),
) -> anyhow::Result<Exit> {
    let telemetry = Telemetry::start(options::telemetry(roles, &settings.telemetry))?;
    let serves_clients = roles.contains(&Role::Intake);
    files::raise_limit(serves_clients.then_some(settings.intake.max_connections));
    let exporter = telemetry.exporter().clone();
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let ended = runtime.block_on(async {
        let stop = stop_on_signal(longest_stop(settings)).context("listening for signals")?;
        let started =
            stop.run_until_cancelled(Process::start(roles, settings, policy, own, exporter)).await;
        let Some(process) = started.transpose()? else { return Ok(()) };
        process.addresses.log(roles);
        serving(process.addresses);
        process.run(stop, settings.shutdown.drain_timeout.duration()).await
    });
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    telemetry.shutdown();
    ended.map(|()| Exit::Ok)
}

/// How long everything together may take from the signal to the end: more is not to be waited for.
fn longest_stop(settings: &Settings) -> Duration {
    let is_exporting = !settings.telemetry.otlp.endpoint.is_empty();
    let export = if is_exporting { settings.telemetry.otlp.timeout.duration() } else { Duration::ZERO };
    settings.shutdown.drain_timeout.duration() + RUNTIME_SHUTDOWN + export + LAST_WORDS
}

/// Does something at the queue and the store that the settings name. Embedded ones must be in no other
/// process.
pub(super) async fn at_ports<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&AnyQueue, &AnyStore) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let ports = Ports::open(settings, &[Role::Worker], &Metrics::disabled()).await?;
    let done = match &ports.store {
        Some(store) => work(&ports.queue, store).await,
        None => Err(anyhow!("a worker needs a store")),
    };
    ports.close().await;
    done
}

/// Reads at the queue and the store that the settings name, beside the processes that have them.
pub(super) async fn beside_ports<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&AnyQueue, &AnyStore) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let queue = AnyQueue::open_beside(settings).await.map_err(unavailable)?;
    let store = AnyStore::open_beside(settings).await.map_err(unavailable)?;
    let done = work(&queue, &store).await;
    queue.close().await;
    store.close().await;
    done
}

/// Does something at the store that the settings name, beside the processes that have it.
pub(super) async fn beside_store<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&AnyStore) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let store = AnyStore::open_beside(settings).await.map_err(unavailable)?;
    let done = work(&store).await;
    store.close().await;
    done
}

/// Everything that runs.
struct Process {
    addresses: Addresses,
    intake: Option<IntakePart>,
    worker: Option<WorkerPart>,
    callbacks: Option<CallbacksPart>,
    admin: AdminPart,
    readiness: Readiness,
    // Last, so that a data directory is ours until everything in it is closed.
    ports: Ports,
}

impl Process {
    /// Opens the listeners and the ports, then starts the roles.
    async fn start(
        roles: &[Role],
        settings: &Settings,
        policy: Policy,
        own: Option<OwnReceiver>,
        exporter: Exporter,
    ) -> anyhow::Result<Self> {
        let metrics = exporter.metrics();
        let intake_listener = if roles.contains(&Role::Intake) {
            Some(bind(settings.intake.listen, "intake.listen", "--listen").await?)
        } else {
            None
        };
        let admin_listener = bind(settings.admin.listen, "admin.listen", "--admin-listen").await?;
        let ports = Ports::open(settings, roles, &metrics).await?;
        let policy = Arc::new(policy);
        let intake = match intake_listener {
            Some(listener) => {
                Some(IntakePart::start(listener, settings, &ports, &policy, &metrics).await?)
            }
            None => None,
        };
        let worker = if roles.contains(&Role::Worker) {
            Some(WorkerPart::start(settings, &ports, &policy, &metrics).await?)
        } else {
            None
        };
        let (admin_paths, endpoints) = with_own(settings, own, admin_listener.local_addr()?);
        let callbacks = if roles.contains(&Role::Callbacks) {
            let topic = (settings.events.type_prefix.as_str(), options::generation(settings));
            Some(CallbacksPart::start(&endpoints, topic, &ports, &metrics).await?)
        } else {
            None
        };
        let needs_ports = worker.is_some() || callbacks.is_some();
        let mut port_checks = if needs_ports { ports.checks() } else { Vec::new() };
        if needs_ports {
            port_checks.push(("progress", check(metrics, |metrics| async move { progress(&metrics) })));
        }
        let checks = intake.iter().map(IntakePart::check).chain(port_checks);
        let readiness = Readiness::new(checks.collect());
        let admin = AdminPart::start(admin_listener, readiness.clone(), exporter, admin_paths)?;
        let addresses =
            Addresses { intake: intake.as_ref().map(IntakePart::address), admin: admin.address() };
        Ok(Self { addresses, intake, worker, callbacks, admin, readiness, ports })
    }

    /// Runs until `stop` or until a part ends on its own, then drains within `limit`. An error when a
    /// part failed or the time was not enough.
    async fn run(mut self, stop: CancellationToken, limit: Duration) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            error = ended(self.worker.as_mut().map(WorkerPart::failed)) => Err(error),
            error = ended(self.callbacks.as_mut().map(CallbacksPart::failed)) => Err(error),
            error = ended(self.intake.as_mut().map(IntakePart::failed)) => Err(error),
            error = self.admin.failed() => Err(error),
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

    async fn drain(self, limit: Duration) -> anyhow::Result<()> {
        self.readiness.drain();
        let intake = match self.intake {
            Some(intake) => intake.drain(limit / 4).await,
            None => Ok(()),
        };
        let worker = match self.worker {
            Some(worker) => worker.drain().await,
            None => Ok(()),
        };
        let callbacks = match self.callbacks {
            Some(callbacks) => callbacks.drain().await,
            None => Ok(()),
        };
        self.ports.close().await;
        self.admin.stop();
        intake?;
        tracing::info!("stopped: everything is closed");
        worker.and(callbacks)
    }
}

/// Something stands still although there is work: the log says why, and if it does not, restart.
#[derive(Debug, thiserror::Error)]
#[error(
    "{of} has got nothing done for {} s although there is work; the log says why, and if it does not, restart \
     the process",
    still_for.as_secs()
)]
struct StandsStill {
    of: String,
    still_for: Duration,
}

/// Whether the lanes and deliverers get on.
fn progress(metrics: &Metrics) -> Result<(), StandsStill> {
    match metrics.missed(LONGEST_STANDSTILL) {
        Some((of, still_for)) => Err(StandsStill { of, still_for }),
        None => Ok(()),
    }
}

/// The paths of the process's own receiver, and the settings of callbacks with its endpoint.
fn with_own(
    settings: &Settings,
    own: Option<OwnReceiver>,
    admin: SocketAddr,
) -> (Router, CallbackSettings) {
    let mut callbacks = settings.callbacks.clone();
    let routes = own.map(|own| {
        callbacks.endpoints.push((own.endpoint)(admin));
        own.routes
    });
    (routes.unwrap_or_default(), callbacks)
}

/// Waits for a part's end; for ever when there is no such part.
async fn ended(part: Option<impl Future<Output = anyhow::Error>>) -> anyhow::Error {
    match part {
        Some(part) => part.await,
        None => std::future::pending().await,
    }
}

async fn bind(address: SocketAddr, setting: &str, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
            _ => error.to_string(),
        };
        Unavailable(format!(
            "cannot listen on {address}: {what}; choose another address with {option} or {setting}"
        ))
        .into()
    })
}

/// A panic's own words may quote data, so only its being one is told; the log has its place.
fn failed_task(part: &str, panicked: bool) -> anyhow::Error {
    if panicked {
        anyhow!("{part} failed by a bug; the log says where")
    } else {
        anyhow!("{part} ended on its own")
    }
}
