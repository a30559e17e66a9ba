//! What the types cannot say: ranges, and settings that must fit each other.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::account::{BusinessUnit, RejectionCode};

use super::callbacks;
use super::kafka;
use super::tree::{
    IntakeSettings, OtlpSettings, QueueKind, RuleSettings, Settings, StoreKind, TokenSettings,
    WorkerSettings,
};

/// Rules that are always applied: without them outcomes would depend on more than what is stored, or an account would
/// go back to an older state.
const ALWAYS_ON: [RejectionCode; 4] =
    [RejectionCode::O005, RejectionCode::A009, RejectionCode::A010, RejectionCode::A016];

/// Longest wait for an answer; beyond it clients and proxies give up on their own.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Collects what is wrong, by key.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<(String, String)>);

impl Findings {
    /// Notes what is wrong with `key`.
    pub(super) fn add(&mut self, key: &str, what: impl Into<String>) {
        self.0.push((key.to_owned(), what.into()));
    }

    pub(super) fn range(&mut self, key: &str, value: usize, allowed: RangeInclusive<usize>) {
        if !allowed.contains(&value) {
            let (least, most) = allowed.into_inner();
            self.add(key, format!("is {value}; it must be from {least} to {most}"));
        }
    }

    pub(super) fn span(&mut self, key: &str, value: Duration, allowed: RangeInclusive<Duration>) {
        if !allowed.contains(&value) {
            let text = humantime::format_duration;
            let (least, most) = allowed.into_inner();
            self.add(
                key,
                format!("is {}; it must be from {} to {}", text(value), text(least), text(most)),
            );
        }
    }
}

/// Everything that is wrong with settings whose types are right.
pub(super) fn check(settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    if settings.data_dir.as_os_str().is_empty() {
        findings.add("data_dir", "is empty; name a directory");
    }
    if settings.queue.generation == 0 {
        findings.add("queue.generation", "is 0; it must be 1 or more");
    }
    // A signed column of the store holds it.
    if i32::try_from(settings.queue.generation).is_err() {
        findings.add("queue.generation", "is above 2147483647");
    }
    check_files(settings, &mut findings);
    kafka::check(&settings.queue.kafka, settings.queue.kind == QueueKind::Kafka, &mut findings);
    check_postgres(settings, &mut findings);
    check_intake(&settings.intake, &mut findings);
    check_worker(&settings.worker, &mut findings);
    check_type_prefix(&settings.events.type_prefix, &mut findings);
    let drain = settings.shutdown.drain_timeout.duration();
    callbacks::check(&settings.callbacks, drain, &mut findings);
    check_tokens(&settings.auth.tokens, &mut findings);
    check_rules(&settings.rules, &mut findings);
    if let Err(error) = EnvFilter::builder().parse(&settings.telemetry.log_level) {
        let what = format!("is no filter ({error}); write a level such as info, or info,penstock=debug");
        findings.add("telemetry.log_level", what);
    }
    let log_buffer = settings.telemetry.log_buffer.bytes();
    findings.range("telemetry.log_buffer", log_buffer, 100_000..=1_000_000_000);
    check_otlp(&settings.telemetry.otlp, &mut findings);
    let window = settings.replay.window.duration();
    findings.span("replay.window", window, Duration::from_hours(1)..=Duration::from_hours(24 * 10_000));
    let approval_ttl = settings.operations.approval_ttl.duration();
    let bounds = Duration::from_mins(1)..=Duration::from_hours(24 * 30);
    findings.span("operations.approval_ttl", approval_ttl, bounds);
    findings.span("shutdown.drain_timeout", drain, Duration::from_secs(1)..=Duration::from_hours(1));
    let (intake, admin) = (settings.intake.listen, settings.admin.listen);
    if intake == admin && intake.port() != 0 {
        findings.add("admin.listen", "is the same address as intake.listen; take another port");
    }
    findings
}

