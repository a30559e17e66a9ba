//! What may be set of the Kafka client, and the client settings it becomes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};

use super::error::KafkaOpenError;
use crate::queue::Topic;

/// Client settings that [`KafkaQueueOptions::extra`] may not change: penstock relies on them, has a
/// setting of its own for them, or they load foreign code.
const RESERVED: [&str; 36] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "enabled_events",
    "group.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "log.queue",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "plugin.library.paths",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.required.acks",
    "retries",
    "sasl.password",
    "security.protocol",
    "session.timeout.ms",
    "ssl.key.password",
    "statistics.interval.ms",
    "transactional.id",
];

/// What a record needs beside its value: key, headers, framing.
const RECORD_OVERHEAD_BYTES: usize = 256 * 1024;

/// Where the brokers are and how the queue uses them.
#[derive(Clone, Debug)]
pub struct KafkaQueueOptions {
    /// Addresses to begin with, `host:port`, separated by commas.
    pub brokers: String,
    /// Put before the name of every topic and group, so that several installations share brokers.
    pub topic_prefix: String,
    /// Partitions the submitted topic must have. Another count would send an account's records to
    /// another partition, out of order: a topic with another count is another generation.
    pub partitions: u32,
    /// How the brokers are reached and how penstock proves who it is.
    pub security: Security,
    /// Largest value a record may have, in bytes; the topics must take it with key and headers.
    pub max_record_bytes: usize,
    /// How many bytes of records may wait for acknowledgement before publishing is refused.
    pub max_pending_bytes: usize,
    /// How long a record may wait for acknowledgement.
    pub delivery_timeout: Duration,
    /// How long a member of a group may be silent before its partitions move on.
    pub session_timeout: Duration,
    /// How often a member tells that it lives, and learns that partitions are to move.
    pub heartbeat_interval: Duration,
    /// Further settings of the client, by their names in librdkafka.
    pub extra: BTreeMap<String, String>,
}

impl Default for KafkaQueueOptions {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topic_prefix: String::new(),
            partitions: 12,
            security: Security::default(),
            // A topic takes 1,048,588 bytes by default, key and headers included.
            max_record_bytes: 1_000_000,
            max_pending_bytes: 64 * 1024 * 1024,
            delivery_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(9),
            heartbeat_interval: Duration::from_secs(3),
            extra: BTreeMap::new(),
        }
    }
}

/// How the brokers are reached.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// What protects the connection.
    pub protocol: SecurityProtocol,
    /// Who penstock is, for the protocols with SASL.
    pub sasl: Option<Sasl>,
    /// Certificates, for the protocols with TLS.
    pub tls: Tls,
}

/// What protects a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Nothing: for a loopback or a network of its own.
    #[default]
    Plaintext,
    /// TLS; with a client certificate it also tells who penstock is.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL within TLS.
    SaslSsl,
}

/// Who penstock is towards the brokers.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
}

/// How a password is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself is sent: only within TLS.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

/// Files of certificates in PEM.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Authorities to trust; none trusts the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// The client certificate's key.
    pub key_file: Option<PathBuf>,
    /// The password of the key.
    pub key_password: Option<SecretString>,
}

impl KafkaQueueOptions {
    /// The full name of a topic.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// Largest record of a topic, key and headers included. A dead letter carries the submission and
    /// what is said of it.
    pub(super) fn max_message_bytes(&self, topic: Topic) -> usize {
        let times = match topic {
            Topic::Submitted | Topic::Results => 1,
            Topic::DeadLetter => 2,
        };
        self.max_record_bytes + times * RECORD_OVERHEAD_BYTES
    }

    /// What every client has in common.
    fn client(&self) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = ClientConfig::new();
        for (key, value) in &self.extra {
            if RESERVED.contains(&key.as_str()) {
                return Err(KafkaOpenError::Reserved { key: key.clone() });
            }
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", "60000")
            .set("reconnect.backoff.max.ms", "2000");
        if !self.extra.contains_key("client.id") {
            config.set("client.id", "penstock");
        }
        self.secure(&mut config);
        Ok(config)
    }

