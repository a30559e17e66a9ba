//! A look at the brokers for an operator: whether they answer, whether the topics are as they must be,
//! and whether this user may do what the roles do. Nothing is appended anywhere.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::account::{Partition, Timestamp};
use crate::queue::Topic;
use crate::queue::partitioner::partition_of;
use crate::telemetry::{Finding, clock_finding};

use super::client::{Asking, Observing, serve};
use super::error::KafkaOpenError;
use super::options::KafkaQueueOptions;
use super::probe::{client_error, may_write};
use super::record::raw;
use super::start::{self, ADMIN_TIMEOUT, REPLIES};
use super::{REPLY_GROUP, create, on_own_thread, opening};

/// How long a refusal to read may take to arrive.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// How long brokers may take to tell whether a topic may be written to.
const WRITE_PATIENCE: Duration = Duration::from_secs(8);

/// Looks at the brokers as the settings name them. `group` is the workers'; submissions must be kept for as long as
/// `replay_window`.
pub async fn examine(options: &KafkaQueueOptions, group: &str, replay_window: Duration) -> Vec<Finding> {
    let version = rdkafka::util::get_rdkafka_version().1;
    let mut findings = vec![Finding::fine("kafka: client", format!("librdkafka {version}"))];
    match look(options, group, replay_window).await {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::of("kafka: brokers and topics", Err::<String, _>(error))),
    }
    findings
}

async fn look(
    options: &KafkaQueueOptions,
    group: &str,
    replay_window: Duration,
) -> Result<Vec<Finding>, KafkaOpenError> {
    let observing = Observing::untold(&options.security);
    let asking: Arc<BaseConsumer<Asking>> = Arc::new(create(options, &observing)?);
    let topics = opening::look(&asking, options).await?;
    let replies = options.topic(REPLIES);
    let brokers = on_own_thread(move || {
        let metadata = asking.fetch_metadata(Some(&replies), ADMIN_TIMEOUT);
        Ok(metadata.map_err(KafkaOpenError::Client)?.brokers().len())
    })
    .await?;
    let mut findings = vec![Finding::fine("kafka: brokers", format!("{brokers} answer"))];
    if options.security.can_administer() {
        let admin: AdminClient<Asking> = create(options, &observing)?;
        findings.extend(settings(&admin, &topics, replay_window).await);
    } else {
        findings.push(Finding::warning("kafka: topics", opening::UNCHECKED));
    }
    let (options, group) = (options.clone(), group.to_owned());
    let partitions = [options.partitions, topics.replies.partitions];
    findings.extend(on_own_thread(move || Ok(rights(&options, &group, partitions))).await?);
    Ok(findings)
}

async fn settings(
    admin: &AdminClient<Asking>,
    found: &start::Found,
    replay_window: Duration,
) -> Vec<Finding> {
    let subject = "kafka: topics";
    match start::check_settings(admin, found, Some(replay_window)).await {
        Ok(concerns) if concerns.is_empty() => {
            vec![Finding::fine(subject, "all there, with safe settings")]
        }
        Ok(concerns) => concerns.into_iter().map(|concern| Finding::warning(subject, concern)).collect(),
        Err(error) => vec![Finding::of(subject, Err::<String, _>(error))],
    }
}

/// Whether this user may do what the roles do, and what the brokers' clock shows. Blocks.
fn rights(options: &KafkaQueueOptions, group: &str, partitions: [u32; 2]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let submitted = options.topic(Topic::Submitted.name());
    let replies = options.topic(REPLIES);
    let mut appended = None;
    for (topic, partitions) in [&submitted, &replies].into_iter().zip(partitions) {
        let subject = format!("kafka: read {topic}");
        let read = read_newest(options, group, topic, partitions).map(|newest| {
            appended = appended.max(newest.appended);
            if topic == &submitted && newest.misplaced > 0 {
                findings.push(misplaced(topic, &newest));
            }
        });
        findings.push(may_not(&subject, "READ", read));
    }
    for (group, topic) in [(group, &submitted), (REPLY_GROUP, &replies)] {
        let subject = format!("kafka: group {}{group}", options.topic_prefix);
        findings.push(may_not(&subject, "READ", may_join(options, group, topic)));
    }
    for name in Topic::ALL.map(Topic::name).into_iter().chain([REPLIES]) {
        let name = options.topic(name);
        findings.push(may_not(
            &format!("kafka: write {name}"),
            "WRITE",
            may_write(options, &name, WRITE_PATIENCE),
        ));
    }
    findings.push(clock(appended));
    findings
}

