//! The tree of settings, one struct a section. Defaults stand in `config/default.toml` alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::callbacks::CallbackSettings;
use super::kafka::KafkaQueueSettings;
use super::units::{ByteSize, Network, Secret, Sha256Digest, Span};

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "penstock configuration")]
pub struct Settings {
    /// Directory of the embedded queue and store.
    pub data_dir: PathBuf,
    /// The queue.
    pub queue: QueueSettings,
    /// The store.
    pub store: StoreSettings,
    /// HTTP in.
    pub intake: IntakeSettings,
    /// Probes and metrics.
    pub admin: AdminSettings,
    /// The lanes.
    pub worker: WorkerSettings,
    /// Result events.
    pub events: EventSettings,
    /// Where result events go.
    pub callbacks: CallbackSettings,
    /// Who may use the intake.
    pub auth: AuthSettings,
    /// The institution's own lists.
    pub reference: ReferenceSettings,
    /// What the rules do where institutions differ.
    pub rules: RuleSettings,
    /// Logs.
    pub telemetry: TelemetrySettings,
    /// Reprocessing.
    pub replay: ReplaySettings,
    /// What operators do.
    pub operations: OperationSettings,
    /// How the process ends.
    pub shutdown: ShutdownSettings,
}

/// Implementations of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// A file in the data directory.
    Sqlite,
    /// Apache Kafka.
    Kafka,
}

/// `queue.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// Which queue.
    pub kind: QueueKind,
    /// Number of the submitted topic's incarnation.
    pub generation: u32,
    /// The embedded queue.
    pub sqlite: SqliteQueueSettings,
    /// The production queue.
    pub kafka: KafkaQueueSettings,
}

/// `queue.sqlite.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteQueueSettings {
    /// Partitions of every topic.
    pub partitions: u32,
    /// Bytes that may wait to be written.
    pub max_pending_bytes: ByteSize,
    /// Size of one record.
    pub max_record_bytes: ByteSize,
    /// How far the file may grow; 0 leaves it to the disk.
    pub max_file_bytes: ByteSize,
}

/// Implementations of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A file in the data directory.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// `store.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// Which store.
    pub kind: StoreKind,
    /// The embedded store.
    pub sqlite: SqliteStoreSettings,
    /// The production store.
    pub postgres: PostgresStoreSettings,
}

/// `store.postgres.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresStoreSettings {
    /// Where the server is, and as whom to connect.
    pub url: Secret,
    /// A standby of that server, on which whole tables are read; none when empty.
    pub replica_url: Secret,
    /// File with the password; none when empty.
    pub password_file: PathBuf,
    /// File with further trusted authorities; none when empty.
    pub ca_file: PathBuf,
    /// Connections of this process at a time.
    pub max_connections: usize,
    /// How long it may take to connect.
    pub connect_timeout: Span,
    /// How long the server may work on one statement.
    pub statement_timeout: Span,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Span,
    /// How long a transaction may be idle before the server ends it.
    pub idle_in_transaction_timeout: Span,
    /// Prepared statements kept per connection.
    pub statement_cache: usize,
}

/// `store.sqlite.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteStoreSettings {
    /// How far the file may grow; 0 leaves it to the disk.
    pub max_file_bytes: ByteSize,
}

/// `intake.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntakeSettings {
    /// Address and port for clients.
    pub listen: SocketAddr,
    /// How long an answer waits for outcomes.
    pub outcome_wait: Span,
    /// The longest wait a client may ask for.
    pub max_outcome_wait: Span,
    /// Items of one batch.
    pub max_items: usize,
    /// Size of a request's body after decompression.
    pub max_body: ByteSize,
    /// Bytes of requests in work at a time.
    pub max_bytes_in_flight: ByteSize,
    /// Connections at a time.
    pub max_connections: usize,
    /// Size of a request's head.
    pub max_header_bytes: ByteSize,
    /// How long a request's head may take.
    pub header_timeout: Span,
    /// How long a connection may be idle between two requests.
    pub keep_alive_timeout: Span,
    /// How long a request's body may take.
    pub body_timeout: Span,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Span,
    /// How long the queue may take to acknowledge.
    pub publish_timeout: Span,
}

/// `admin.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// Address and port of probes and metrics.
    pub listen: SocketAddr,
}

/// `worker.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Lanes of this process.
    pub lanes: usize,
    /// Records of one batch.
    pub max_records: usize,
    /// Bytes of one batch.
    pub max_bytes: ByteSize,
    /// How often the position is committed.
    pub commit_interval: Span,
    /// Wait before the first retry.
    pub retry_min_backoff: Span,
    /// Longest wait between two retries.
    pub retry_max_backoff: Span,
    /// Share of dead letters at which a lane pauses.
    pub dead_letter_share: f64,
    /// Records of the brake's window.
    pub dead_letter_window: u32,
    /// How long a paused lane waits.
    pub dead_letter_pause: Span,
}