fn check_files(settings: &Settings, findings: &mut Findings) {
    let queue = &settings.queue.sqlite;
    findings.range("queue.sqlite.partitions", queue.partitions as usize, 1..=256);
    findings.range(
        "queue.sqlite.max_record_bytes",
        queue.max_record_bytes.bytes(),
        1_000..=queue.max_pending_bytes.bytes(),
    );
    findings.range(
        "queue.sqlite.max_pending_bytes",
        queue.max_pending_bytes.bytes(),
        1_000_000..=16_000_000_000,
    );
    let files = [
        ("queue.sqlite.max_file_bytes", queue.max_file_bytes),
        ("store.sqlite.max_file_bytes", settings.store.sqlite.max_file_bytes),
    ];
    for (key, size) in files.into_iter().filter(|(_, size)| size.bytes() != 0) {
        findings.range(key, size.bytes(), 1_000_000..=usize::MAX);
    }
}

/// How a URL of a PostgreSQL server begins.
const POSTGRES_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

fn check_postgres(settings: &Settings, findings: &mut Findings) {
    let (store, lanes) = (&settings.store.postgres, settings.worker.lanes);
    let used = settings.store.kind == StoreKind::Postgres;
    if used && !store.url.begins_with(&POSTGRES_SCHEMES) {
        let what = "must be postgres://user:password@host:5432/database when store.kind is postgres; \
                    PENSTOCK__STORE__POSTGRES__URL_FILE reads it from a file";
        findings.add("store.postgres.url", what);
    }
    if !store.replica_url.is_empty() && !store.replica_url.begins_with(&POSTGRES_SCHEMES) {
        let what = "must be postgres://user:password@host:5432/database, of a standby of the server of \
                    store.postgres.url; \"\" reads whole tables on that server";
        findings.add("store.postgres.replica_url", what);
    }
    findings.range("store.postgres.max_connections", store.max_connections, 1..=1_000);
    if used && store.max_connections <= lanes {
        let what = format!(
            "is {}; each of the {lanes} lanes (worker.lanes) needs one, and look-ups one more",
            store.max_connections
        );
        findings.add("store.postgres.max_connections", what);
    }
    findings.range("store.postgres.statement_cache", store.statement_cache, 0..=1_000);
    let bounds = Duration::from_millis(10)..=Duration::from_mins(5);
    for (key, value) in [
        ("store.postgres.connect_timeout", store.connect_timeout),
        ("store.postgres.statement_timeout", store.statement_timeout),
        ("store.postgres.lock_timeout", store.lock_timeout),
        ("store.postgres.idle_in_transaction_timeout", store.idle_in_transaction_timeout),
    ] {
        findings.span(key, value.duration(), bounds.clone());
    }
}

fn check_intake(intake: &IntakeSettings, findings: &mut Findings) {
    let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
    let (wait, max_wait) = (intake.outcome_wait.duration(), intake.max_outcome_wait.duration());
    findings.span("intake.max_outcome_wait", max_wait, Duration::ZERO..=LONGEST_WAIT);
    if wait > max_wait {
        let what = format!("is longer than intake.max_outcome_wait ({})", intake.max_outcome_wait);
        findings.add("intake.outcome_wait", what);
    }
    findings.range("intake.max_items", intake.max_items, 1..=1_000_000);
    findings.range("intake.max_body", intake.max_body.bytes(), 1_000..=1_000_000_000);
    if intake.max_bytes_in_flight < intake.max_body {
        let what = format!(
            "is less than intake.max_body ({}), so the largest request could never be taken; raise it",
            intake.max_body
        );
        findings.add("intake.max_bytes_in_flight", what);
    }
    findings.range("intake.max_connections", intake.max_connections, 1..=65_535);
    findings.span("intake.header_timeout", intake.header_timeout.duration(), second..=LONGEST_WAIT);
    let keep_alive = intake.keep_alive_timeout.duration();
    findings.span("intake.keep_alive_timeout", keep_alive, second..=hour);
    findings.span("intake.write_timeout", intake.write_timeout.duration(), second..=LONGEST_WAIT);
    findings.range("intake.max_header_bytes", intake.max_header_bytes.bytes(), 1_000..=1_000_000);
    findings.span("intake.body_timeout", intake.body_timeout.duration(), second..=hour);
    findings.span("intake.publish_timeout", intake.publish_timeout.duration(), second..=LONGEST_WAIT);
}

