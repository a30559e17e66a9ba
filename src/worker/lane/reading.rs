//! Polls, and makes batches of what comes.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::account::{Generation, Partition};
use crate::queue::{Assignment, Consumer, PollLimits, Polled, QueueError, Received};
use crate::telemetry::{Metrics, QueueUse};

use super::super::decode::Item;
use super::super::traces::origins;
use super::batch::{Batch, Work};

/// Records decoded before others have their turn on the thread.
const DECODED_AT_A_TIME: usize = 100;

/// What a poll brought.
pub(super) enum Arrived {
    Batch(Batch),
    Assigned(Vec<Assignment>),
    Revoked(Vec<Partition>),
    Nothing,
}

/// Makes batches of the records of one topic.
pub(super) struct Reader {
    pub(super) generation: Generation,
    pub(super) submitted: QueueUse,
    pub(super) metrics: Metrics,
}

impl Reader {
    /// Begins the work on records that were polled since `begun`.
    fn polled(&self, records: &[Received], begun: Instant) -> Work {
        let polled_at = Instant::now();
        let origins = origins(records.iter().map(|received| &received.record.headers));
        self.submitted.polled(&self.metrics, records.len(), &origins, polled_at - begun);
        Work { span: self.submitted.process_span(records.len(), &origins), polled_at }
    }
}

pub(super) async fn read<C: Consumer>(
    consumer: &mut C,
    limits: PollLimits,
    reader: &Reader,
) -> Result<Arrived, QueueError> {
    let begun = Instant::now();
    let records = match consumer.poll(limits).await? {
        Polled::Records(records) => records,
        Polled::Assigned(assignments) => return Ok(Arrived::Assigned(assignments)),
        Polled::Revoked(partitions) => return Ok(Arrived::Revoked(partitions)),
        Polled::Idle => return Ok(Arrived::Nothing),
    };
    let position =
        |received: &Received| Some((received.partition, consumer.position(received.partition)?));
    let passed: BTreeMap<_, _> = records.iter().filter_map(position).collect();
    let work = reader.polled(&records, begun);
    let mut items = Vec::with_capacity(records.len());
    for received in records {
        if items.len() % DECODED_AT_A_TIME == DECODED_AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
        items.push(Item::decode(received, reader.generation));
    }
    Ok(Arrived::Batch(Batch { items, passed, work }))
}