/// `events.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventSettings {
    /// First part of every event's type.
    pub type_prefix: String,
}

/// `auth.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// Bearer tokens.
    pub tokens: Vec<TokenSettings>,
    /// Client networks; all when empty.
    pub allow_ips: Vec<Network>,
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenScope {
    /// Send accounts.
    Submit,
    /// Have accounts checked without sending them.
    Validate,
    /// Look up outcomes and classifiers.
    Read,
}

/// One of `auth.tokens`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// Who it is, as logs show it.
    pub name: String,
    /// The token's digest.
    pub sha256: Sha256Digest,
    /// Units it may act for; all when empty.
    #[serde(default)]
    pub business_units: Vec<String>,
    /// What it may be used for.
    #[serde(default = "TokenSettings::all_scopes")]
    pub scopes: Vec<TokenScope>,
}

impl TokenSettings {
    /// Every scope there is.
    pub fn all_scopes() -> Vec<TokenScope> {
        vec![TokenScope::Submit, TokenScope::Validate, TokenScope::Read]
    }
}

/// `reference.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceSettings {
    /// Account types (A007).
    pub account_types: CodeList,
    /// Business units (A008).
    pub business_units: CodeList,
    /// Customers by their external ids (A015).
    pub business_entities: CodeList,
    /// BICs of the institution itself (A012).
    pub own_bics: CodeList,
}

/// A list of codes, here or in a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "must be a list of codes, a list of { code, name }, or { file = \"path\" }"
)]
pub enum CodeList {
    /// Here. It is tried first: a list of one text would pass for the one field of a file.
    Inline(Vec<CodeEntry>),
    /// In a file.
    File(CodeFile),
}

/// The file of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeFile {
    /// `.json`, or text with one `code` or `code,name` a line.
    pub file: PathBuf,
}

/// An entry of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CodeEntry {
    /// A code that is its own name.
    Code(String),
    /// A code with a name.
    Named(NamedCode),
}

/// A code with a name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedCode {
    /// The code.
    pub code: String,
    /// What people call it.
    pub name: String,
}

/// What becomes of a CREATE of an account that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnCreateExisting {
    /// It is rejected (A009).
    Reject,
    /// It replaces the account's data.
    Replace,
}

/// What becomes of an UPDATE of an account that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUpdateMissing {
    /// It is rejected (A010).
    Reject,
    /// It creates the account.
    Create,
}

/// `rules.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// CREATE of an account that exists.
    pub create_existing: OnCreateExisting,
    /// UPDATE of an account that does not exist.
    pub update_missing: OnUpdateMissing,
    /// Whether an account must name its business unit (A008).
    pub business_unit_mandatory: bool,
    /// Whether a bic must be an ISO 9362 code (A013).
    pub bic_format: bool,
    /// Whether IBAN check digits must be right (A014).
    pub iban_check_digits: bool,
    /// Codes of further rules that are not applied.
    pub disabled: Vec<String>,
}

/// Forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// `telemetry.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Form of the log.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
    /// Lines of the log that wait for whoever reads them.
    pub log_buffer: ByteSize,
    /// Export to an OpenTelemetry collector.
    pub otlp: OtlpSettings,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OtlpSignal {
    /// Spans.
    Traces,
    /// Points of metrics.
    Metrics,
    /// Lines of the log.
    Logs,
}

/// `telemetry.otlp.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// URL of the collector; nothing is exported when empty.
    pub endpoint: String,
    /// Headers of every export.
    pub headers: Secret,
    /// File with a further trusted authority; none when empty.
    pub ca_file: PathBuf,
    /// How long one export may take.
    pub timeout: Span,
    /// What is exported.
    pub signals: Vec<OtlpSignal>,
    /// Share of the traces begun here that are recorded.
    pub sample_ratio: f64,
    /// How often metrics are exported.
    pub metrics_interval: Span,
}

/// `replay.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaySettings {
    /// How far back a replay must reach.
    pub window: Span,
}

/// `operations.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationSettings {
    /// Whether somebody else must approve what an operator does.
    pub approval: bool,
    /// How old an approval may be.
    pub approval_ttl: Span,
}

/// `shutdown.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownSettings {
    /// How long a stop may take.
    pub drain_timeout: Span,
}

impl CodeEntry {
    /// An entry with a name.
    pub fn named(code: &str, name: &str) -> Self {
        Self::Named(NamedCode { code: code.to_owned(), name: name.to_owned() })
    }

    /// Code and name; a code without a name is its own.
    pub fn into_parts(self) -> (String, String) {
        match self {
            Self::Code(code) => (code.clone(), code),
            Self::Named(named) => (named.code, named.name),
        }
    }
}
