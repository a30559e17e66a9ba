//! A letter always fits: what of a record is too large for the dead-letter topic is left out, and the letter
//! tells what that was and where the rest is.

use sha2::{Digest, Sha256};

use crate::queue::dead_letter::{
    HEADERS_LEFT_OUT, KEY_BYTES, NULL, OWN_HEADERS, TOPIC, VALUE_BYTES, VALUE_SHA256,
};
use crate::queue::{Headers, Record};

/// Headers of the origin that are kept in a letter that is cut.
const MAX_HEADERS: usize = 100;
/// What the origin's headers, and its key, may each have of a letter that is cut: one part of so many.
const SHARE: usize = 8;
/// What a header costs beside its name and value, a record beside its parts, and what tells of a value
/// that is cut.
const HEADER_BYTES: usize = 10;
const RECORD_BYTES: usize = 512;
const MARKS_BYTES: usize = 256;

/// The least a topic must take for the smallest letter to fit.
pub(super) const SMALLEST_BYTES: usize = 4 * 1_024;

/// The header of a record that has no key or no value, which the port has as empty ones.
pub(super) fn note_null(headers: &mut Headers, what: &'static str) {
    headers.push(NULL, what);
}

/// Tells the topic of origin by the name it has under `prefix`.
pub(super) fn with_prefix(mut letter: Record, prefix: &str) -> Record {
    // The last one: its origin may have one of the same name.
    let told = letter.headers.iter().filter(|(name, _)| *name == TOPIC).last();
    let Some((_, name)) = told.filter(|_| !prefix.is_empty()) else { return letter };
    let full = [prefix.as_bytes(), name].concat();
    letter.headers.replace_last(TOPIC, &full);
    letter
}

/// The letter for a topic whose records have at most `max_bytes` with everything, but at least
/// [`SMALLEST_BYTES`]. What is left out is told, and can be read at the letter's origin.
pub(super) fn fitted(letter: &Record, max_bytes: usize) -> Record {
    let max_bytes = max_bytes.max(SMALLEST_BYTES);
    let Record { key, value, headers } = letter;
    if size(key.len() + value.len(), headers) <= max_bytes {
        return letter.clone();
    }
    let share = max_bytes / SHARE;
    let mut kept = kept_headers(headers, share);
    let cut_key = key.slice(..key.len().min(share));
    if cut_key.len() < key.len() {
        kept.push_text(KEY_BYTES, key.len());
    }
    let left = max_bytes.saturating_sub(size(cut_key.len(), &kept) + MARKS_BYTES);
    let cut_value = value.slice(..value.len().min(left));
    if cut_value.len() < value.len() {
        kept.push_text(VALUE_BYTES, value.len());
        kept.push(VALUE_SHA256, hex(&Sha256::digest(value)));
    }
    Record { key: cut_key, value: cut_value, headers: kept }
}

/// The letter's own headers, and the first ones of its origin, as long as there is room.
fn kept_headers(headers: &Headers, room: usize) -> Headers {
    let of_origin = headers.iter().len().saturating_sub(OWN_HEADERS.len());
    let mut kept = Headers::default();
    let (mut used, mut left_out) = (0, 0_usize);
    for (place, (name, value)) in headers.iter().enumerate() {
        if place < of_origin {
            used += name.len() + value.len() + HEADER_BYTES;
            if place >= MAX_HEADERS || used > room {
                left_out += 1;
                continue;
            }
        }
        kept.push_read(name, value);
    }
    if left_out > 0 {
        kept.push_text(HEADERS_LEFT_OUT, left_out);
    }
    kept
}

fn size(bytes: usize, headers: &Headers) -> usize {
    bytes + headers.size_bytes() + headers.iter().len() * HEADER_BYTES + RECORD_BYTES
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::account::{Offset, Partition, Timestamp};
    use crate::queue::{Received, Topic, dead_letter};

    fn letter(key: usize, value: usize, headers: &[(usize, usize)], reason: &str) -> Record {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.push("n".repeat(*name), vec![b'v'; *value]);
        }
        let received = Received {
            partition: Partition(7),
            offset: Offset(u64::MAX),
            appended_at: Timestamp::from_unix_millis(1_700_000_000_000),
            record: Record {
                key: Bytes::from(vec![b'k'; key]),
                value: Bytes::from(vec![b'x'; value]),
                headers: all,
            },
        };
        dead_letter(&received, Topic::Submitted, "not_an_account", reason)
    }

    fn whole_size(letter: &Record) -> usize {
        size(letter.key.len() + letter.value.len(), &letter.headers)
    }

    proptest! {
        #[test]
        fn a_letter_fits_whatever_its_origin_was(
            key in 0..20_000usize,
            value in 0..200_000usize,
            headers in prop::collection::vec((0..300usize, 0..9_000usize), 0..130),
            reason in "\\PC{0,800}",
            max_bytes in 0..100_000usize,
        ) {
            let whole = letter(key, value, &headers, &reason);
            let cut = fitted(&whole, max_bytes);
            prop_assert!(whole_size(&cut) <= max_bytes.max(SMALLEST_BYTES));
            for own in OWN_HEADERS {
                prop_assert_eq!(cut.headers.get(own), whole.headers.get(own));
            }
            let is_cut = cut.value.len() < value;
            let told = is_cut.then(|| value.to_string());
            prop_assert_eq!(cut.headers.text(VALUE_BYTES), told.as_deref());
            prop_assert!(whole.value.starts_with(&cut.value) && whole.key.starts_with(&cut.key));
        }
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let whole = letter(100, 10_000, &[(3, 3)], "no account");
        assert_eq!(fitted(&whole, whole_size(&whole)), whole);
    }

    #[test]
    fn what_is_cut_tells_what_it_was() {
        let cut = fitted(&letter(10, 100_000, &[(10, 60_000), (10, 10)], "no account"), 10_000);
        let sha256 = hex(&Sha256::digest(vec![b'x'; 100_000]));
        assert_eq!(cut.headers.text(VALUE_BYTES), Some("100000"));
        assert_eq!(cut.headers.text(VALUE_SHA256), Some(sha256.as_str()));
        assert_eq!(cut.headers.text(HEADERS_LEFT_OUT), Some("2"));
        assert!(cut.value.len() > 5_000, "{}", cut.value.len());
    }

    #[test]
    fn the_topic_of_origin_is_told_by_its_full_name() {
        let letter = with_prefix(letter(0, 0, &[], "no account"), "bank.");
        assert_eq!(letter.headers.text(TOPIC), Some("bank.accounts.submitted"));
    }
}
