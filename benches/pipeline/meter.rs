//! What a phase costs: processor time of roles and servers, and time that passes.

use std::time::{Duration, Instant};

use crate::servers::Servers;
use crate::support::process::Role;

/// Processor time of roles and servers since a moment.
pub(crate) struct Meter<'a> {
    servers: &'a Servers,
    roles: &'a [&'a Role],
    at_start: Vec<Duration>,
    started: Instant,
}

/// What a meter has seen, in microseconds an item.
pub(crate) struct Cost {
    pub(crate) roles: Vec<f64>,
    pub(crate) kafka: f64,
    pub(crate) postgres: f64,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(servers: &'a Servers, roles: &'a [&'a Role]) -> Self {
        let at_start = read(servers, roles);
        Self { servers, roles, at_start, started: Instant::now() }
    }

    /// The time since it was started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What was used since it was started.
    pub(crate) fn stop(&self, items: u64) -> Cost {
        let now = read(self.servers, self.roles);
        let mut costs: Vec<f64> = now
            .iter()
            .zip(&self.at_start)
            .map(|(now, then)| us_per_item(now.saturating_sub(*then), items))
            .collect();
        let roles = costs.split_off(2);
        Cost { roles, kafka: costs[0], postgres: costs[1] }
    }
}

fn read(servers: &Servers, roles: &[&Role]) -> Vec<Duration> {
    let servers = [servers.kafka_cpu(), servers.postgres_cpu()];
    servers.into_iter().chain(roles.iter().map(|role| role.usage().cpu)).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a quotient")]
pub(crate) fn us_per_item(cpu: Duration, items: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / items as f64
}
