//! What may be set of the Kafka client, and the client settings it becomes.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::error::KafkaOpenError;
use super::security::Security;
use crate::queue::Topic;

/// Client settings that [`KafkaQueueOptions::extra`] may not change: penstock relies on them, has a
/// setting of its own for them, or they load foreign code.
const RESERVED: [&str; 51] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "enabled_events",
    "group.id",
    "group.instance.id",
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
    "sasl.kerberos.keytab",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "statistics.interval.ms",
    "transactional.id",
];

/// Endings of further settings that are not free: functions, and secrets, which have no place among
/// settings that are printed.
const RESERVED_ENDINGS: [&str; 7] =
    [".password", ".passphrase", ".secret", ".key.pem", ".oauthbearer.config", "_cb", "opaque"];

/// How often a client tells of itself, in milliseconds.
const STATISTICS_MS: &str = "5000";
/// The same for members of groups: they also learn the ends of their partitions so.
const MEMBER_STATISTICS_MS: &str = "1000";

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
    /// Makes the members of groups static (`group.instance.id`): the n-th consumer of a process, from
    /// 0, is `<instance_id>-<n>` of its group. Its partitions then stay its own while the process is
    /// away for less than the session timeout, so that a rolling restart moves none. The price: a
    /// consumer that closes does not leave, and its partitions stand still until it is back or the
    /// session times out. It must be unique among processes: of two with the same, the older one ends.
    pub instance_id: Option<String>,
    /// How long a partition may have records and bring none, while the brokers can be asked for its
    /// end, before the consumer's client is replaced. When that does not help the consumer is broken.
    pub stall_timeout: Duration,
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
            session_timeout: Duration::from_secs(8),
            heartbeat_interval: Duration::from_secs(1),
            instance_id: None,
            stall_timeout: Duration::from_mins(1),
            extra: BTreeMap::new(),
        }
    }
}

impl KafkaQueueOptions {
    /// Whether clients can be made of them. Nothing is connected to.
    pub fn check(&self) -> Result<(), KafkaOpenError> {
        self.client()?.create_native_config().map(drop).map_err(KafkaOpenError::Client)
    }

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
            let is_reserved = RESERVED.contains(&key.as_str())
                || RESERVED_ENDINGS.iter().any(|ending| key.ends_with(ending));
            if is_reserved {
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
        self.security.apply(&mut config)?;
        Ok(config)
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
            .set("queue.buffering.max.messages", "0")
            .set("statistics.interval.ms", STATISTICS_MS);
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
            .set("queue.buffering.max.kbytes", "16384")
            .set("statistics.interval.ms", STATISTICS_MS);
        Ok(config)
    }

    /// A client that asks and commits for a group without being in it.
    pub(super) fn outsider(&self, group: &str) -> Result<ClientConfig, KafkaOpenError> {
        self.reader(group)
    }

    /// What members of a group and readers of partitions they name themselves have in common.
    fn reader(&self, group: &str) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = self.client()?;
        for (key, value) in [
            ("queued.min.messages", "4000"),
            ("queued.max.messages.kbytes", "4096"),
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.message.max.bytes", "1048576"),
            ("fetch.max.bytes", "2097152"),
            // A partition that comes to the client waits for the request that is under way.
            ("fetch.wait.max.ms", "100"),
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
            .set("statistics.interval.ms", STATISTICS_MS)
            .set("check.crcs", "true");
        Ok(config)
    }

    /// The member of `group` with this number among the process's.
    pub(super) fn member(&self, group: &str, number: u32) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = self.reader(group)?;
        config.set("statistics.interval.ms", MEMBER_STATISTICS_MS);
        if let Some(instance) = &self.instance_id {
            config.set("group.instance.id", format!("{instance}-{number}"));
        }
        Ok(config)
    }

    /// A reader of replies: what was deleted before it was read is not missed.
    pub(super) fn reply_reader(&self, group: &str) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = self.reader(group)?;
        config.set("auto.offset.reset", "latest");
        Ok(config)
    }

    /// A reader of bounded parts of a topic, which is told where a partition ends.
    pub(super) fn range_reader(&self, group: &str) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = self.reader(group)?;
        config.set("enable.partition.eof", "true");
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
        assert_eq!(options.member("workers", 0).unwrap().get("client.rack"), Some("a"));
    }

    #[test]
    fn secrets_and_functions_cannot_be_set() {
        for key in [
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "sasl.oauthbearer.config",
            "oauthbearer_token_refresh_cb",
        ] {
            let error = with_extra(key, "x").asking().unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn members_are_static_when_the_process_has_a_name() {
        let options = KafkaQueueOptions::default();
        assert_eq!(options.member("workers", 1).unwrap().get("group.instance.id"), None);
        let options = KafkaQueueOptions { instance_id: Some("worker-7".to_owned()), ..options };
        let config = options.member("workers", 1).unwrap();
        assert_eq!(config.get("group.instance.id"), Some("worker-7-1"));
        assert_eq!(options.reply_reader("replies").unwrap().get("group.instance.id"), None);
    }
}
