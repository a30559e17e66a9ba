//! Records between the port's form and the client's. An absent key, value or header value counts as
//! an empty one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};

use crate::account::{Offset, Partition, Timestamp};
use crate::queue::{Headers, Received, Record};

/// What a record occupies beside its bytes while it waits.
const ENTRY_BYTES: usize = 200;

/// Of the values of a submission's headers.
const USUAL_HEADER_BYTES: usize = 128;

/// What a record occupies while it waits, in bytes.
pub(super) fn weight(record: &Record) -> usize {
    record.key.len() + record.value.len() + record.headers.size_bytes() + ENTRY_BYTES
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
            headers: message.headers().map(from_kafka).unwrap_or_default(),
        },
    })
}

/// The client panics over a header name that is not UTF-8, which any producer may write: such a
/// record counts as one without headers.
fn from_kafka(headers: &BorrowedHeaders) -> Headers {
    let read = || {
        let mut known = Headers::with_capacity(headers.count(), USUAL_HEADER_BYTES);
        for header in headers.iter() {
            known.push_read(header.key, header.value.unwrap_or_default());
        }
        known
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_default()
}
