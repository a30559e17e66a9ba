//! What every Kafka client of penstock has in common: its logs, statistics and tokens.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};

use crate::telemetry::{BrokerSample, KafkaClientMetrics, KafkaMetrics, Metrics, with_causes};

use super::security::Security;
use super::token;
use super::trouble::{Say, Troubles};

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
    troubles: Arc<Troubles>,
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
    /// What all of them have met.
    pub(super) troubles: Arc<Troubles>,
}

impl Observing {
    /// For clients of which nothing is told.
    pub(super) fn untold(security: &Security) -> Self {
        let metrics = Metrics::disabled().kafka().clone();
        Self { metrics, token_file: security.token_file(), troubles: Arc::default() }
    }

    /// The context of a client with a name for metrics.
    pub(super) fn context<R>(&self, client: &str, role: R) -> Context<R> {
        Context {
            role,
            metrics: self.metrics.client(client),
            token_file: self.token_file.clone(),
            refusal: Mutex::new(None),
            troubles: Arc::clone(&self.troubles),
        }
    }
}

impl<R> Context<R> {
    /// Why the brokers last refused this client.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what went wrong, after which the client goes on by itself; not every time.
    pub(super) fn log_error(&self, error: &KafkaError, reason: &str) {
        let now = Instant::now();
        let Some(code) = error.rdkafka_error_code() else {
            return self.complain(reason, &with_causes(error).to_string(), reason);
        };
        match code {
            // Also said when there was nothing to talk of for a while and the brokers hung up. Whether one
            // can be reached is told by what a client meets when it calls.
            RDKafkaErrorCode::AllBrokersDown => {
                tracing::debug!(error = %with_causes(error), reason, "Kafka client");
            }
            RDKafkaErrorCode::BrokerTransportFailure if is_hang_up(reason) => {
                tracing::debug!(error = %with_causes(error), reason, "Kafka client");
            }
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL => say(self.troubles.unreachable(now), reason),
            _ => self.complain(&format!("{code:?}"), &with_causes(error).to_string(), reason),
        }
    }

    /// Says what a client complains of, once in a while for each kind.
    fn complain(&self, kind: &str, told: &str, reason: &str) {
        if let Some(unsaid) = self.troubles.complaint(kind, Instant::now()) {
            tracing::warn!(error = told, reason, unsaid, "Kafka client; it goes on trying");
        }
    }
}

/// Whether a broker ended a connection that was there: it may be idle, or go away.
fn is_hang_up(reason: &str) -> bool {
    reason.contains("Disconnected") || reason.contains("Connection reset")
}

fn say(say: Say, reason: &str) {
    match say {
        Say::Nothing => tracing::debug!(reason, "a Kafka broker cannot be reached"),
        Say::Began => tracing::warn!(reason, "Kafka brokers cannot be reached; trying on"),
        Say::GoesOn { unsaid, seconds } => {
            tracing::warn!(reason, unsaid, seconds, "Kafka brokers still cannot be reached; trying on");
        }
        Say::Over { unsaid, seconds } => {
            tracing::info!(unsaid, seconds, "all Kafka brokers that are needed are reached again");
        }
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
            | RDKafkaLogLevel::Warning => match self.troubles.complaint(facility, Instant::now()) {
                // Of these the client also tells as of errors.
                _ if ["FAIL", "ERROR"].contains(&facility) => {
                    tracing::debug!(facility, told = message, "Kafka client");
                }
                Some(unsaid) => tracing::warn!(facility, told = message, unsaid, "Kafka client"),
                None => tracing::debug!(facility, told = message, "Kafka client"),
            },
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, told = message, "Kafka client");
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
        self.log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        record(&self.metrics, &statistics);
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            say(self.troubles.reached(Instant::now()), "");
        }
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
