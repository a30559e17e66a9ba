//! Rows of whole tables as typed data. A row that was changed by other hands is told as such where it can be, so
//! that who looks for it finds it.

use serde_json::json;

use crate::account::{Account, Communication, CommunicationNumber, Timestamp};

use super::decode::{
    Decoded, StoredRow, account_key, communication, coordinates, event_id, ledger_row, unreadable,
};
use super::decode_delivery::{key, state, time};
use super::decode_replay::outcome_change;
use super::stored::{event_of, key_of, rejection_of};
use super::{AccountRow, ChangeRow, DeliveryRow, JobName, LedgerRow, RejectionRow};

/// A row whose place in its table is a column, as `SQLite`'s rows have it.
pub(super) fn row_id(row: &impl StoredRow) -> Decoded<u64> {
    u64::try_from(row.offset("id")?).map_err(|_| unreadable("id"))
}

pub(super) fn ledger(row: &impl StoredRow) -> Decoded<LedgerRow> {
    let (number, entry) = ledger_row(row)?;
    Ok(LedgerRow { communication: communication(number, row)?, entry })
}

pub(super) fn rejection(row: &impl StoredRow) -> Decoded<RejectionRow> {
    Ok(RejectionRow {
        coordinates: coordinates(row)?,
        communication: numbered(row)?,
        rejection: rejection_of(row.text("verdict")?, event_id(row)?),
    })
}

pub(super) fn change(row: &impl StoredRow) -> Decoded<ChangeRow> {
    let job = JobName::parse(row.text("job")?).map_err(|_| unreadable("job"))?;
    Ok(ChangeRow { job, change: outcome_change(row)? })
}

pub(super) fn delivery(row: &impl StoredRow) -> Decoded<DeliveryRow> {
    Ok(DeliveryRow {
        key: key(row)?,
        number: row.text("number")?.to_owned(),
        state: state(row)?,
        recorded_at: time(row, "recorded_at")?,
        event: event_of(row.text("attributes")?, row.text("data")?.to_owned()),
    })
}

/// An account is what the schema says of its columns.
pub(super) fn account(row: &impl StoredRow) -> Decoded<AccountRow> {
    let key = account_key(row)?;
    let (business_unit, account_ext_id) = key_of(&key);
    let optional = |column| row.optional_text(column);
    let instant = |column| -> Decoded<Option<String>> {
        Ok(row.optional_instant(column)?.map(|time: Timestamp| time.to_string()))
    };
    let json = json!({
        "communicationNumber": row.text("communication_number")?,
        "requester": row.text("requester")?,
        "businessUnit": business_unit,
        "businessEntityExtId": row.text("business_entity_ext_id")?,
        "accountExtId": account_ext_id,
        "accountNumber": row.text("account_number")?,
        "accountStatus": row.text("account_status")?,
        "accountType": optional("account_type")?,
        "accountPurpose": optional("account_purpose")?,
        "action": row.text("action")?,
        "bankTitle": optional("bank_title")?,
        "bic": optional("bic")?,
        "closingDate": instant("closing_date")?,
        "currencyCode": row.text("currency_code")?,
        "isOtherFinInstAccount": row.optional_flag("is_other_fin_inst_account")?,
        "openingDate": instant("opening_date")?,
        "suspensionReasons": optional("suspension_reasons")?,
    });
    let account = Account::parse(&json.to_string()).ok().map(Box::new);
    Ok(AccountRow { version: coordinates(row)?, key, account })
}

fn numbered(row: &impl StoredRow) -> Decoded<Communication> {
    let number = CommunicationNumber::parse(row.text("number")?);
    communication(number.map_err(|_| unreadable("number"))?, row)
}
