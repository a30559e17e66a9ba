//! Dead letters on their way: whatever the topic takes, something of each arrives. One record that is too
//! large stops nobody.

use futures_util::future::join_all;

use super::KafkaQueue;
use super::fitting::{self, SMALLEST_BYTES, fitted};
use super::publisher::{ACTION, PublishError};
use crate::queue::{QueueError, Record, Topic};

/// What a letter is cut to while the topic refuses it: below what brokers take by default, and below what
/// any topic should.
const SMALLER_BYTES: [usize; 3] = [900_000, 64 * 1_024, SMALLEST_BYTES];
/// Letters that are tried one by one at a time.
const AT_A_TIME: usize = 16;

impl KafkaQueue {
    /// Appends letters, each cut to what the topic takes.
    pub(super) async fn publish_letters(&self, letters: Vec<Record>) -> Result<(), QueueError> {
        let topic = self.topic(Topic::DeadLetter);
        let options = &self.inner.options;
        let named = |letter| fitting::with_prefix(letter, &options.topic_prefix);
        let letters: Vec<Record> = letters.into_iter().map(named).collect();
        let wanted = options.max_message_bytes(Topic::DeadLetter);
        let fitting: Vec<Record> = letters.iter().map(|letter| fitted(letter, wanted)).collect();
        match self.inner.publisher.publish(&topic, None, &fitting).await {
            Err(refused) if refused.is_too_large() => {}
            other => return other.map_err(|error| error.on(&topic)),
        }
        // Which of them was refused is not known; one that was not is appended once more.
        for letters in letters.chunks(AT_A_TIME) {
            let published =
                join_all(letters.iter().map(|letter| self.publish_cut(&topic, letter))).await;
            published
                .into_iter()
                .collect::<Result<(), PublishError>>()
                .map_err(|error| error.on(&topic))?;
        }
        Ok(())
    }

    async fn publish_cut(&self, topic: &str, letter: &Record) -> Result<(), PublishError> {
        let mut published = Ok(());
        for max_bytes in SMALLER_BYTES {
            published = self.inner.publisher.publish(topic, None, &[fitted(letter, max_bytes)]).await;
            match &published {
                Err(refused) if refused.is_too_large() => {
                    tracing::warn!(topic, max_bytes, "{ACTION}: a dead letter is too large and is cut");
                }
                _ => break,
            }
        }
        published
    }
}
