//! Seeded submissions from alphabets so small that numbers, accounts and customers collide.

use bytes::Bytes;
use penstock::queue::{BatchId, Envelope, Record, ReplyAddress};
use serde_json::json;
use uuid::Uuid;

use crate::memory::store::POISON;

/// A small generator of good enough randomness (`SplitMix64`), so that a seed means the same for ever.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// Bytes that are no account.
pub const GARBAGE: &[u8] = b"\xff no account";

/// What a producer sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Feed {
    /// Numbers are shared by accounts, and some accounts cannot be stored.
    #[default]
    Colliding,
    /// Records are keyed at random, so that one account is on several partitions.
    SpreadAccounts,
    /// Numbers are shared only by submissions of one account, and everything can be stored: what a
    /// record comes to depends on its partition alone.
    Separate,
}

/// The `sequence`th record of a run.
pub fn record(random: &mut Random, sequence: u32, feed: Feed) -> Record {
    let account = format!("a{}", random.below(4));
    let (key, number) = match feed {
        Feed::Colliding => (format!("/{account}"), format!("n{}", random.below(12))),
        Feed::SpreadAccounts => (random.below(9).to_string(), format!("n{}", random.below(24))),
        Feed::Separate => (format!("/{account}"), format!("{account}-n{}", random.below(4))),
    };
    let key = Bytes::from(key);
    let envelope = Envelope {
        item: Some((BatchId(Uuid::nil()), sequence)),
        reply_to: Some(ReplyAddress(0)),
        default_business_unit: None,
    };
    let headers = envelope.to_headers();
    if random.below(25) == 0 {
        return Record { key, value: Bytes::from_static(GARBAGE), headers };
    }
    let mut item = json!({
        "communicationNumber": number,
        "requester": "CORE",
        "businessEntityExtId": format!("c{}", random.pick(&[0, 0, 0, 1])),
        "accountExtId": account,
        "accountNumber": "LT121000011101001000",
        "accountStatus": "ACTIVE",
        "currencyCode": random.pick(&["EUR", "EUR", "EUR", "XEU"]),
        "openingDate": random.pick(&["2023-09-05T08:07:34Z", "2024-01-01T00:00:00Z"]),
        "action": random.pick(&["CREATE", "UPDATE", "UPDATE"]),
    });
    if feed != Feed::Separate && random.below(30) == 0 {
        item["accountPurpose"] = json!(POISON);
    }
    Record { key, value: Bytes::from(item.to_string()), headers }
}

/// A record for the account `a0` with the given key, number and action.
pub fn scripted(key: &'static str, number: &str, action: &str) -> Record {
    let item = json!({
        "communicationNumber": number, "requester": "CORE", "businessEntityExtId": "c0",
        "accountExtId": "a0", "accountNumber": "LT121000011101001000", "accountStatus": "ACTIVE",
        "currencyCode": "EUR", "openingDate": "2023-09-05T08:07:34Z", "action": action,
    });
    let headers = Envelope::default().to_headers();
    Record { key: Bytes::from_static(key.as_bytes()), value: Bytes::from(item.to_string()), headers }
}
