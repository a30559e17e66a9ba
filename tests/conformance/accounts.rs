//! Accounts, claims and rejections to store, made from as little as a test wants to say.

use std::sync::Arc;

use penstock::account::{
    Account, AccountWrite, Claim, Coordinates, EventId, Fingerprint, Generation, LogPartition, Offset,
    Outcome, Partition, Rejection, RejectionCode, RejectionNote, Verdict,
};
use serde_json::json;

/// A partition of the first generation.
pub(crate) fn log(partition: u32) -> LogPartition {
    LogPartition { generation: Generation(1), partition: Partition(partition) }
}

/// A place on the log.
pub(crate) fn at(partition: u32, offset: u64) -> Coordinates {
    log(partition).at(Offset(offset))
}

/// An account with every optional field absent.
pub(crate) fn account(number: &str, account_ext_id: &str) -> Account {
    account_with(number, account_ext_id, &json!({}))
}

/// An account with some fields of its own.
pub(crate) fn account_with(number: &str, account_ext_id: &str, fields: &serde_json::Value) -> Account {
    let mut account = json!({
        "communicationNumber": number,
        "requester": "core-banking",
        "businessEntityExtId": "customer-1",
        "accountExtId": account_ext_id,
        "accountNumber": "LI9208800274335945522",
        "accountStatus": "ACTIVE",
        "currencyCode": "CHF",
        "openingDate": "2023-09-05T10:07:34.605+02:00",
    });
    for (name, value) in fields.as_object().unwrap() {
        account[name] = value.clone();
    }
    Account::parse(&account.to_string()).unwrap()
}

/// The account's claim of its number.
pub(crate) fn claim(account: &Account, coordinates: Coordinates) -> Claim {
    let fingerprint = Fingerprint::of(account);
    let event_id = EventId::of(&account.communication_number, &fingerprint, Verdict::Accepted);
    Claim { communication: account.communication(), fingerprint, event_id, coordinates }
}

/// The account's row, if its version is still `expected`.
pub(crate) fn write(
    account: &Account,
    expected: Option<Coordinates>,
    version: Coordinates,
) -> AccountWrite {
    AccountWrite { key: account.key(), expected, account: Arc::new(account.clone()), version }
}

/// How a rejected account ended.
pub(crate) fn rejected(account: &Account, code: RejectionCode) -> Outcome {
    let verdict = Verdict::Rejected(code);
    let fingerprint = Fingerprint::of(account);
    Outcome { verdict, event_id: EventId::of(&account.communication_number, &fingerprint, verdict) }
}

/// The note of a rejection.
pub(crate) fn note(account: &Account, code: RejectionCode, coordinates: Coordinates) -> RejectionNote {
    let rejection = Rejection::Decided(rejected(account, code));
    RejectionNote { coordinates, communication: account.communication(), rejection }
}
