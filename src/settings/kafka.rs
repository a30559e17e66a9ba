//! `queue.kafka.*`: the brokers, the topics, and how penstock proves who it is.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checks::Findings;
use super::client::ClientSettings;
use super::units::{ByteSize, Secret, Span};

/// `queue.kafka.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaQueueSettings {
    /// Addresses to begin with, `host:port`, separated by commas.
    pub brokers: String,
    /// Consumer group of the workers.
    pub group: String,
    /// Put before the name of every topic and group.
    pub topic_prefix: String,
    /// Partitions of the submitted topic.
    pub partitions: u32,
    /// How long a record may wait for acknowledgement.
    pub delivery_timeout: Span,
    /// How long a member of the group may be silent.
    pub session_timeout: Span,
    /// How often a member tells that it lives.
    pub heartbeat_interval: Span,
    /// Bytes that may wait for acknowledgement.
    pub max_pending_bytes: ByteSize,
    /// Size of one record's value.
    pub max_record_bytes: ByteSize,
    /// Names this process among the members of the group that keep their partitions; none when empty.
    pub instance_id: String,
    /// How long a partition may have records and bring none before its client is replaced.
    pub stall_timeout: Span,
    /// Further settings of the client, by their names in librdkafka.
    pub extra: ClientSettings,
    /// How the brokers are reached.
    pub security: KafkaSecuritySettings,
    /// What the topics are to be like.
    pub topics: KafkaTopicSettings,
}

/// What protects a connection to the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaProtocol {
    /// Nothing.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL within TLS.
    SaslSsl,
}

impl KafkaProtocol {
    /// Whether penstock says who it is by SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How penstock proves to the brokers who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KafkaSaslMechanism {
    /// The password itself is sent.
    #[serde(rename = "PLAIN")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A token, of a file or of an identity provider.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
    /// Kerberos.
    #[serde(rename = "GSSAPI")]
    Gssapi,
}

/// `queue.kafka.security.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSecuritySettings {
    /// What protects the connection.
    pub protocol: KafkaProtocol,
    /// How penstock proves who it is, for the protocols with SASL.
    pub mechanism: KafkaSaslMechanism,
    /// The user, of a mechanism with a password.
    pub username: String,
    /// The user's password.
    pub password: Secret,
    /// File with the token of OAUTHBEARER; none when empty.
    pub token_file: PathBuf,
    /// Where tokens of OAUTHBEARER are asked for, if not read from a file.
    pub oidc: KafkaOidcSettings,
    /// Who penstock is with GSSAPI.
    pub kerberos: KafkaKerberosSettings,
    /// File with the trusted authorities; the system's when empty.
    pub ca_file: PathBuf,
    /// File with the client's certificate; none when empty.
    pub certificate_file: PathBuf,
    /// File with the certificate's key; none when empty.
    pub key_file: PathBuf,
    /// The key's password.
    pub key_password: Secret,
}

/// `queue.kafka.security.oidc.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaOidcSettings {
    /// The identity provider's token endpoint; none when empty.
    pub token_endpoint_url: String,
    /// Who asks.
    pub client_id: String,
    /// The secret that proves it.
    pub client_secret: Secret,
    /// What the token is to be good for; the provider's default when empty.
    pub scope: String,
}

/// `queue.kafka.security.kerberos.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaKerberosSettings {
    /// The brokers' service name.
    pub service_name: String,
    /// Who penstock is.
    pub principal: String,
    /// File with the principal's key.
    pub keytab_file: PathBuf,
}

/// `queue.kafka.topics.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaTopicSettings {
    /// Brokers that hold each record.
    pub replication_factor: u32,
    /// Brokers that must have a record before it is acknowledged.
    pub min_insync_replicas: u32,
    /// How long submissions are kept: the window of a replay.
    pub submitted_retention: Span,
    /// How long result events are kept.
    pub results_retention: Span,
    /// How long dead letters are kept.
    pub dead_letter_retention: Span,
    /// How long replies are kept.
    pub replies_retention: Span,
}