fn check_worker(worker: &WorkerSettings, findings: &mut Findings) {
    let millisecond = Duration::from_millis(1);
    findings.range("worker.lanes", worker.lanes, 1..=64);
    findings.range("worker.max_records", worker.max_records, 1..=10_000);
    findings.range("worker.max_bytes", worker.max_bytes.bytes(), 1_000..=256_000_000);
    let (commit, hour) = (worker.commit_interval.duration(), Duration::from_hours(1));
    findings.span("worker.commit_interval", commit, millisecond..=Duration::from_mins(1));
    let (least, most) = (worker.retry_min_backoff.duration(), worker.retry_max_backoff.duration());
    findings.span("worker.retry_min_backoff", least, millisecond..=hour);
    findings.span("worker.retry_max_backoff", most, millisecond..=hour);
    if least > most {
        let what = format!("is longer than worker.retry_max_backoff ({})", worker.retry_max_backoff);
        findings.add("worker.retry_min_backoff", what);
    }
    if !(0.0..=1.0).contains(&worker.dead_letter_share) {
        findings.add("worker.dead_letter_share", "must be from 0 to 1; 1 never pauses");
    }
    findings.range("worker.dead_letter_window", worker.dead_letter_window as usize, 10..=1_000_000);
    findings.span("worker.dead_letter_pause", worker.dead_letter_pause.duration(), millisecond..=hour);
}

fn check_type_prefix(prefix: &str, findings: &mut Findings) {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    if prefix.len() > 200 || !prefix.split('.').all(part) {
        let what =
            "must be names of letters, digits, - and _ with dots between them, such as bank.penstock";
        findings.add("events.type_prefix", what);
    }
}

fn check_otlp(otlp: &OtlpSettings, findings: &mut Findings) {
    let has_scheme = ["http://", "https://"].iter().any(|scheme| otlp.endpoint.starts_with(scheme));
    if !otlp.endpoint.is_empty() && !has_scheme {
        findings.add("telemetry.otlp.endpoint", "must be a URL such as http://collector:4317, or empty");
    }
    let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
    findings.span("telemetry.otlp.timeout", otlp.timeout.duration(), second..=Duration::from_mins(1));
    findings.span("telemetry.otlp.metrics_interval", otlp.metrics_interval.duration(), second..=hour);
    if !(0.0..=1.0).contains(&otlp.sample_ratio) {
        findings.add("telemetry.otlp.sample_ratio", "must be from 0 to 1");
    }
}

fn check_tokens(tokens: &[TokenSettings], findings: &mut Findings) {
    let mut names = BTreeSet::new();
    let mut digests = BTreeSet::new();
    for (place, token) in tokens.iter().enumerate() {
        let key = |field: &str| format!("auth.tokens[{place}].{field}");
        if token.name.trim().is_empty() || token.name.chars().any(char::is_control) {
            findings.add(&key("name"), "must say who it is, in printable characters");
        }
        if !names.insert(&token.name) {
            findings.add(&key("name"), "is the name of an earlier token; give each its own");
        }
        if !digests.insert(token.sha256.bytes()) {
            findings.add(&key("sha256"), "is an earlier token's; `penstock token new` makes another");
        }
        if token.scopes.is_empty() {
            findings.add(&key("scopes"), "is empty, so it may do nothing; leave it out for all scopes");
        }
        for unit in token.business_units.iter().filter(|unit| BusinessUnit::parse(unit).is_err()) {
            let what =
                format!("has {unit:?}, which no account can name; 1 to 255 characters are allowed");
            findings.add(&key("business_units"), what);
        }
    }
}

fn check_rules(rules: &RuleSettings, findings: &mut Findings) {
    let key = "rules.disabled";
    for code in &rules.disabled {
        match RejectionCode::parse(code) {
            None => findings.add(key, format!("has {code:?}, which is no code; codes look like A004")),
            Some(code) if ALWAYS_ON.contains(&code) => {
                let what = format!("has {code}, which is always applied; take it off the list");
                findings.add(key, what);
            }
            Some(_) => {}
        }
    }
}
