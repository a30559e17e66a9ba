//! The tables of a store as facts. Each row comes as one JSON text that the database has written, so
//! that every database's rows are read alike.

use std::collections::BTreeMap;

use penstock::account::{
    Account, AccountKey, CommunicationNumber, Coordinates, EventId, Fingerprint, Generation,
    LogPartition, Offset, Partition, RejectionCode,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::facts::{AccountRow, LedgerRow, Noted, RejectionRow, Stored};

/// One query per table, each with one column of JSON objects.
pub struct Queries {
    pub ledger: &'static str,
    pub rejections: &'static str,
    pub accounts: &'static str,
    pub frontiers: &'static str,
}

/// For the production store.
pub const POSTGRES: Queries = Queries {
    ledger: "SELECT json_build_object('number', number, 'fingerprint', encode(fingerprint, 'hex'),
                 'event_id', event_id, 'generation', generation, 'partition', partition,
                 'log_offset', log_offset)::text FROM communications",
    rejections: "SELECT json_build_object('number', number, 'verdict', verdict, 'event_id', event_id,
                 'generation', generation, 'partition', partition, 'log_offset', log_offset)::text
                 FROM rejections",
    accounts: "SELECT json_build_object('generation', generation, 'partition', partition,
                 'log_offset', log_offset, 'account', json_build_object(
                 'communicationNumber', communication_number, 'requester', requester,
                 'businessUnit', nullif(business_unit, ''), 'accountExtId', account_ext_id,
                 'businessEntityExtId', business_entity_ext_id, 'action', action,
                 'accountNumber', account_number, 'accountStatus', account_status,
                 'accountType', account_type, 'accountPurpose', account_purpose,
                 'bankTitle', bank_title, 'bic', bic, 'currencyCode', currency_code,
                 'isOtherFinInstAccount', is_other_fin_inst_account, 'openingDate', opening_date,
                 'closingDate', closing_date, 'suspensionReasons', suspension_reasons))::text
                 FROM accounts",
    frontiers: "SELECT json_build_object('generation', generation, 'partition', partition,
                 'log_offset', next_offset)::text FROM frontiers",
};

/// For the embedded store.
pub const SQLITE: Queries = Queries {
    ledger: "SELECT json_object('number', number, 'fingerprint', hex(fingerprint),
                 'event_id', hex(event_id), 'generation', generation, 'partition', partition,
                 'log_offset', log_offset) FROM communications",
    rejections: "SELECT json_object('number', number, 'verdict', verdict,
                 'event_id', iif(event_id IS NULL, NULL, hex(event_id)), 'generation', generation,
                 'partition', partition, 'log_offset', log_offset) FROM rejections",
    accounts: "SELECT json_object('generation', generation, 'partition', partition,
                 'log_offset', log_offset, 'account', json_object(
                 'communicationNumber', communication_number, 'requester', requester,
                 'businessUnit', nullif(business_unit, ''), 'accountExtId', account_ext_id,
                 'businessEntityExtId', business_entity_ext_id, 'action', action,
                 'accountNumber', account_number, 'accountStatus', account_status,
                 'accountType', account_type, 'accountPurpose', account_purpose,
                 'bankTitle', bank_title, 'bic', bic, 'currencyCode', currency_code,
                 'isOtherFinInstAccount', json(CASE is_other_fin_inst_account
                     WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END),
                 'openingDate', opening_date, 'closingDate', closing_date,
                 'suspensionReasons', suspension_reasons)) FROM accounts",
    frontiers: "SELECT json_object('generation', generation, 'partition', partition,
                 'log_offset', next_offset) FROM frontiers",
};

/// What the queries bring.
#[derive(Default)]
pub struct Rows {
    pub ledger: Vec<String>,
    pub rejections: Vec<String>,
    pub accounts: Vec<String>,
    pub frontiers: Vec<String>,
}

impl Rows {
    /// Reads them; an error says what no penstock has written.
    pub fn decode(&self) -> Result<Stored, String> {
        Ok(Stored {
            ledger: decode_all(&self.ledger, Ledger::row)?,
            rejections: decode_all(&self.rejections, Rejection::row)?,
            accounts: decode_all(&self.accounts, AccountJson::row)?.into_iter().collect(),
            frontiers: decode_all(&self.frontiers, |place: Place| {
                let Coordinates { log, offset } = place.coordinates();
                Ok((log, offset))
            })?
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        })
    }
}

#[derive(Deserialize)]
struct Place {
    generation: u32,
    partition: u32,
    log_offset: u64,
}

impl Place {
    fn coordinates(&self) -> Coordinates {
        let (generation, partition) = (Generation(self.generation), Partition(self.partition));
        LogPartition { generation, partition }.at(Offset(self.log_offset))
    }
}

#[derive(Deserialize)]
struct Ledger {
    number: String,
    fingerprint: String,
    event_id: String,
    #[serde(flatten)]
    place: Place,
}

impl Ledger {
    fn row(self) -> Result<LedgerRow, String> {
        Ok(LedgerRow {
            number: number(&self.number)?,
            fingerprint: fingerprint(&self.fingerprint)?,
            event_id: event_id(&self.event_id)?,
            coordinates: self.place.coordinates(),
        })
    }
}

#[derive(Deserialize)]
struct Rejection {
    number: String,
    verdict: String,
    event_id: Option<String>,
    #[serde(flatten)]
    place: Place,
}

impl Rejection {
    fn row(self) -> Result<RejectionRow, String> {
        let noted = match (self.verdict.as_str(), &self.event_id) {
            ("DEAD_LETTER", None) => Noted::DeadLettered,
            (code, Some(id)) => {
                let code = RejectionCode::parse(code).ok_or_else(|| format!("{code} is no code"))?;
                Noted::Rejected(code, event_id(id)?)
            }
            (verdict, None) => return Err(format!("a rejection with {verdict} has no event")),
        };
        let coordinates = self.place.coordinates();
        Ok(RejectionRow { coordinates, number: number(&self.number)?, noted })
    }
}

#[derive(Deserialize)]
struct AccountJson {
    account: serde_json::Value,
    #[serde(flatten)]
    place: Place,
}

impl AccountJson {
    fn row(self) -> Result<(AccountKey, AccountRow), String> {
        let account = Account::parse(&self.account.to_string())
            .map_err(|errors| format!("a row of accounts is no account: {errors:?}"))?;
        let fingerprint = Fingerprint::of(&account);
        Ok((account.key(), AccountRow { version: self.place.coordinates(), fingerprint }))
    }
}

fn decode_all<J: DeserializeOwned, T>(
    rows: &[String],
    row: impl Fn(J) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let decode = |text: &String| {
        serde_json::from_str(text)
            .map_err(|error| format!("a row cannot be read: {error}"))
            .and_then(&row)
    };
    rows.iter().map(decode).collect()
}

fn number(text: &str) -> Result<CommunicationNumber, String> {
    CommunicationNumber::parse(text).map_err(|problem| format!("a stored number {problem}"))
}

fn event_id(text: &str) -> Result<EventId, String> {
    Uuid::parse_str(text).map(EventId).map_err(|error| format!("a stored event id: {error}"))
}

fn fingerprint(hex: &str) -> Result<Fingerprint, String> {
    let bytes: Option<Vec<u8>> = (0..hex.len())
        .step_by(2)
        .map(|at| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(Fingerprint::from_bytes).ok_or_else(|| "a stored fingerprint is none".to_owned())
}
