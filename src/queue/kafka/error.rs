//! What can go wrong with Kafka, by what the caller does next.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::queue::{Cause, QueueError};

/// How long is waited for leaders and coordinators that are being chosen.
const SETTLING_TIMEOUT: Duration = Duration::from_secs(10);
const SETTLING_PAUSE: Duration = Duration::from_millis(100);

/// Why the queue cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum KafkaOpenError {
    /// A further setting that is not free.
    #[error("queue.kafka.extra must not set {key}: penstock relies on its own value. Remove it")]
    Reserved {
        /// The setting.
        key: String,
    },
    /// A client cannot be made of the settings.
    #[error("the Kafka client refuses its settings: {0}. Correct queue.kafka")]
    Client(#[source] KafkaError),
    /// No broker answers.
    #[error(
        "no Kafka broker answers at {brokers}: {cause}. Start Kafka, or correct queue.kafka.brokers and \
         queue.kafka.security"
    )]
    Unreachable {
        /// The addresses tried.
        brokers: String,
        /// Why it failed.
        #[source]
        cause: KafkaError,
    },
    /// The brokers do not believe who penstock says it is.
    #[error(
        "the Kafka brokers at {brokers} do not accept who penstock says it is: {reason}. Correct mechanism, \
         user, password or token in queue.kafka.security, or create the user on the brokers"
    )]
    Refused {
        /// The addresses tried.
        brokers: String,
        /// What the client says.
        reason: String,
    },
    /// The brokers and penstock do not agree on TLS.
    #[error(
        "no TLS connection to the Kafka brokers at {brokers}: {reason}. Set \
         queue.kafka.security.ca_file to the authority that signed their certificates, reach them by a \
         name that is in these, and set certificate_file and key_file where they ask for one of penstock"
    )]
    Untrusted {
        /// The addresses tried.
        brokers: String,
        /// What the client says.
        reason: String,
    },
    /// The binary was built without what the settings ask for.
    #[error(
        "this build of penstock lacks {what}: build it with --features {feature}, or use another mechanism"
    )]
    NotBuilt {
        /// What is missing.
        what: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// A protocol that needs SASL, and no SASL.
    #[error(
        "queue.kafka.security says {protocol} but not who penstock is: set the mechanism with its user and \
         password, token or keytab"
    )]
    SaslMissing {
        /// The protocol.
        protocol: &'static str,
    },
    /// SASL that the protocol would not use.
    #[error(
        "queue.kafka.security tells who penstock is by SASL, which {protocol} does not use: set the protocol \
         to sasl_ssl, or remove the mechanism"
    )]
    SaslUnused {
        /// The protocol.
        protocol: &'static str,
    },
    /// A topic is not there, or may not be seen.
    #[error(
        "the topic {topic} does not exist, or may not be described: create it with {partitions} \
         partitions, as `penstock topics apply` does, grant DESCRIBE on it, or correct \
         queue.kafka.topic_prefix"
    )]
    TopicMissing {
        /// The topic.
        topic: String,
        /// The partitions it is to have.
        partitions: u32,
    },
    /// The brokers do not let us do something with a topic.
    #[error(
        "the topic {topic} cannot be {action}: {cause}. Check that the user may describe, create and alter \
         topics, and that there are as many brokers as queue.kafka.topics.replication_factor asks for"
    )]
    Topic {
        /// The topic.
        topic: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: KafkaError,
    },
    /// A topic whose records are in order by key has another partition count than it was used with.
    #[error(
        "the topic {topic} has {found} partitions, but {expected} are expected (queue.kafka.partitions, or \
         what it had when the process began): with another count the records of an account change their \
         partition, out of order, so nothing is written or read. Set queue.kafka.partitions back if only that \
         was changed. If the topic was: stop every role, give accounts.submitted and accounts.results the same \
         count, set queue.kafka.partitions to it, and start callbacks, then the workers, then the intakes, each \
         when the ones before have read all there is; or begin a new log with another \
         queue.kafka.topic_prefix and a higher queue.generation"
    )]
    PartitionCount {
        /// The topic.
        topic: String,
        /// Partitions it has.
        found: usize,
        /// Partitions it is to have.
        expected: u32,
    },
    /// The submitted topic forgets records that have a successor.
    #[error(
        "the topic {topic} is compacted: submissions would vanish before they are processed. Set its \
         cleanup.policy to delete"
    )]
    Compacted {
        /// The topic.
        topic: String,
    },
}

