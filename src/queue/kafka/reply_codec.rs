//! Replies as bytes. What was not written here, or by another version, is nobody's.
//!
//! A version byte, the address in four bytes, then per reply: batch (16), item (4), kind (1), and for
//! an outcome its event id (16) and, when rejected, the code (4). Numbers are big-endian.

use uuid::Uuid;

use crate::account::{EventId, Outcome, RejectionCode, Verdict};
use crate::queue::{Answer, BatchId, Reply, ReplyAddress};

const VERSION: u8 = 1;
const ACCEPTED: u8 = 0;
const REJECTED: u8 = 1;
const DEAD_LETTERED: u8 = 2;
const CODE_BYTES: usize = 4;

pub(super) fn encode(to: ReplyAddress, replies: &[Reply]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + replies.len() * 41);
    bytes.push(VERSION);
    bytes.extend_from_slice(&to.0.to_be_bytes());
    for reply in replies {
        bytes.extend_from_slice(reply.batch.0.as_bytes());
        bytes.extend_from_slice(&reply.item.to_be_bytes());
        match reply.answer {
            Answer::DeadLettered => bytes.push(DEAD_LETTERED),
            Answer::Decided(Outcome { verdict: Verdict::Accepted, event_id }) => {
                bytes.push(ACCEPTED);
                bytes.extend_from_slice(event_id.0.as_bytes());
            }
            Answer::Decided(Outcome { verdict: Verdict::Rejected(code), event_id }) => {
                bytes.push(REJECTED);
                bytes.extend_from_slice(event_id.0.as_bytes());
                bytes.extend_from_slice(code.code().as_bytes());
            }
        }
    }
    bytes
}

/// The replies of a record, if it is one for `to`.
pub(super) fn decode(bytes: &[u8], to: ReplyAddress) -> Option<Vec<Reply>> {
    let mut rest = bytes;
    if take(&mut rest)? != [VERSION] || u32::from_be_bytes(take(&mut rest)?) != to.0 {
        return None;
    }
    let mut replies = Vec::with_capacity(rest.len() / 37);
    while !rest.is_empty() {
        let batch = BatchId(Uuid::from_bytes(take(&mut rest)?));
        let item = u32::from_be_bytes(take(&mut rest)?);
        let [kind] = take(&mut rest)?;
        let answer = match kind {
            DEAD_LETTERED => Answer::DeadLettered,
            ACCEPTED | REJECTED => Answer::Decided(decode_outcome(&mut rest, kind == REJECTED)?),
            _ => return None,
        };
        replies.push(Reply { batch, item, answer });
    }
    Some(replies)
}

fn decode_outcome(rest: &mut &[u8], is_rejected: bool) -> Option<Outcome> {
    let event_id = EventId(Uuid::from_bytes(take(rest)?));
    let verdict = if is_rejected {
        let code: [u8; CODE_BYTES] = take(rest)?;
        Verdict::Rejected(RejectionCode::parse(std::str::from_utf8(&code).ok()?)?)
    } else {
        Verdict::Accepted
    };
    Some(Outcome { verdict, event_id })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: ReplyAddress = ReplyAddress(0x0102_0304);

    fn every_kind() -> Vec<Reply> {
        let event_id = EventId(Uuid::from_u128(7));
        let decided = |verdict| Answer::Decided(Outcome { verdict, event_id });
        let rejected = RejectionCode::ALL.iter().map(|code| decided(Verdict::Rejected(*code)));
        let answers = rejected.chain([decided(Verdict::Accepted), Answer::DeadLettered]);
        let reply = |(item, answer)| Reply { batch: BatchId(Uuid::from_u128(1)), item, answer };
        (0..).zip(answers).map(reply).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let replies = every_kind();
        assert_eq!(decode(&encode(TO, &replies), TO), Some(replies));
        assert_eq!(decode(&encode(TO, &[]), TO), Some(Vec::new()));
    }

    #[test]
    fn codes_have_their_length() {
        assert!(RejectionCode::ALL.iter().all(|code| code.code().len() == CODE_BYTES));
    }

    #[test]
    fn foreign_bytes_are_nobodys() {
        let bytes = encode(TO, &every_kind());
        assert_eq!(decode(&bytes, ReplyAddress(9)), None, "somebody else's");
        assert_eq!(decode(&bytes[..bytes.len() - 1], TO), None, "cut short");
        assert_eq!(decode(b"", TO), None);
        assert_eq!(decode(b"{\"batch\":1}", TO), None);
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(decode(&newer, TO), None, "of another version");
        for end in 0..bytes.len() {
            let _ = decode(&bytes[..end], TO);
        }
    }
}
