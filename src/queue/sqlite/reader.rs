//! Reads from the queue's file. Each is one statement, so a dropped future leaves nothing behind.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, SqliteExecutor, SqlitePool};

use crate::account::{Offset, Partition, Timestamp};
use crate::queue::{Received, Record, Topic};

use super::headers;
use super::position::{Slice, place, topic_number};
use super::statements;

/// Records of one partition, `from` to before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) slice: Slice,
    pub(super) from: Offset,
    pub(super) to: Offset,
}

/// Where a record stands and when it was appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) position: i64,
    pub(super) appended_at_ms: i64,
}

/// Records of the ranges, one range after the other, as many as have `max_bytes` of values; at least
/// one if there is any.
pub(super) async fn read(
    readers: &SqlitePool,
    ranges: &[Range],
    max_bytes: usize,
) -> Result<Vec<Received>, sqlx::Error> {
    let positions: Vec<_> = ranges
        .iter()
        .filter(|range| range.from < range.to)
        .map(|range| [range.slice.at(range.from), range.slice.at(range.to) - 1])
        .collect();
    let mut rows = sqlx::query(statements::READ).bind(json(&positions)?).fetch(readers);
    let mut records = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let received = received(&row)?;
        bytes += received.record.value.len();
        if bytes > max_bytes && !records.is_empty() {
            break;
        }
        records.push(received);
    }
    Ok(records)
}

/// The first record of a partition at or after `from`.
pub(super) async fn first_from(
    readers: &SqlitePool,
    slice: Slice,
    from: Offset,
) -> Result<Option<Mark>, sqlx::Error> {
    let marks = marks(readers, statements::FIRST_OF, &[[slice.at(from), slice.bounds().1]]).await?;
    Ok(marks.first().copied())
}

/// The first records of partitions; empty ones have none.
pub(super) async fn first_of(
    executor: impl SqliteExecutor<'_>,
    slices: &[Slice],
) -> Result<Vec<Mark>, sqlx::Error> {
    marks(executor, statements::FIRST_OF, &bounds(slices)).await
}

/// The last records of partitions; empty ones have none.
pub(super) async fn last_of(
    executor: impl SqliteExecutor<'_>,
    slices: &[Slice],
) -> Result<Vec<Mark>, sqlx::Error> {
    marks(executor, statements::LAST_OF, &bounds(slices)).await
}

/// Where the partitions of every topic end, and when the last record of all was appended.
pub(super) async fn ends(
    connection: &mut SqliteConnection,
    partitions: u32,
) -> Result<(HashMap<(Topic, Partition), Offset>, i64), sqlx::Error> {
    let (mut ends, mut last_append_ms) = (HashMap::new(), 0);
    for topic in Topic::ALL {
        let slices: Vec<_> =
            (0..partitions).map(|partition| Slice { topic, partition: Partition(partition) }).collect();
        for mark in last_of(&mut *connection, &slices).await? {
            let (partition, last) = place(mark.position);
            ends.insert((topic, partition), last.next());
            last_append_ms = last_append_ms.max(mark.appended_at_ms);
        }
    }
    Ok((ends, last_append_ms))
}

/// What a group has committed of a topic.
pub(super) async fn committed(
    readers: &SqlitePool,
    group: &str,
    topic: Topic,
) -> Result<Vec<(Partition, Offset)>, sqlx::Error> {
    let rows = sqlx::query(statements::COMMITTED)
        .bind(group)
        .bind(topic_number(topic))
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| {
            let next_offset: i64 = row.try_get("next_offset")?;
            Ok((Partition(row.try_get("partition")?), Offset(next_offset.cast_unsigned())))
        })
        .collect()
}

fn bounds(slices: &[Slice]) -> Vec<[i64; 2]> {
    slices.iter().map(|slice| <[i64; 2]>::from(slice.bounds())).collect()
}

async fn marks(
    executor: impl SqliteExecutor<'_>,
    statement: &'static str,
    ranges: &[[i64; 2]],
) -> Result<Vec<Mark>, sqlx::Error> {
    let rows = sqlx::query(statement).bind(json(ranges)?).fetch_all(executor).await?;
    rows.iter()
        .map(|row| Ok(Mark { position: row.try_get(0)?, appended_at_ms: row.try_get(1)? }))
        .collect()
}

fn received(row: &SqliteRow) -> Result<Received, sqlx::Error> {
    let (partition, offset) = place(row.try_get(0)?);
    let bytes = |column| row.try_get::<Vec<u8>, _>(column).map(Bytes::from);
    let headers = headers::decode(bytes(4)?).ok_or_else(|| sqlx::Error::ColumnDecode {
        index: "headers".to_owned(),
        source: "the stored form is none that penstock writes".into(),
    })?;
    Ok(Received {
        partition,
        offset,
        appended_at: Timestamp::from_unix_millis(row.try_get(1)?),
        record: Record { key: bytes(2)?, value: bytes(3)?, headers },
    })
}

/// Numbers as the JSON array a statement takes.
pub(super) fn json<const N: usize>(rows: &[[i64; N]]) -> Result<String, sqlx::Error>
where
    [i64; N]: serde::Serialize,
{
    serde_json::to_string(rows).map_err(|cause| sqlx::Error::Encode(Box::new(cause)))
}
