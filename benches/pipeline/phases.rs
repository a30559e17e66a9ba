//! The phases of one repeat: the door, the drain of what came through it, and the whole way.

use std::time::Duration;

use crate::figures::{Door, Drain, EndToEnd};
use crate::installation::{Installation, TOKEN};
use crate::meter::{Meter, us_per_item};
use crate::servers::Servers;
use crate::support::load::Load;
use crate::support::process::Role;

/// A worker joins its group within this time, and never stands still for so long afterwards.
const PATIENCE: Duration = Duration::from_mins(1);

/// What makes each item a row of its own, so that the drain's floor has the same rows to write.
pub(crate) const NEW_ACCOUNTS: [&str; 8] =
    ["--invalid", "0", "--repeat", "0", "--conflict", "0", "--update", "0"];

/// Sends `items` new accounts to an intake that does not wait for outcomes.
pub(crate) fn door(
    servers: &Servers,
    installation: &Installation,
    items: u64,
    batch_size: u64,
    connections: u64,
) -> Door {
    let intake = installation.intake();
    let mut options = vec!["--respond-async"];
    options.extend(NEW_ACCOUNTS);
    let roles = [&intake];
    let meter = Meter::start(servers, &roles);
    let loaded = load(items, batch_size, connections, &options).run(intake.address("url"));
    let cost = meter.stop(items);
    let door = Door {
        items_per_second: loaded.items_per_second,
        intake_cpu_us: cost.roles[0],
        load_cpu_us: us_per_item(loaded.cpu, items),
        kafka_cpu_us: cost.kafka,
        intake_peak_resident_mib: intake.usage().peak_resident_mib,
    };
    intake.stop();
    door
}

/// Starts a worker on `items` new accounts and waits until the last one's event is acknowledged. What
/// it does before the first one's is not measured.
#[allow(clippy::cast_precision_loss, reason = "a rate")]
pub(crate) fn drain(servers: &Servers, installation: &Installation, items: u64) -> (Role, Drain) {
    let results = installation.topic("accounts.results");
    let worker = installation.worker();
    let first = results.grown_beyond(0, PATIENCE);
    let roles = [&worker];
    let meter = Meter::start(servers, &roles);
    let mut done = first;
    while done < items {
        done = results.grown_beyond(done, PATIENCE);
    }
    let measured = items - first;
    let rate = measured as f64 / meter.elapsed().as_secs_f64();
    let cost = meter.stop(measured);
    let drain = Drain {
        items_per_second: rate,
        worker_cpu_us: cost.roles[0],
        kafka_cpu_us: cost.kafka,
        postgres_cpu_us: cost.postgres,
        worker_peak_resident_mib: worker.usage().peak_resident_mib,
    };
    (worker, drain)
}

/// Sends items of every kind in batches of 100 and checks the outcome of each, at `rate` items per
/// second or as fast as goes.
pub(crate) fn end_to_end(
    servers: &Servers,
    roles: [&Role; 2],
    items: u64,
    connections: u64,
    rate: Option<f64>,
) -> EndToEnd {
    let rate = rate.map(|rate| format!("--rate={rate}"));
    let options: Vec<&str> = rate.iter().map(String::as_str).collect();
    let meter = Meter::start(servers, &roles);
    let loaded = load(items, 100, connections, &options).run(roles[0].address("url"));
    let cost = meter.stop(items);
    EndToEnd {
        items_per_second: loaded.items_per_second,
        latency_p50_ms: loaded.latency_p50_ms,
        latency_p99_ms: loaded.latency_p99_ms,
        intake_cpu_us: cost.roles[0],
        worker_cpu_us: cost.roles[1],
        load_cpu_us: us_per_item(loaded.cpu, items),
        kafka_cpu_us: cost.kafka,
        postgres_cpu_us: cost.postgres,
        intake_peak_resident_mib: roles[0].usage().peak_resident_mib,
        worker_peak_resident_mib: roles[1].usage().peak_resident_mib,
    }
}

/// Items of a load that knows the token.
pub(crate) fn load(items: u64, batch_size: u64, connections: u64, options: &[&str]) -> Load {
    let options = [&["--token", TOKEN], options].concat();
    let options = options.into_iter().map(str::to_owned).collect();
    Load { items, batch_size, connections, options }
}
