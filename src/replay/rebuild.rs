//! A store that is rebuilt from the log: what must be so before, and what is done after.

use std::time::Duration;

use crate::account::{Generation, LogPartition, Offset, Partition};
use crate::queue::{PollLimits, Queue, QueueError, ReadRange, Reader, Topic, is_copied};
use crate::store::{JobName, JobState, Replays, ScanPlace, Scans, Store, StoreError, frontiers};

use super::job::{Mode, Request};
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
    /// Nobody knows how far workers had got.
    #[error(
        "the workers' group has committed nothing of this log, and it was not copied from another one: how far workers had \
         got is not known. Set the group to where they were, or start the workers on the empty store, which decide and tell \
         everything anew"
    )]
    NotBegun,
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

/// One record at a time.
const ONE: PollLimits =
    PollLimits { max_records: 1, max_bytes: usize::MAX, max_wait: Duration::from_secs(1) };

/// Jobs among which is looked for one that rebuilds.
const JOBS: usize = 10_000;

/// A store is not what it was yet.
#[derive(Debug, thiserror::Error)]
pub enum HalfRebuilt {
    /// A rebuild has not come to its end.
    #[error(
        "the store is being rebuilt by the job {name}, which is {}: a worker would decide the rest by the rules of today. \
         See the job to its end with `penstock replay resume {name}`; if it was aborted, rebuild an empty store", state.as_str()
    )]
    By {
        /// The job.
        name: JobName,
        /// Where it stands.
        state: JobState,
    },
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether workers may go on with a store: not while a rebuild of it has not come to its end.
pub async fn must_be_whole(store: &impl Replays) -> Result<(), HalfRebuilt> {
    for job in store.jobs(JOBS).await? {
        let is_rebuild = Request::of(&job).is_ok_and(|request| request.mode == Mode::Rebuild);
        if is_rebuild && job.state != JobState::Completed {
            return Err(HalfRebuilt::By { name: job.job.name, state: job.state });
        }
    }
    Ok(())
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
    let is_empty_log = standing.iter().all(|one| one.end == Offset(0));
    let mut resolved = Resolved { ranges: Vec::new(), shortened: Vec::new() };
    for one in standing {
        let (partition, earliest) = (one.partition, one.earliest);
        if earliest > Offset(0) {
            return Err(RebuildRefused::Deleted { partition, earliest });
        }
        let to = if is_begun {
            one.committed.unwrap_or(Offset(0))
        } else {
            copied_up_to(queue, partition, one.end).await?
        };
        if to > earliest {
            resolved.ranges.push(ReadRange { partition, from: earliest, to });
        }
    }
    match (resolved.ranges.is_empty(), is_begun, is_empty_log) {
        (false, _, _) => Ok(resolved),
        (true, false, false) => Err(RebuildRefused::NotBegun),
        (true, _, _) => Err(RebuildRefused::NothingThere),
    }
}

/// The offset after the last record that was copied: what was submitted to the log itself comes after it, and is the
/// workers'.
async fn copied_up_to(
    queue: &impl Queue,
    partition: Partition,
    end: Offset,
) -> Result<Offset, QueueError> {
    let (mut copied, mut own) = (0, end.0);
    while copied < own {
        let middle = copied + (own - copied) / 2;
        if is_copied_at(queue, partition, Offset(middle)).await? {
            copied = middle + 1;
        } else {
            own = middle;
        }
    }
    Ok(Offset(copied))
}

/// Whether the record at an offset, or the first one after it, was copied. One that is not there was not.
async fn is_copied_at(queue: &impl Queue, partition: Partition, at: Offset) -> Result<bool, QueueError> {
    let range = ReadRange { partition, from: at, to: at.next() };
    let mut reader = queue.open_reader(Topic::Submitted, vec![range]).await?;
    while !reader.is_done() {
        if let Some(received) = reader.read(ONE).await?.first() {
            return Ok(is_copied(received));
        }
    }
    Ok(false)
}

async fn is_empty<S: Store + Scans>(
    store: &S,
    partitions: impl Iterator<Item = Partition>,
    generation: Generation,
) -> Result<bool, StoreError> {
    let logs = partitions.map(|partition| LogPartition { generation, partition });
    let begin = ScanPlace::default();
    Ok(frontiers(store, logs).await?.is_empty()
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
    let log = |partition| LogPartition { generation, partition };
    let frontiers = frontiers(store, standing.iter().map(|one| log(one.partition))).await?;
    for one in standing.into_iter().filter(|one| one.committed.is_none()) {
        if let Some(next) = frontiers.get(&log(one.partition)) {
            queue.set_committed(Topic::Submitted, group, one.partition, *next).await?;
        }
    }
    Ok(())
}
