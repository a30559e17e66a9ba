//! Whether a topic may be written to, without appending anything to it.

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::client::{Context, Observing, Role};
use super::error::KafkaOpenError;
use super::options::KafkaQueueOptions;

/// An acknowledgement that Kafka does not know: by how many replicas, as before version 0.9.
const NO_ACKNOWLEDGEMENT: &str = "2";
/// How much longer than the client the caller waits.
const GRACE: Duration = Duration::from_secs(1);

/// Asks for an acknowledgement that Kafka does not know. Brokers look at rights first, and refuse whatever
/// comes so without appending it, however large it is and whatever the topic takes. Blocks, at most for
/// `timeout` and a second.
pub(super) fn may_write(options: &KafkaQueueOptions, topic: &str, timeout: Duration) -> KafkaResult<()> {
    let mut config = options.asking().map_err(|error| client_error(&error))?;
    config.set("acks", NO_ACKNOWLEDGEMENT).set("message.timeout.ms", timeout.as_millis().to_string());
    let (told, answer) = mpsc::channel();
    let context = Observing::untold(&options.security).context("probe", Probe(told));
    let producer: ThreadedProducer<Context<Probe>> = config.create_with_context(context)?;
    producer.send(BaseRecord::<(), [u8]>::to(topic).payload(&[])).map_err(|(error, _)| error)?;
    let answered = answer.recv_timeout(timeout + GRACE);
    // What is not answered by now never will be.
    let _ = producer.flush(Duration::ZERO);
    match answered {
        Ok(Err(KafkaError::MessageProduction(RDKafkaErrorCode::InvalidRequiredAcks))) => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) => Err(KafkaError::ClientCreation(format!(
            "the brokers do not refuse what Apache Kafka refuses; {topic} has an empty record more now"
        ))),
        Err(_) => Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut)),
    }
}

/// Settings that make no client, as the client itself would say so.
pub(super) fn client_error(error: &KafkaOpenError) -> KafkaError {
    KafkaError::ClientCreation(error.to_string())
}

/// Passes on what the broker says of a record.
struct Probe(mpsc::Sender<KafkaResult<()>>);

impl Role for Probe {}

impl ProducerContext for Context<Probe> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // Nobody waits any more when it took too long.
        let _ = self.role.0.send(result.as_ref().map(drop).map_err(|(error, _)| error.clone()));
    }
}
