//! Settings in the words of the roles and ports they are for.

#[cfg(feature = "kafka")]
mod kafka;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::account::{BusinessUnit, Generation, Policy};
use crate::intake::{
    Authenticator, BusinessUnits, IntakeOptions, Scope, ServerOptions, Token, TokenDigest,
};
use crate::queue::PollLimits;
use crate::queue::sqlite::SqliteQueueOptions;
use crate::replay::{Selection, Way};
use crate::settings::{
    AuthSettings, ByteSize, LogFormat, OtlpSettings, OtlpSignal, PostgresStoreSettings, QueueKind,
    QueueSettings, Settings, SqliteQueueSettings, SqliteStoreSettings, TelemetrySettings, TokenScope,
    TokenSettings,
};
use crate::store::Store;
use crate::store::postgres::PostgresStoreOptions;
use crate::store::sqlite::SqliteStoreOptions;
use crate::telemetry::{LineFormat, OtlpOptions, Signal, TelemetryOptions};
use crate::worker::{Backoff, BrakeOptions, LaneOptions};

use super::process::Role;
use super::version::Version;

#[cfg(feature = "kafka")]
pub(super) use kafka::{kafka_queue, topics};

/// How long a poll waits for a first record; a lane that is asked to stop notices after it.
const POLL_WAIT: Duration = Duration::from_millis(250);

/// The consumer group of the lanes of an embedded queue, which nobody else knows.
const EMBEDDED_GROUP: &str = "penstock-worker";

/// What a process with these roles tells, and to whom.
pub(super) fn telemetry(roles: &[Role], telemetry: &TelemetrySettings) -> TelemetryOptions {
    let version = Version::current();
    let otlp = &telemetry.otlp;
    TelemetryOptions {
        service: match roles {
            [only] => format!("penstock-{}", only.name()),
            _ => "penstock".to_owned(),
        },
        version: version.number,
        commit: version.git_sha.unwrap_or_default(),
        line_format: line_format(telemetry),
        log_filter: telemetry.log_level.clone(),
        max_log_bytes: telemetry.log_buffer.bytes(),
        otlp: (!otlp.endpoint.is_empty()).then(|| self::otlp(otlp)),
    }
}

fn otlp(settings: &OtlpSettings) -> OtlpOptions {
    let signal = |signal: &OtlpSignal| match signal {
        OtlpSignal::Traces => Signal::Traces,
        OtlpSignal::Metrics => Signal::Metrics,
        OtlpSignal::Logs => Signal::Logs,
    };
    OtlpOptions {
        endpoint: settings.endpoint.clone(),
        headers: settings.headers.secret(),
        ca_file: named_file(&settings.ca_file),
        timeout: settings.timeout.duration(),
        signals: settings.signals.iter().map(signal).collect(),
        sample_ratio: settings.sample_ratio,
        metrics_interval: settings.metrics_interval.duration(),
    }
}

fn line_format(telemetry: &TelemetrySettings) -> LineFormat {
    let terminal = io::stderr().is_terminal();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let text = LineFormat::Text { colours: terminal && !plain };
    match telemetry.log_format {
        LogFormat::Text => text,
        LogFormat::Auto if terminal => text,
        LogFormat::Json | LogFormat::Auto => LineFormat::Json,
    }
}

pub(super) fn queue(settings: &SqliteQueueSettings) -> SqliteQueueOptions {
    SqliteQueueOptions {
        partitions: settings.partitions,
        max_pending_bytes: settings.max_pending_bytes.bytes(),
        max_record_bytes: settings.max_record_bytes.bytes(),
        max_file_bytes: file_limit(settings.max_file_bytes),
    }
}

pub(super) fn sqlite_store(settings: &SqliteStoreSettings) -> SqliteStoreOptions {
    SqliteStoreOptions { max_file_bytes: file_limit(settings.max_file_bytes) }
}

pub(super) fn postgres_store(settings: &PostgresStoreSettings) -> PostgresStoreOptions {
    PostgresStoreOptions {
        url: settings.url.secret(),
        replica_url: (!settings.replica_url.is_empty()).then(|| settings.replica_url.secret()),
        password_file: named_file(&settings.password_file),
        ca_file: named_file(&settings.ca_file),
        max_connections: settings.max_connections,
        connect_timeout: settings.connect_timeout.duration(),
        statement_timeout: settings.statement_timeout.duration(),
        lock_timeout: settings.lock_timeout.duration(),
        idle_timeout: settings.idle_in_transaction_timeout.duration(),
        statement_cache: settings.statement_cache,
    }
}

