//! Polls, and makes batches of what comes.

use crate::account::{Generation, Partition};
use crate::queue::{Assignment, Consumer, PollLimits, Polled, QueueError};

use super::super::decode::Item;
use super::batch::Batch;

/// Records decoded before others have their turn on the thread.
const DECODED_AT_A_TIME: usize = 100;

/// What a poll brought.
pub(super) enum Arrived {
    Batch(Batch),
    Assigned(Vec<Assignment>),
    Revoked(Vec<Partition>),
    Nothing,
}

pub(super) async fn read<C: Consumer>(
    consumer: &mut C,
    limits: PollLimits,
    generation: Generation,
) -> Result<Arrived, QueueError> {
    let records = match consumer.poll(limits).await? {
        Polled::Records(records) => records,
        Polled::Assigned(assignments) => return Ok(Arrived::Assigned(assignments)),
        Polled::Revoked(partitions) => return Ok(Arrived::Revoked(partitions)),
        Polled::Idle => return Ok(Arrived::Nothing),
    };
    let mut items = Vec::with_capacity(records.len());
    for received in records {
        if items.len() % DECODED_AT_A_TIME == DECODED_AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
        items.push(Item::decode(received, generation));
    }
    Ok(Arrived::Batch(Batch { items }))
}
