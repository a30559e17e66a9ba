//! What must be true of the topics before anything is read or written.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::Client;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use crate::queue::Topic;
use crate::telemetry::with_causes;

use super::client::Asking;
use super::error::KafkaOpenError;
use super::options::KafkaQueueOptions;
use super::replies::Replies;

/// Name of the topic of replies.
pub(super) const REPLIES: &str = "accounts.replies";
/// How long brokers may take to answer what is asked before work begins.
pub(super) const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker may take to hear of a new topic.
const PROPAGATION: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// What was found of the topics.
pub(super) struct Found {
    pub(super) replies: Replies,
    /// Every other topic, in the order of [`Topic::ALL`].
    durable: Vec<FoundTopic>,
}

/// A topic as it was found.
struct FoundTopic {
    name: String,
    partitions: usize,
    replicas: usize,
}

impl Found {
    /// How many partitions a topic has.
    pub(super) fn partitions(&self, topic: Topic) -> u32 {
        let found = Topic::ALL.iter().zip(&self.durable).find(|(known, _)| **known == topic);
        found.map_or(0, |(_, found)| u32::try_from(found.partitions).unwrap_or(u32::MAX))
    }
}

/// Looks whether every topic is there, and those that are in order as they were pinned. Blocks.
pub(super) fn check_topics(
    client: &Client<Asking>,
    options: &KafkaQueueOptions,
) -> Result<Found, KafkaOpenError> {
    let deadline = Instant::now() + PROPAGATION;
    let mut durable = Vec::new();
    for topic in Topic::ALL {
        let name = options.topic(topic.name());
        let (partitions, replicas) = settled_shape_of(client, options, &name, deadline)?;
        if topic.is_ordered() && partitions != options.partitions as usize {
            let (found, expected) = (partitions, options.partitions);
            return Err(KafkaOpenError::PartitionCount { topic: name, found, expected });
        }
        durable.push(FoundTopic { name, partitions, replicas });
    }
    let topic = options.topic(REPLIES);
    let (partitions, _) = settled_shape_of(client, options, &topic, deadline)?;
    let replies = Replies { topic, partitions: u32::try_from(partitions).unwrap_or(u32::MAX) };
    Ok(Found { replies, durable })
}

/// Asks again while a topic is missing: a broker hears of one that was just made a little later.
fn settled_shape_of(
    client: &Client<Asking>,
    options: &KafkaQueueOptions,
    topic: &str,
    deadline: Instant,
) -> Result<(usize, usize), KafkaOpenError> {
    loop {
        match shape_of(client, options, topic) {
            Err(KafkaOpenError::TopicMissing { .. }) if Instant::now() < deadline => {
                std::thread::sleep(RETRY_PAUSE);
            }
            result => return result,
        }
    }
}

/// Partitions, and replicas of the first of them.
pub(super) fn shape_of(
    client: &Client<Asking>,
    options: &KafkaQueueOptions,
    topic: &str,
) -> Result<(usize, usize), KafkaOpenError> {
    let metadata = metadata_of(client, topic)
        .map_err(|cause| KafkaOpenError::Unreachable { brokers: options.brokers.clone(), cause })?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let is_there = found.filter(|found| found.error().is_none() && !found.partitions().is_empty());
    let Some(found) = is_there else {
        let partitions = options.partitions;
        return Err(KafkaOpenError::TopicMissing { topic: topic.to_owned(), partitions });
    };
    let replicas = found.partitions().first().map_or(0, |partition| partition.replicas().len());
    Ok((found.partitions().len(), replicas))
}

/// Asks again while no broker is connected yet: the first connection may fail where the next does not.
fn metadata_of(client: &Client<Asking>, topic: &str) -> KafkaResult<Metadata> {
    let deadline = Instant::now() + ADMIN_TIMEOUT;
    loop {
        match client.fetch_metadata(Some(topic), ADMIN_TIMEOUT) {
            Err(error)
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(RETRY_PAUSE);
            }
            result => return result,
        }
    }
}

/// Looks at the topics' settings: refuses what loses submissions, tells what makes them less safe, or has them kept
/// for less than a replay must reach back. Brokers that do not let penstock see the settings are believed.
pub(super) async fn check_settings(
    admin: &AdminClient<Asking>,
    found: &Found,
    replay_window: Option<Duration>,
) -> Result<Vec<String>, KafkaOpenError> {
    let asked: Vec<_> = found.durable.iter().map(|it| ResourceSpecifier::Topic(&it.name)).collect();
    let admin_options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let unseen = |why: &dyn std::fmt::Display| {
        format!(
            "the topics' settings cannot be read and are not checked ({why}): grant DESCRIBE_CONFIGS"
        )
    };
    let answers = match admin.describe_configs(&asked, &admin_options).await {
        Ok(answers) => answers,
        Err(error) => return Ok(vec![unseen(&with_causes(&error))]),
    };
    let mut concerns = Vec::new();
    let mut sizes = [None; Topic::ALL.len()];
    let topics = Topic::ALL.iter().zip(&found.durable).zip(&mut sizes);
    for (((topic, FoundTopic { name, replicas, .. }), size), answer) in topics.zip(answers) {
        match answer {
            Ok(settings) => {
                *size = value(&settings, MAX_MESSAGE_BYTES).parse().ok();
                concerns.extend(judge(name, *topic, &settings, *replicas)?);
                let window = replay_window.filter(|_| *topic == Topic::Submitted);
                concerns.extend(window.and_then(|window| judge_retention(name, &settings, window)));
            }
            Err(code) => concerns.push(unseen(&format!("{name}: {code}"))),
        }
    }
    concerns.extend(judge_sizes(found, sizes));
    Ok(concerns)
}

