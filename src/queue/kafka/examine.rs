//! A look at the brokers for an operator: whether they answer, whether the topics are as they must be,
//! and whether this user may do what the roles do. Nothing is appended that anybody reads.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::account::Timestamp;
use crate::queue::Topic;
use crate::telemetry::{Finding, clock_finding};

use super::client::{Asking, Context, Observing, Role, serve};
use super::error::KafkaOpenError;
use super::options::KafkaQueueOptions;
use super::start::{self, ADMIN_TIMEOUT, REPLIES};
use super::{create, on_own_thread, opening};

/// How long a refusal to read may take to arrive.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// How long brokers may take to answer a record.
const WRITE_TIMEOUT_MS: u64 = 8_000;

/// Looks at the brokers as the settings name them. `group` is the workers'.
pub async fn examine(options: &KafkaQueueOptions, group: &str) -> Vec<Finding> {
    let version = rdkafka::util::get_rdkafka_version().1;
    let mut findings = vec![Finding::fine("kafka: client", format!("librdkafka {version}"))];
    match look(options, group).await {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::of("kafka: brokers and topics", Err::<String, _>(error))),
    }
    findings
}

async fn look(options: &KafkaQueueOptions, group: &str) -> Result<Vec<Finding>, KafkaOpenError> {
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
        findings.extend(settings(&admin, &topics).await);
    } else {
        findings.push(Finding::warning("kafka: topics", opening::UNCHECKED));
    }
    let (options, group) = (options.clone(), group.to_owned());
    findings.extend(on_own_thread(move || Ok(rights(&options, &group))).await?);
    Ok(findings)
}

async fn settings(admin: &AdminClient<Asking>, found: &start::Found) -> Vec<Finding> {
    let subject = "kafka: topics";
    match start::check_settings(admin, found).await {
        Ok(concerns) if concerns.is_empty() => {
            vec![Finding::fine(subject, "all there, with safe settings")]
        }
        Ok(concerns) => concerns.into_iter().map(|concern| Finding::warning(subject, concern)).collect(),
        Err(error) => vec![Finding::of(subject, Err::<String, _>(error))],
    }
}

/// Whether this user may do what the roles do, and what the brokers' clock shows. Blocks.
fn rights(options: &KafkaQueueOptions, group: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let submitted = options.topic(Topic::Submitted.name());
    let replies = options.topic(REPLIES);
    for topic in [&submitted, &replies] {
        findings.push(may_not(&format!("kafka: read {topic}"), "READ", may_read(options, group, topic)));
    }
    let in_group = may_join(options, group, &submitted);
    findings.push(may_not(&format!("kafka: group {}{group}", options.topic_prefix), "READ", in_group));
    for topic in Topic::ALL {
        let name = options.topic(topic.name());
        let written = may_write(options, topic, &name);
        findings.push(may_not(&format!("kafka: write {name}"), "WRITE", written));
    }
    match ask_clock(options, &replies) {
        Ok(Some(ahead_ms)) => findings.push(clock_finding("kafka: clock", ahead_ms)),
        Ok(None) => findings.push(Finding::warning(
            "kafka: clock",
            format!(
                "{replies} takes the producers' times, so the brokers' clock cannot be seen; \
                     `penstock topics apply` sets message.timestamp.type"
            ),
        )),
        Err(cause) => findings.push(may_not(&format!("kafka: write {replies}"), "WRITE", Err(cause))),
    }
    findings
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

/// Reads at the end of a partition: whoever may not is told so at once.
fn may_read(options: &KafkaQueueOptions, group: &str, topic: &str) -> KafkaResult<()> {
    let consumer = reader(options, group)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::End)?;
    consumer.assign(&from)?;
    let until = Instant::now() + READ_PATIENCE;
    while Instant::now() < until {
        match consumer.poll(READ_PATIENCE / 10) {
            Some(Err(error)) if is_refusal(&error) => return Err(error),
            Some(Ok(_)) => return Ok(()),
            Some(Err(_)) | None => {}
        }
    }
    Ok(())
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

/// Sends what the topic is too small for: brokers look at rights first, and append nothing.
fn may_write(options: &KafkaQueueOptions, topic: Topic, name: &str) -> KafkaResult<()> {
    let too_large = options.max_message_bytes(topic) * 2;
    let mut config = options.durable_producer().map_err(|error| client_error(&error))?;
    config.set("compression.type", "none").set("message.max.bytes", (too_large + 1_024).to_string());
    match send(&config, &Observing::untold(&options.security), name, &vec![0; too_large]) {
        Ok(_) => Err(KafkaError::ClientCreation(format!(
            "{name} takes records of {too_large} bytes; one was appended, of zeros"
        ))),
        Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sends a reply to nobody; tells how far the brokers' clock is ahead, in milliseconds.
fn ask_clock(options: &KafkaQueueOptions, replies: &str) -> KafkaResult<Option<i64>> {
    let config = options.reply_producer().map_err(|error| client_error(&error))?;
    let before = Timestamp::from(SystemTime::now()).unix_millis();
    let appended = send(&config, &Observing::untold(&options.security), replies, &[0])?;
    let after = Timestamp::from(SystemTime::now()).unix_millis();
    Ok(appended.map(|appended| appended - before.midpoint(after)))
}

/// Sends one record and waits for the answer: when it was appended, if the broker says so.
fn send(
    config: &ClientConfig,
    observing: &Observing,
    topic: &str,
    value: &[u8],
) -> KafkaResult<Option<i64>> {
    let (told, answer) = mpsc::channel();
    let mut config = config.clone();
    config.set("message.timeout.ms", WRITE_TIMEOUT_MS.to_string());
    let context = observing.context("probe", Probe(told));
    let producer: ThreadedProducer<Context<Probe>> = config.create_with_context(context)?;
    producer.send(BaseRecord::<(), [u8]>::to(topic).payload(value)).map_err(|(error, _)| error)?;
    let answered = answer.recv_timeout(Duration::from_millis(WRITE_TIMEOUT_MS + 2_000));
    let answered =
        answered.map_err(|_| KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut))?;
    // What is not answered by now never will be.
    let _ = producer.flush(Duration::ZERO);
    answered
}

/// Passes on what the broker says of a record.
struct Probe(mpsc::Sender<KafkaResult<Option<i64>>>);

impl Role for Probe {}

impl ProducerContext for Context<Probe> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let answer = match result {
            Ok(message) => Ok(match message.timestamp() {
                rdkafka::Timestamp::LogAppendTime(millis) => Some(millis),
                rdkafka::Timestamp::NotAvailable | rdkafka::Timestamp::CreateTime(_) => None,
            }),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody waits any more when it took too long.
        let _ = self.role.0.send(answer);
    }
}

fn reader(options: &KafkaQueueOptions, group: &str) -> KafkaResult<BaseConsumer<Asking>> {
    let config = options.reply_reader(group).map_err(|error| client_error(&error))?;
    let context = Observing::untold(&options.security).context("probe", ());
    let consumer = config.create_with_context(context)?;
    // Brings a token, where one is needed, before anything is asked.
    serve(&consumer);
    Ok(consumer)
}

fn client_error(error: &KafkaOpenError) -> KafkaError {
    KafkaError::ClientCreation(error.to_string())
}
