//! What every Kafka client of penstock has in common: its logs, statistics and tokens.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};

use crate::telemetry::{BrokerSample, KafkaClientMetrics, KafkaMetrics, Metrics, with_causes};

use super::security::Security;
use super::token;

/// Events a client that only asks is served at a time.
const MAX_EVENTS: usize = 100;
/// What every error of OpenSSL says.
const OPENSSL: &str = "SSL routines";

/// What a client does beside what all do.
pub(super) trait Role: Send + Sync {
    /// Takes what the client tells of itself.
    fn statistics(&self, _statistics: &Statistics) {}
}

impl Role for () {}

/// The context of a client.
pub(super) struct Context<R> {
    pub(super) role: R,
    pub(super) metrics: KafkaClientMetrics,
    token_file: Option<Arc<PathBuf>>,
    refusal: Mutex<Option<Refusal>>,
}

/// The context of a client that only asks. Somebody has to [`serve`] it.
pub(super) type Asking = Context<()>;

/// Why brokers do not talk with this client at all.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// They do not believe who it says it is.
    Authentication(String),
    /// There is no agreement on TLS.
    Tls(String),
}

/// Gives clients their contexts.
#[derive(Clone)]
pub(super) struct Observing {
    pub(super) metrics: KafkaMetrics,
    pub(super) token_file: Option<Arc<PathBuf>>,
}

impl Observing {
    /// For clients of which nothing is told.
    pub(super) fn untold(security: &Security) -> Self {
        Self { metrics: Metrics::disabled().kafka().clone(), token_file: security.token_file() }
    }

    /// The context of a client with a name for metrics.
    pub(super) fn context<R>(&self, client: &str, role: R) -> Context<R> {
        Context {
            role,
            metrics: self.metrics.client(client),
            token_file: self.token_file.clone(),
            refusal: Mutex::new(None),
        }
    }
}

impl<R> Context<R> {
    /// Why the brokers last refused this client.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<R: Role> ClientContext for Context<R> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "Kafka client"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "Kafka client");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let refusal = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication) => Some(Refusal::Authentication(reason.to_owned())),
            Some(RDKafkaErrorCode::SSL) => Some(Refusal::Tls(reason.to_owned())),
            // With TLS 1.3 brokers object to a client's certificate only after the handshake.
            Some(RDKafkaErrorCode::BrokerTransportFailure) if reason.contains(OPENSSL) => {
                Some(Refusal::Tls(reason.to_owned()))
            }
            _ => None,
        };
        if refusal.is_some() {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        }
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        record(&self.metrics, &statistics);
        self.role.statistics(&statistics);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let Some(file) = &self.token_file else { return Err("no token is configured".into()) };
        Ok(token::read(file)?)
    }
}

impl rdkafka::consumer::ConsumerContext for Asking {}

/// Serves what has happened to a client that only asks: logs, errors, and a token that is to be
/// refreshed. Does not block.
pub(super) fn serve(asking: &BaseConsumer<Asking>) {
    for _ in 0..MAX_EVENTS {
        if asking.poll(Duration::ZERO).is_none() {
            return;
        }
    }
}

/// The client goes on by itself after nearly all of them.
pub(super) fn log_error(error: &KafkaError, reason: &str) {
    tracing::warn!(error = %with_causes(error), reason, "Kafka client; it goes on trying");
}

fn record(metrics: &KafkaClientMetrics, statistics: &Statistics) {
    let micros = |value: i64| Duration::from_micros(u64::try_from(value).unwrap_or(0));
    let brokers: Vec<BrokerSample> = statistics
        .brokers
        .values()
        // Addresses to begin with, and coordinators, are listed a second time, without an id.
        .filter(|broker| broker.nodeid >= 0 && broker.source != "logical")
        .map(|broker| BrokerSample {
            id: broker.nodeid,
            is_up: broker.state == "UP",
            round_trip_mean: micros(broker.rtt.as_ref().map_or(0, |window| window.avg)),
            round_trip_p99: micros(broker.rtt.as_ref().map_or(0, |window| window.p99)),
            timeouts: broker.req_timeouts,
            retries: broker.txretries,
        })
        .collect();
    metrics.brokers(&brokers);
    if statistics.client_type == "producer" {
        metrics.queue(statistics.msg_cnt, statistics.msg_size);
    }
    if let Some(group) = &statistics.cgrp {
        metrics.rebalances(u64::try_from(group.rebalance_cnt).unwrap_or(0));
        metrics.lag(&lag(statistics));
    }
}

/// Records after the committed offset, of the partitions that are read.
fn lag(statistics: &Statistics) -> Vec<(String, i32, u64)> {
    let mut lag = Vec::new();
    for topic in statistics.topics.values() {
        for partition in topic.partitions.values().filter(|partition| partition.desired) {
            if let Ok(records) = u64::try_from(partition.consumer_lag) {
                lag.push((topic.topic.clone(), partition.partition, records));
            }
        }
    }
    lag
}
