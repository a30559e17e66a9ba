//! Settings in the words of the roles and ports they are for.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use crate::account::{BusinessUnit, Generation};
use crate::intake::{
    Authenticator, BusinessUnits, IntakeOptions, Scope, ServerOptions, Token, TokenDigest,
};
use crate::queue::PollLimits;
use crate::queue::sqlite::SqliteQueueOptions;
use crate::settings::{
    AuthSettings, ByteSize, LogFormat, PostgresStoreSettings, Settings, SqliteQueueSettings,
    SqliteStoreSettings, TelemetrySettings, TokenScope, TokenSettings,
};
use crate::store::postgres::PostgresStoreOptions;
use crate::store::sqlite::SqliteStoreOptions;
use crate::telemetry::LineFormat;
use crate::worker::{Backoff, BrakeOptions, LaneOptions};

/// How long a poll waits for a first record; a lane that is asked to stop notices after it.
const POLL_WAIT: Duration = Duration::from_millis(250);

pub(super) fn line_format(telemetry: &TelemetrySettings) -> LineFormat {
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
    let file = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    PostgresStoreOptions {
        url: settings.url.secret(),
        password_file: file(&settings.password_file),
        ca_file: file(&settings.ca_file),
        max_connections: settings.max_connections,
        connect_timeout: settings.connect_timeout.duration(),
        statement_timeout: settings.statement_timeout.duration(),
        lock_timeout: settings.lock_timeout.duration(),
        idle_timeout: settings.idle_in_transaction_timeout.duration(),
        statement_cache: settings.statement_cache,
    }
}

fn file_limit(size: ByteSize) -> Option<u64> {
    u64::try_from(size.bytes()).ok().filter(|bytes| *bytes > 0)
}

pub(super) fn lane(settings: &Settings) -> LaneOptions {
    let worker = &settings.worker;
    LaneOptions {
        generation: Generation(settings.queue.generation),
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
