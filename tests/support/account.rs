//! An account as a client sends it.

use serde_json::{Value, json};

/// A valid account.
pub(crate) fn account(number: &str, ext_id: &str) -> Value {
    json!({
        "communicationNumber": number,
        "requester": "SYSTEMX",
        "businessUnit": "sandbox",
        "businessEntityExtId": "ORG1",
        "accountExtId": ext_id,
        "accountNumber": "LI9208800274335945522",
        "accountStatus": "ACTIVE",
        "currencyCode": "EUR",
        "openingDate": "2023-09-05T08:07:34.605Z",
    })
}
