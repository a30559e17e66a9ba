//! Records between the port's form and the client's. An absent key, value or header value counts as
//! an empty one; a header tells of a key or value that is absent.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rdkafka::Offset as KafkaOffset;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};

use super::fitting::note_null;
use crate::account::{Offset, Partition, Timestamp};
use crate::queue::{Headers, Received, Record};

/// What a record occupies beside its bytes while it waits.
const ENTRY_BYTES: usize = 200;

/// Of the values of a submission's headers.
const USUAL_HEADER_BYTES: usize = 128;
/// After so many headers of a record that cannot be read, its others are not tried.
const MAX_UNREADABLE: usize = 8;
/// Tells how many headers of a record are missing, because of a name that is not UTF-8.
const UNREADABLE: &str = "penstock-unreadable-headers";

/// What a record occupies while it waits, in bytes.
pub(super) fn weight(record: &Record) -> usize {
    record.key.len() + record.value.len() + record.headers.size_bytes() + ENTRY_BYTES
}

/// The client's number of a partition.
pub(super) fn raw(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

/// The client's form of an offset.
pub(super) fn raw_offset(offset: Offset) -> KafkaOffset {
    KafkaOffset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX))
}

/// The headers in the client's form. A name with a NUL cannot be written.
pub(super) fn to_kafka(headers: &Headers) -> OwnedHeaders {
    let writable = headers.iter().filter(|(name, _)| !name.contains('\0'));
    writable.fold(OwnedHeaders::new_with_capacity(headers.iter().len()), |all, (key, value)| {
        all.insert(Header { key, value: Some(value) })
    })
}

/// A message as the port has it; none for one without a place on the log.
pub(super) fn received(message: &BorrowedMessage<'_>) -> Option<Received> {
    let bytes = |part: Option<&[u8]>| part.map_or_else(Bytes::new, Bytes::copy_from_slice);
    Some(Received {
        partition: Partition(u32::try_from(message.partition()).ok()?),
        offset: Offset(u64::try_from(message.offset()).ok()?),
        appended_at: Timestamp::from_unix_millis(message.timestamp().to_millis().unwrap_or(0)),
        record: Record {
            key: bytes(message.key()),
            value: bytes(message.payload()),
            headers: headers_of(message),
        },
    })
}

fn headers_of(message: &BorrowedMessage<'_>) -> Headers {
    let (is_keyless, is_tombstone) = (message.key().is_none(), message.payload().is_none());
    let there = message.headers();
    let mut headers = Headers::with_capacity(
        there.map_or(0, |there| there.count()) + usize::from(is_keyless) + usize::from(is_tombstone),
        USUAL_HEADER_BYTES,
    );
    if is_keyless {
        note_null(&mut headers, "key");
    }
    if is_tombstone {
        note_null(&mut headers, "value");
    }
    if let Some(there) = there {
        read_headers(there, &mut headers);
    }
    headers
}

/// The client panics over a header name that is not UTF-8, which any producer may write: only that header
/// is lost.
fn read_headers(there: &BorrowedHeaders, headers: &mut Headers) {
    let count = there.count();
    let mut unreadable = 0;
    for place in 0..count {
        match catch_unwind(AssertUnwindSafe(|| there.try_get(place))) {
            Ok(Some(header)) => headers.push_read(header.key, header.value.unwrap_or_default()),
            Ok(None) => {}
            Err(_) if unreadable + 1 < MAX_UNREADABLE => unreadable += 1,
            Err(_) => {
                unreadable += count - place;
                break;
            }
        }
    }
    if unreadable > 0 {
        headers.push_text(UNREADABLE, unreadable);
    }
}
