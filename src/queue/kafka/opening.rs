//! The first look at the brokers. A client that is refused goes on trying for ever; here it is told
//! from brokers that do not answer, at once and with the brokers' reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use super::client::{Asking, Refusal, serve};
use super::error::KafkaOpenError;
use super::options::KafkaQueueOptions;
use super::start::{self, Found};

/// How often what happens to the client is looked at, while it is asked.
const GLANCE: Duration = Duration::from_millis(20);
/// How long after one broker's refusal another one may still answer.
const GRACE: Duration = Duration::from_secs(1);

/// What is told where the topics' settings cannot be looked at.
pub(super) const UNCHECKED: &str =
    "the topics' settings are not checked: administrative requests cannot be given a token from a file";

/// Looks at the topics.
pub(super) async fn look(
    asking: &Arc<BaseConsumer<Asking>>,
    options: &KafkaQueueOptions,
) -> Result<Found, KafkaOpenError> {
    let (told, mut found) = oneshot::channel();
    let (client, asked) = (Arc::clone(asking), options.clone());
    // A thread of its own: nobody waits for it when the brokers refuse.
    std::thread::Builder::new()
        .name("kafka-looking".to_owned())
        .spawn(move || {
            let _ = told.send(start::check_topics(client.client(), &asked));
        })
        .map_err(|error| KafkaOpenError::Client(KafkaError::ClientCreation(error.to_string())))?;
    let mut refused_at = None;
    loop {
        serve(asking);
        if let Some(refusal) = asking.client().context().refusal()
            && refused_at.get_or_insert_with(Instant::now).elapsed() >= GRACE
        {
            return Err(refused(refusal, options));
        }
        if let Ok(found) = tokio::time::timeout(GLANCE, &mut found).await {
            return found.map_err(|_| KafkaOpenError::Client(KafkaError::Canceled))?;
        }
    }
}

fn refused(refusal: Refusal, options: &KafkaQueueOptions) -> KafkaOpenError {
    let brokers = options.brokers.clone();
    match refusal {
        Refusal::Authentication(reason) => KafkaOpenError::Refused { brokers, reason },
        Refusal::Tls(reason) => KafkaOpenError::Untrusted { brokers, reason },
    }
}
