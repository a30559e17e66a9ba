//! A store that is rebuilt from the log: what must be so before, and what is done after.

use crate::account::{Generation, LogPartition, Offset, Partition};
use crate::queue::{Queue, QueueError, ReadRange, Topic};
use crate::store::{OffsetRange, ScanPlace, Scans, Store, StoreError, Wanted};

use super::window::Resolved;

/// Why a store is not rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildRefused {
    /// The log has lost its beginning.
    #[error(
        "partition {} begins at offset {}: what lay before it is deleted, so the store cannot be what it was. Restore a \
         backup that reaches up to there, and the workers go on by themselves", partition.0, earliest.0
    )]
    Deleted {
        /// The partition.
        partition: Partition,
        /// The first offset that it still holds.
        earliest: Offset,
    },
    /// There is something in the store.
    #[error(
        "the store is not empty: only an empty one is rebuilt. Stop the workers, and create a new database with \
         `penstock migrate`, or move the file of the embedded store away"
    )]
    NotEmpty,
    /// Nothing was submitted.
    #[error("the log holds nothing that was decided")]
    NothingThere,
    /// The queue does not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What of the log an empty store is rebuilt from: all that the workers' group has finished, or all there is where
/// it has begun nothing, as on a log that was copied.
pub async fn rebuild_window<S: Store + Scans>(
    queue: &impl Queue,
    store: &S,
    group: &str,
    generation: Generation,
) -> Result<Resolved, RebuildRefused> {
    let standing = queue.standing(Topic::Submitted, group).await?;
    let logs = standing.iter().map(|one| one.partition);
    if !is_empty(store, logs, generation).await? {
        return Err(RebuildRefused::NotEmpty);
    }
    let is_begun = standing.iter().any(|one| one.committed.is_some_and(|next| next > Offset(0)));
    let mut resolved = Resolved { ranges: Vec::new(), shortened: Vec::new() };
    for one in standing {
        let (partition, earliest) = (one.partition, one.earliest);
        if earliest > Offset(0) {
            return Err(RebuildRefused::Deleted { partition, earliest });
        }
        let to = if is_begun { one.committed.unwrap_or(Offset(0)) } else { one.end };
        if to > earliest {
            resolved.ranges.push(ReadRange { partition, from: earliest, to });
        }
    }
    if resolved.ranges.is_empty() { Err(RebuildRefused::NothingThere) } else { Ok(resolved) }
}

async fn is_empty<S: Store + Scans>(
    store: &S,
    partitions: impl Iterator<Item = Partition>,
    generation: Generation,
) -> Result<bool, StoreError> {
    let range = |partition| {
        let log = LogPartition { generation, partition };
        OffsetRange { log, from: Offset(0), to: Offset(0) }
    };
    let wanted = Wanted { ranges: partitions.map(range).collect(), ..Wanted::default() };
    let begin = ScanPlace::default();
    Ok(store.load(&wanted).await?.frontiers.is_empty()
        && store.scan_ledger(begin).await?.rows.is_empty()
        && store.scan_rejections(begin).await?.rows.is_empty()
        && store.scan_accounts(begin).await?.rows.is_empty())
}

/// Has the workers' group begin where the store was rebuilt to, where it has begun nothing.
pub async fn commit_rebuilt(
    queue: &impl Queue,
    store: &impl Store,
    group: &str,
    generation: Generation,
) -> Result<(), RebuildRefused> {
    let standing = queue.standing(Topic::Submitted, group).await?;
    let range = |partition| {
        let log = LogPartition { generation, partition };
        OffsetRange { log, from: Offset(0), to: Offset(0) }
    };
    let ranges = standing.iter().map(|one| range(one.partition)).collect();
    let frontiers = store.load(&Wanted { ranges, ..Wanted::default() }).await?.frontiers;
    for one in standing.into_iter().filter(|one| one.committed.is_none()) {
        let log = LogPartition { generation, partition: one.partition };
        if let Some(next) = frontiers.get(&log) {
            queue.set_committed(Topic::Submitted, group, one.partition, *next).await?;
        }
    }
    Ok(())
}
