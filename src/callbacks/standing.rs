//! How far each partition of the results topic is recorded and committed, looked at from outside.

use crate::account::{Generation, LogPartition};
use crate::queue::{Queue, Topic};
use crate::store::{Deliveries, WantedDeliveries};

use super::error::DelivererError;
use super::start::{DeletedEvents, StartRefused, start_offset};

/// Why the role would refuse to read partitions, if it would. Asking joins no group.
pub async fn start_refusals(
    queue: &impl Queue,
    store: &impl Deliveries,
    group: &str,
    generation: Generation,
    deleted: DeletedEvents,
) -> Result<Vec<StartRefused>, DelivererError> {
    let standing = queue.standing(Topic::Results, group).await.map_err(DelivererError::Queue)?;
    let log = |partition| LogPartition { generation, partition };
    let logs = standing.iter().map(|known| log(known.partition)).collect();
    let wanted = WantedDeliveries { logs, ..WantedDeliveries::default() };
    let frontiers = store.look(&wanted).await.map_err(DelivererError::Store)?.frontiers;
    let refused = standing.iter().filter_map(|known| {
        start_offset(log(known.partition), known, &frontiers, known.end, deleted).err()
    });
    Ok(refused.collect())
}