/// Whether a letter has room for the largest record that may become one.
fn judge_sizes(found: &Found, sizes: [Option<u64>; Topic::ALL.len()]) -> Option<String> {
    let [submitted, _, dead_letter] = sizes;
    let [origin, _, letters] = found.durable.as_slice() else { return None };
    let (submitted, dead_letter) = (submitted?, dead_letter?);
    (submitted > dead_letter).then(|| {
        format!(
            "{} takes records of {submitted} bytes, {} only of {dead_letter}: dead letters of larger ones are \
             cut, and the rest is gone with the retention of {}. Set {MAX_MESSAGE_BYTES} of {} to at least \
             {submitted}",
            origin.name, letters.name, origin.name, letters.name
        )
    })
}

/// Whether a topic keeps its records for as long as a replay must reach back.
fn judge_retention(name: &str, settings: &ConfigResource, window: Duration) -> Option<String> {
    let limit = |setting| value(settings, setting).parse::<u64>().ok();
    let window_text = humantime::format_duration(window);
    if let Some(kept) = limit("retention.ms").map(Duration::from_millis).filter(|kept| *kept < window) {
        return Some(format!(
            "{name} keeps records for {}, and replay.window asks for {window_text}: what is older cannot be replayed. \
             Raise queue.kafka.topics.submitted_retention and run `penstock topics apply`, or lower replay.window",
            humantime::format_duration(kept)
        ));
    }
    limit("retention.bytes").map(|bytes| {
        format!(
            "{name} has retention.bytes={bytes}: for how long it keeps records depends on how many come, so whether a \
             replay reaches back replay.window ({window_text}) cannot be said. Set it to -1"
        )
    })
}

fn value<'a>(settings: &'a ConfigResource, name: &str) -> &'a str {
    settings.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default()
}

fn judge(
    name: &str,
    topic: Topic,
    settings: &ConfigResource,
    replicas: usize,
) -> Result<Vec<String>, KafkaOpenError> {
    let value = |name| value(settings, name);
    let mut concerns = Vec::new();
    if topic == Topic::Submitted && value("cleanup.policy").contains("compact") {
        return Err(KafkaOpenError::Compacted { topic: name.to_owned() });
    }
    if replicas > 1 && value("min.insync.replicas") == "1" {
        concerns.push(format!(
            "{name} has {replicas} replicas but min.insync.replicas=1: what is acknowledged may be on one \
             broker only and be lost with it. Set it to 2, as `penstock topics apply` does"
        ));
    }
    if topic == Topic::Submitted && value("message.timestamp.type") != "LogAppendTime" {
        concerns.push(format!(
            "{name} has no message.timestamp.type=LogAppendTime: times are the producers', and a window by \
             time may miss records. Set it, as `penstock topics apply` does"
        ));
    }
    if value("unclean.leader.election.enable") == "true" {
        concerns.push(format!(
            "{name} has unclean.leader.election.enable=true: a broker that is behind may become leader, and \
             acknowledged records are lost. Set it to false"
        ));
    }
    Ok(concerns)
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    fn settings(values: &[(&str, &str)]) -> ConfigResource {
        let entry = |(name, value): &(&str, &str)| ConfigEntry {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        let specifier = OwnedResourceSpecifier::Topic("accounts.submitted".to_owned());
        ConfigResource { specifier, entries: values.iter().map(entry).collect() }
    }

    fn judged(changed: (&str, &str), replicas: usize) -> Result<Vec<String>, KafkaOpenError> {
        let safe = [
            ("cleanup.policy", "delete"),
            ("min.insync.replicas", "2"),
            ("message.timestamp.type", "LogAppendTime"),
            ("unclean.leader.election.enable", "false"),
        ];
        let changed_or = |name, value| if name == changed.0 { changed.1 } else { value };
        let settings = settings(&safe.map(|(name, value)| (name, changed_or(name, value))));
        judge("accounts.submitted", Topic::Submitted, &settings, replicas)
    }

    #[test]
    fn a_retention_that_is_shorter_than_a_replay_reaches_back_is_told() {
        let day = Duration::from_hours(24);
        let kept = |ms: &str, bytes: &str, window| {
            let settings = settings(&[("retention.ms", ms), ("retention.bytes", bytes)]);
            judge_retention("accounts.submitted", &settings, window)
        };
        assert_eq!(kept("1209600000", "-1", 14 * day), None);
        assert_eq!(kept("-1", "-1", 10_000 * day), None);
        let told = kept("86400000", "-1", 2 * day).unwrap();
        assert!(told.contains("keeps records for 1day, and replay.window asks for 2days"), "{told}");
        let told = kept("-1", "1000", day).unwrap();
        assert!(told.contains("retention.bytes=1000") && told.contains("Set it to -1"), "{told}");
    }

    #[test]
    fn settings_that_may_lose_records_are_told_with_the_remedy() {
        assert!(judged(("", ""), 3).unwrap().is_empty());
        for changed in [
            ("min.insync.replicas", "1"),
            ("message.timestamp.type", "CreateTime"),
            ("unclean.leader.election.enable", "true"),
        ] {
            let concerns = judged(changed, 3).unwrap();
            assert_eq!(concerns.len(), 1, "{concerns:?}");
            assert!(concerns[0].contains(changed.0) && concerns[0].contains("Set it"), "{concerns:?}");
        }
        assert!(
            judged(("min.insync.replicas", "1"), 1).unwrap().is_empty(),
            "one replica has no choice"
        );
        assert!(matches!(
            judged(("cleanup.policy", "compact"), 3),
            Err(KafkaOpenError::Compacted { .. })
        ));
    }
}