    fn secure(&self, config: &mut ClientConfig) {
        let protocol = match self.security.protocol {
            SecurityProtocol::Plaintext => "plaintext",
            SecurityProtocol::Ssl => "ssl",
            SecurityProtocol::SaslPlaintext => "sasl_plaintext",
            SecurityProtocol::SaslSsl => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(sasl) = &self.security.sasl {
            let mechanism = match sasl.mechanism {
                SaslMechanism::Plain => "PLAIN",
                SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config
                .set("sasl.mechanism", mechanism)
                .set("sasl.username", &sasl.username)
                .set("sasl.password", sasl.password.expose_secret());
        }
        let tls = &self.security.tls;
        for (key, file) in [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.certificate_file),
            ("ssl.key.location", &tls.key_file),
        ] {
            if let Some(file) = file {
                config.set(key, file.to_string_lossy());
            }
        }
        if let Some(password) = &tls.key_password {
            config.set("ssl.key.password", password.expose_secret());
        }
    }

    /// A client that asks and never reads or writes records.
    pub(super) fn asking(&self) -> Result<ClientConfig, KafkaOpenError> {
        self.client()
    }

    /// The client settings of a producer of what must not be lost.
    pub fn durable_producer(&self) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = self.client()?;
        // The bound is kept by what is admitted; the client's own only has to be out of the way.
        let buffer_kib = (self.max_pending_bytes + self.max_record_bytes) / 1024 * 2 + 1024;
        config
            .set("enable.idempotence", "true")
            .set("compression.type", self.extra_or("compression.type", "lz4"))
            .set("linger.ms", self.extra_or("linger.ms", "5"))
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", self.delivery_timeout.as_millis().to_string())
            .set("message.max.bytes", self.max_message_bytes(Topic::DeadLetter).to_string())
            .set("queue.buffering.max.kbytes", buffer_kib.to_string())
            .set("queue.buffering.max.messages", "0");
        Ok(config)
    }

    /// A producer of replies, which may be lost but must not be late.
    pub(super) fn reply_producer(&self) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = self.client()?;
        config
            .set("acks", "1")
            .set("compression.type", self.extra_or("compression.type", "lz4"))
            .set("linger.ms", "0")
            .set("message.timeout.ms", "3000")
            .set("queue.buffering.max.kbytes", "16384");
        Ok(config)
    }

    /// A reader: as a member of `group`, or of partitions it names itself.
    pub(super) fn reader(&self, group: &str) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = self.client()?;
        for (key, value) in [
            ("queued.min.messages", "20000"),
            ("queued.max.messages.kbytes", "32768"),
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.message.max.bytes", "1048576"),
            ("fetch.max.bytes", "8388608"),
            ("fetch.wait.max.ms", "20"),
        ] {
            config.set(key, self.extra_or(key, value));
        }
        config
            .set("group.id", format!("{}{group}", self.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", self.heartbeat_interval.as_millis().to_string())
            .set("statistics.interval.ms", "1000")
            .set("check.crcs", "true");
        Ok(config)
    }

    /// A reader of replies: what was deleted before it was read is not missed.
    pub(super) fn reply_reader(&self, group: &str) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = self.reader(group)?;
        config.set("auto.offset.reset", "latest").set("statistics.interval.ms", "0");
        Ok(config)
    }

    fn extra_or<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.extra.get(key).map_or(default, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_extra(key: &str, value: &str) -> KafkaQueueOptions {
        let extra = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        KafkaQueueOptions { extra, ..KafkaQueueOptions::default() }
    }

    #[test]
    fn what_penstock_relies_on_cannot_be_changed() {
        for key in RESERVED {
            let error = with_extra(key, "x").durable_producer().unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn further_settings_reach_the_client() {
        let options = with_extra("linger.ms", "25");
        assert_eq!(options.durable_producer().unwrap().get("linger.ms"), Some("25"));
        let options = with_extra("client.rack", "a");
        assert_eq!(options.reader("workers").unwrap().get("client.rack"), Some("a"));
    }

    #[test]
    fn passwords_are_not_printed() {
        let sasl = Sasl {
            mechanism: SaslMechanism::ScramSha512,
            username: "penstock".to_owned(),
            password: SecretString::from("canary"),
        };
        let security =
            Security { protocol: SecurityProtocol::SaslSsl, sasl: Some(sasl), tls: Tls::default() };
        let options = KafkaQueueOptions { security, ..KafkaQueueOptions::default() };
        assert!(!format!("{options:?}").contains("canary"));
        let config = options.asking().unwrap();
        assert_eq!(config.get("sasl.password"), Some("canary"));
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
    }
}