fn misplaced(topic: &str, newest: &Newest) -> Finding {
    let Newest { misplaced, seen, .. } = newest;
    Finding::warning(
        format!("kafka: order {topic}"),
        format!(
            "the newest records of {misplaced} of {seen} partitions are not on the partition their key belongs \
             to, so the records of an account may be out of order: whoever writes them must choose partitions by \
             murmur2 of the key, as Kafka's own clients do (partitioner=murmur2 in clients on librdkafka)"
        ),
    )
}

/// What the newest record tells of the brokers' clock. One that is behind cannot be seen without
/// appending something.
fn clock(newest: Option<i64>) -> Finding {
    let subject = "kafka: clock";
    let now = Timestamp::from(SystemTime::now()).unix_millis();
    match newest.map(|appended| appended - now) {
        Some(ahead_ms) if ahead_ms > 0 => clock_finding(subject, ahead_ms),
        Some(_) => Finding::fine(subject, "no record is from the future"),
        None => Finding::fine(subject, "no record shows it"),
    }
}

fn may_not(subject: &str, right: &str, tried: KafkaResult<()>) -> Finding {
    match tried {
        Ok(()) => Finding::fine(subject, "allowed"),
        Err(cause) => Finding::wrong(
            subject,
            format!(
                "{cause}. If it is a matter of rights, grant {right} to the user of queue.kafka.security"
            ),
        ),
    }
}

/// What the newest records of a topic show.
#[derive(Debug, Default)]
struct Newest {
    /// When the newest was appended, if the brokers say so.
    appended: Option<i64>,
    seen: u32,
    /// On another partition than their key belongs to.
    misplaced: u32,
}

/// Reads the newest record of each partition: whoever may not is told so at once.
fn read_newest(
    options: &KafkaQueueOptions,
    group: &str,
    topic: &str,
    partitions: u32,
) -> KafkaResult<Newest> {
    let consumer = reader(options, group)?;
    let mut from = TopicPartitionList::new();
    for partition in 0..partitions {
        from.add_partition_offset(topic, raw(Partition(partition)), Offset::OffsetTail(1))?;
    }
    consumer.assign(&from)?;
    let mut newest = Newest::default();
    let until = Instant::now() + READ_PATIENCE;
    while Instant::now() < until && newest.seen < partitions {
        match consumer.poll(READ_PATIENCE / 10) {
            Some(Err(error)) if is_refusal(&error) => return Err(error),
            Some(Ok(message)) => {
                newest.seen += 1;
                if let rdkafka::Timestamp::LogAppendTime(millis) = message.timestamp() {
                    newest.appended = newest.appended.max(Some(millis));
                }
                let belongs = partition_of(message.key().unwrap_or_default(), partitions);
                newest.misplaced += u32::from(raw(belongs) != message.partition());
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(newest)
}

fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
        )
    )
}

fn may_join(options: &KafkaQueueOptions, group: &str, topic: &str) -> KafkaResult<()> {
    let consumer = reader(options, group)?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let answer = consumer.committed_offsets(asked, ADMIN_TIMEOUT)?;
    answer.find_partition(topic, 0).map_or(Ok(()), |element| element.error())
}

fn reader(options: &KafkaQueueOptions, group: &str) -> KafkaResult<BaseConsumer<Asking>> {
    let config = options.reply_reader(group).map_err(|error| client_error(&error))?;
    let context = Observing::untold(&options.security).context("probe", ());
    let consumer = config.create_with_context(context)?;
    // Brings a token, where one is needed, before anything is asked.
    serve(&consumer);
    Ok(consumer)
}
