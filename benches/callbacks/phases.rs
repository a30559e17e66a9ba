//! The phases of one repeat: deliveries from a full topic, one event a request and many, and a backlog
//! that is parked and drained.

use std::time::Duration;

use penstock::callbacks::signature::SigningKey;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnection;
use standardwebhooks::Webhook;

use crate::figures::Delivered;
use crate::installation::Installation;
use crate::meter::{Cost, Meter};
use crate::receiver::{Receiver, Sample};
use crate::results;
use crate::servers::Servers;
use crate::support::process::Role;

/// Callbacks join their group within this time, and never stand still for so long afterwards.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often the store is asked how far they are.
const PAUSE: Duration = Duration::from_millis(100);

/// How the endpoint is set; everything else is as by default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    pub(crate) batch: usize,
    pub(crate) is_ordered: bool,
    pub(crate) concurrency: usize,
}

fn key() -> SigningKey {
    SigningKey::symmetric([7; 32])
}

impl Endpoint {
    fn settings(self, receiver: &Receiver) -> String {
        let Self { batch, is_ordered, concurrency } = self;
        format!(
            r#"[callbacks]
allow_networks = ["127.0.0.0/8"]
# A receiver that fails is noticed at once, and asked again soon.
breaker_failing_for = "0s"
breaker_probe_interval = "1s"
breaker_max_probe_interval = "1s"
retry_schedule = ["1s", "1s", "1s", "1s", "1s"]
[[callbacks.endpoints]]
name = "receiver"
url = "http://{}/events"
allow_http = true
secrets = ["{}"]
deliver_from = "beginning"
batch = {batch}
ordered = {is_ordered}
concurrency = {concurrency}
"#,
            receiver.address,
            key().secret_text(),
        )
    }
}

/// Delivers a topic of `events`; also a request as it arrived.
pub(crate) async fn deliver(
    servers: &Servers,
    installation: &Installation,
    endpoint: Endpoint,
    events: u64,
) -> (Delivered, Sample) {
    let receiver = Receiver::start();
    installation.add_settings(&endpoint.settings(&receiver));
    results::fill(installation, events).await;
    servers.settle().await;
    let callbacks = installation.callbacks();
    receiver.wait_for(1, PATIENCE);
    let roles = [&callbacks];
    let meter = Meter::start(servers, &roles);
    receiver.wait_for(events, PATIENCE);
    let delivered = delivered(&meter.stop(events), &callbacks, events, receiver.span());
    let sample = receiver.sample();
    verify(&sample);
    callbacks.stop();
    let recorded = count(&mut connect(installation).await, "delivered").await;
    assert_eq!((recorded, receiver.events()), (events, events), "recorded and received");
    (delivered, sample)
}

/// Parks a topic of `events` at a receiver that fails, then lets it work: how fast both goes.
pub(crate) async fn park_and_drain(
    servers: &Servers,
    installation: &Installation,
    endpoint: Endpoint,
    events: u64,
) -> (Delivered, Delivered) {
    let receiver = Receiver::start();
    receiver.refuse(true);
    installation.add_settings(&endpoint.settings(&receiver));
    results::fill(installation, events).await;
    servers.settle().await;
    let mut store = connect(installation).await;
    let callbacks = installation.callbacks();
    let first = wait_until_parked(&mut store, 1).await;
    let roles = [&callbacks];
    let meter = Meter::start(servers, &roles);
    wait_until_parked(&mut store, events).await;
    let measured = events - first;
    let parking = delivered(&meter.stop(measured), &callbacks, measured, meter.elapsed());
    servers.settle().await;
    receiver.refuse(false);
    receiver.wait_for(1, PATIENCE);
    let meter = Meter::start(servers, &roles);
    receiver.wait_for(events, PATIENCE);
    let backlog = delivered(&meter.stop(events), &callbacks, events, receiver.span());
    callbacks.stop();
    assert_eq!(count(&mut store, "delivered").await, events, "recorded");
    (parking, backlog)
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn delivered(cost: &Cost, callbacks: &Role, events: u64, span: Duration) -> Delivered {
    Delivered {
        events_per_second: events as f64 / span.as_secs_f64(),
        callbacks_cpu_us: cost.roles[0],
        kafka_cpu_us: cost.kafka,
        postgres_cpu_us: cost.postgres,
        peak_resident_mib: callbacks.usage().peak_resident_mib,
    }
}

/// What is measured is what a receiver accepts.
fn verify(sample: &Sample) {
    let headers = sample.headers.iter();
    let headers: axum::http::HeaderMap = headers
        .map(|(name, value)| (axum::http::HeaderName::try_from(name).unwrap(), value.parse().unwrap()))
        .collect();
    Webhook::new(&key().secret_text()).unwrap().verify(&sample.body, &headers).unwrap();
}

async fn connect(installation: &Installation) -> PgConnection {
    installation.database().clone().disable_statement_logging().connect().await.unwrap()
}

async fn wait_until_parked(store: &mut PgConnection, events: u64) -> u64 {
    loop {
        let parked = count(store, "parked").await;
        if parked >= events {
            return parked;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn count(store: &mut PgConnection, state: &str) -> u64 {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries WHERE state = $1")
        .bind(state)
        .fetch_one(store)
        .await
        .unwrap();
    u64::try_from(count).unwrap()
}
