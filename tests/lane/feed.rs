//! Seeded submissions from alphabets so small that numbers, accounts and customers collide.

use bytes::Bytes;
use penstock::queue::{BatchId, Envelope, Record, ReplyAddress};
use serde_json::json;
use uuid::Uuid;

use crate::memory::store::POISON;
use crate::random::Random;

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