pub(super) fn check(kafka: &KafkaQueueSettings, used: bool, findings: &mut Findings) {
    let key = |name: &str| format!("queue.kafka.{name}");
    let is_address = |address: &str| {
        address.trim().rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    if used && !kafka.brokers.split(',').all(is_address) {
        let what = "must be addresses such as kafka-1:9092,kafka-2:9092 when queue.kind is kafka";
        findings.add(&key("brokers"), what);
    }
    let is_name =
        |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'));
    if kafka.group.is_empty() || kafka.group.len() > 200 || !is_name(&kafka.group) {
        findings.add(&key("group"), "must be 1 to 200 letters, digits, dots, - and _");
    }
    if kafka.topic_prefix.len() > 200 || !is_name(&kafka.topic_prefix) {
        findings.add(&key("topic_prefix"), "must be at most 200 letters, digits, dots, - and _");
    }
    findings.range(&key("partitions"), kafka.partitions as usize, 1..=10_000);
    let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
    findings.span(&key("delivery_timeout"), kafka.delivery_timeout.duration(), second..=5 * minute);
    let session = kafka.session_timeout.duration();
    findings.span(&key("session_timeout"), session, 6 * second..=30 * minute);
    let heartbeat = Duration::from_millis(100)..=session / 3;
    findings.span(&key("heartbeat_interval"), kafka.heartbeat_interval.duration(), heartbeat);
    findings.span(&key("stall_timeout"), kafka.stall_timeout.duration(), 5 * second..=60 * minute);
    if kafka.instance_id.len() > 200 || !is_name(&kafka.instance_id) {
        findings.add(&key("instance_id"), "must be at most 200 letters, digits, dots, - and _");
    }
    let pending = kafka.max_pending_bytes.bytes();
    findings.range(&key("max_pending_bytes"), pending, 1_000_000..=1_000_000_000);
    findings.range(
        &key("max_record_bytes"),
        kafka.max_record_bytes.bytes(),
        1_000..=pending.min(100_000_000),
    );
    if used {
        check_security(&kafka.security, findings);
    }
    check_topics(&kafka.topics, findings);
}

fn check_security(security: &KafkaSecuritySettings, findings: &mut Findings) {
    let key = |name: &str| format!("queue.kafka.security.{name}");
    for (name, what) in missing_of_sasl(security) {
        findings.add(&key(name), what);
    }
    let (certificate, private_key) = (&security.certificate_file, &security.key_file);
    if certificate.as_os_str().is_empty() != private_key.as_os_str().is_empty() {
        let what = "and queue.kafka.security.key_file go together; name both files or none";
        findings.add(&key("certificate_file"), what);
    }
}

/// What the mechanism needs and is not there.
fn missing_of_sasl(security: &KafkaSecuritySettings) -> Vec<(&'static str, &'static str)> {
    use KafkaSaslMechanism as Mechanism;
    if !security.protocol.has_sasl() {
        return Vec::new();
    }
    let oidc = &security.oidc;
    let asks = !oidc.token_endpoint_url.is_empty();
    let needed = match security.mechanism {
        Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512 => vec![
            ("username", security.username.is_empty(), "is empty; the mechanism needs a user"),
            (
                "password",
                security.password.is_empty(),
                "is empty; PENSTOCK__QUEUE__KAFKA__SECURITY__PASSWORD_FILE reads it from a file",
            ),
        ],
        Mechanism::OauthBearer => vec![
            (
                "token_file",
                security.token_file.as_os_str().is_empty() != asks,
                "and queue.kafka.security.oidc.token_endpoint_url: OAUTHBEARER needs one of the two",
            ),
            ("oidc.client_id", asks && oidc.client_id.is_empty(), "is empty; the provider needs one"),
            (
                "oidc.client_secret",
                asks && oidc.client_secret.is_empty(),
                "is empty; PENSTOCK__QUEUE__KAFKA__SECURITY__OIDC__CLIENT_SECRET_FILE reads it from a file",
            ),
        ],
        Mechanism::Gssapi => vec![
            ("kerberos.principal", security.kerberos.principal.is_empty(), "is empty; GSSAPI needs one"),
            (
                "kerberos.keytab_file",
                security.kerberos.keytab_file.as_os_str().is_empty(),
                "is empty; GSSAPI needs the principal's key",
            ),
        ],
    };
    needed.into_iter().filter(|(_, missing, _)| *missing).map(|(key, _, what)| (key, what)).collect()
}

fn check_topics(topics: &KafkaTopicSettings, findings: &mut Findings) {
    let key = |name: &str| format!("queue.kafka.topics.{name}");
    let factor = topics.replication_factor as usize;
    findings.range(&key("replication_factor"), factor, 1..=9);
    let in_sync = topics.min_insync_replicas as usize;
    findings.range(&key("min_insync_replicas"), in_sync, 1..=factor.max(1));
    let (minute, century) = (Duration::from_mins(1), Duration::from_hours(24 * 365 * 100));
    for (name, retention) in [
        ("submitted_retention", topics.submitted_retention),
        ("results_retention", topics.results_retention),
        ("dead_letter_retention", topics.dead_letter_retention),
        ("replies_retention", topics.replies_retention),
    ] {
        findings.span(&key(name), retention.duration(), minute..=century);
    }
}