/// The port's error for a failed action: broken when only an operator can help.
pub(super) fn queue_error(action: &'static str, cause: KafkaError) -> QueueError {
    match cause.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => QueueError::Overloaded,
        Some(code) if needs_an_operator(code) => QueueError::Broken { action, cause: Box::new(cause) },
        _ => QueueError::Unavailable { action, cause: Box::new(cause) },
    }
}

/// The same for an action on a topic, which the error names.
pub(super) fn topic_error(action: &'static str, topic: &str, cause: KafkaError) -> QueueError {
    let advice = match cause.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            ", which takes no record of this size: raise its max.message.bytes, as `penstock topics apply` \
             does, or lower queue.kafka.max_record_bytes"
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            ": grant the user of queue.kafka.security READ or WRITE on it"
        }
        _ => "",
    };
    let named = |cause| Box::new(OnTopic { topic: topic.to_owned(), advice, cause });
    match queue_error(action, cause.clone()) {
        QueueError::Broken { action, .. } => QueueError::Broken { action, cause: named(cause) },
        QueueError::Unavailable { action, .. } => {
            QueueError::Unavailable { action, cause: named(cause) }
        }
        other => other,
    }
}

/// What went wrong with a topic.
#[derive(Debug, thiserror::Error)]
#[error("the topic {topic}{advice}")]
struct OnTopic {
    topic: String,
    advice: &'static str,
    #[source]
    cause: KafkaError,
}

pub(super) fn unavailable(action: &'static str, cause: impl Into<Cause>) -> QueueError {
    QueueError::Unavailable { action, cause: cause.into() }
}

pub(super) fn broken(action: &'static str, cause: impl Into<Cause>) -> QueueError {
    QueueError::Broken { action, cause: cause.into() }
}

/// Whether a group has no coordinator that answers for it yet.
pub(super) fn lacks_coordinator(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::WaitingForCoordinator
        )
    )
}

/// Whether a partition has no leader that answers for it yet.
fn lacks_leader(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::LeaderNotAvailable | Code::NotLeaderForPartition | Code::OffsetNotAvailable)
    )
}

/// Asks again, for a bounded time, while those who are to answer are being chosen. Blocks.
pub(super) fn once_settled<T>(mut ask: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    let until = Instant::now() + SETTLING_TIMEOUT;
    loop {
        match ask() {
            Err(error)
                if (lacks_leader(&error) || lacks_coordinator(&error)) && Instant::now() < until =>
            {
                std::thread::sleep(SETTLING_PAUSE);
            }
            answered => return answered,
        }
    }
}

fn needs_an_operator(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::AutoOffsetReset
            | Code::ClusterAuthorizationFailed
            | Code::FencedInstanceId
            | Code::GroupAuthorizationFailed
            | Code::InconsistentGroupProtocol
            | Code::InvalidSessionTimeout
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::UnsupportedSASLMechanism
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::with_causes;

    #[test]
    fn an_error_tells_what_to_do_next() {
        let of = |code| queue_error("publishing records", KafkaError::MessageProduction(code));
        assert!(matches!(of(RDKafkaErrorCode::QueueFull), QueueError::Overloaded));
        assert!(matches!(of(RDKafkaErrorCode::MessageTimedOut), QueueError::Unavailable { .. }));
        assert!(matches!(of(RDKafkaErrorCode::TopicAuthorizationFailed), QueueError::Broken { .. }));
    }

    #[test]
    fn an_error_with_a_topic_names_it_and_the_setting_that_helps() {
        let cause = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        let error =
            with_causes(&topic_error("publishing records", "accounts.results", cause)).to_string();
        for part in ["accounts.results", "max.message.bytes", "queue.kafka.max_record_bytes"] {
            assert!(error.contains(part), "no {part} in {error}");
        }
    }
}