/// The generation of the topics.
pub(super) fn generation(settings: &Settings) -> Generation {
    Generation(settings.queue.generation)
}

/// The consumer group of the lanes.
pub(super) fn worker_group(settings: &QueueSettings) -> &str {
    match settings.kind {
        QueueKind::Sqlite => EMBEDDED_GROUP,
        QueueKind::Kafka => &settings.kafka.group,
    }
}

/// How long a command, or what runs beside the lanes, waits for a part of a topic.
const READ_WAIT: Duration = Duration::from_secs(1);

/// How much of a topic is read at a time outside of every group.
pub(super) fn reading(settings: &Settings) -> PollLimits {
    PollLimits { max_wait: READ_WAIT, ..lane(settings).poll }
}

/// A way through the log that a replay takes.
pub(super) fn replay_way<S: Store>(
    settings: &Settings,
    policy: &Arc<Policy>,
    store: &S,
    selection: Selection,
) -> Way<S> {
    Way {
        store: store.clone(),
        policy: Arc::clone(policy),
        generation: generation(settings),
        limits: reading(settings),
        group: worker_group(&settings.queue).to_owned(),
        scratch: std::env::temp_dir(),
        selection,
    }
}

/// The file of a setting that names none when it is empty.
fn named_file(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

fn file_limit(size: ByteSize) -> Option<u64> {
    u64::try_from(size.bytes()).ok().filter(|bytes| *bytes > 0)
}

pub(super) fn lane(settings: &Settings) -> LaneOptions {
    let worker = &settings.worker;
    LaneOptions {
        generation: generation(settings),
        event_type_prefix: settings.events.type_prefix.clone(),
        poll: PollLimits {
            max_records: worker.max_records,
            max_bytes: worker.max_bytes.bytes(),
            max_wait: POLL_WAIT,
        },
        commit_interval: worker.commit_interval.duration(),
        backoff: Backoff {
            initial: worker.retry_min_backoff.duration(),
            max: worker.retry_max_backoff.duration(),
        },
        brake: BrakeOptions {
            max_share: worker.dead_letter_share,
            window_records: worker.dead_letter_window,
            pause: worker.dead_letter_pause.duration(),
        },
    }
}

pub(super) fn intake(settings: &Settings) -> IntakeOptions {
    let intake = &settings.intake;
    IntakeOptions {
        outcome_wait: intake.outcome_wait.duration(),
        max_wait: intake.max_outcome_wait.duration(),
        publish_timeout: intake.publish_timeout.duration(),
        body_timeout: intake.body_timeout.duration(),
        max_items: intake.max_items,
        max_body_bytes: intake.max_body.bytes(),
        max_bytes_in_flight: intake.max_bytes_in_flight.bytes(),
        max_header_bytes: intake.max_header_bytes.bytes(),
        event_type_prefix: settings.events.type_prefix.clone(),
    }
}

/// The server's options; requests that have begun get half of the time a stop may take.
pub(super) fn server(settings: &Settings) -> ServerOptions {
    ServerOptions {
        header_timeout: settings.intake.header_timeout.duration(),
        keep_alive_timeout: settings.intake.keep_alive_timeout.duration(),
        write_timeout: settings.intake.write_timeout.duration(),
        max_connections: settings.intake.max_connections,
        max_header_bytes: settings.intake.max_header_bytes.bytes(),
        shutdown_timeout: settings.shutdown.drain_timeout.duration() / 2,
    }
}

pub(super) fn authenticator(auth: &AuthSettings) -> anyhow::Result<Authenticator> {
    let tokens: Vec<Token> = auth.tokens.iter().map(token).collect::<anyhow::Result<_>>()?;
    Ok(Authenticator::new(tokens, auth.allow_ips.iter().map(|network| network.net())))
}

fn token(settings: &TokenSettings) -> anyhow::Result<Token> {
    let unit = |unit: &String| {
        BusinessUnit::parse(unit).map_err(|problem| anyhow::anyhow!("a business unit {problem}"))
    };
    let units: Vec<BusinessUnit> =
        settings.business_units.iter().map(unit).collect::<anyhow::Result<_>>()?;
    Ok(Token {
        name: settings.name.clone(),
        digest: TokenDigest::from_bytes(settings.sha256.bytes()),
        business_units: BusinessUnits::from_list(units),
        scopes: settings.scopes.iter().map(|scope| self::scope(*scope)).collect::<BTreeSet<_>>(),
    })
}

fn scope(scope: TokenScope) -> Scope {
    match scope {
        TokenScope::Submit => Scope::Submit,
        TokenScope::Validate => Scope::Validate,
        TokenScope::Read => Scope::Read,
    }
}
