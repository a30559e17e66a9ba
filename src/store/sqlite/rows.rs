//! Plans and wishes as the JSON arrays the statements take. The order of a row's elements is the one
//! the statement names; `SQLite` sees text and numbers only, never a value of ours in its SQL.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::account::{
    AccountWrite, Claim, Communication, CommunicationNumber, Coordinates, EventId, Fingerprint,
    FrontierMove, Plan, RejectionNote, Text, Withdrawal,
};
use crate::store::stored::{key_of, storable, verdict_of};
use crate::store::{OffsetRange, StalePart, Wanted};

use super::statements;
use super::writer::Step;

/// Rows for one statement.
#[derive(Default)]
pub(super) struct Rows {
    /// How many there are.
    pub(super) count: u64,
    /// A JSON array with one element each.
    pub(super) json: String,
}

impl Rows {
    pub(super) fn of<T: Serialize>(rows: &[T]) -> Result<Self, serde_json::Error> {
        if rows.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { count: rows.len() as u64, json: serde_json::to_string(rows)? })
    }
}

/// What a view must show, per statement.
pub(super) struct WantedRows {
    pub(super) numbers: Rows,
    pub(super) accounts: Rows,
    pub(super) ranges: Rows,
}

impl WantedRows {
    pub(super) fn of(wanted: &Wanted) -> Result<Self, serde_json::Error> {
        let numbers: Vec<&str> = wanted.numbers.iter().map(CommunicationNumber::as_str).collect();
        let accounts: Vec<_> = wanted.accounts.iter().map(key_of).collect();
        Ok(Self {
            numbers: Rows::of(&numbers)?,
            accounts: Rows::of(&accounts)?,
            ranges: Self::ranges(&wanted.ranges)?,
        })
    }

    /// Each as `[generation, partition, from, to]`.
    pub(super) fn ranges(ranges: &[OffsetRange]) -> Result<Rows, serde_json::Error> {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|range| {
                (
                    range.log.generation.0,
                    range.log.partition.0,
                    storable(range.from.0),
                    storable(range.to.0),
                )
            })
            .collect();
        Rows::of(&ranges)
    }
}

/// What a plan writes, per statement.
pub(super) struct PlanRows {
    pub(super) first_frontiers: Rows,
    pub(super) moved_frontiers: Rows,
    pub(super) claims: Rows,
    pub(super) new_accounts: Rows,
    pub(super) changed_accounts: Rows,
    pub(super) withdrawals: Rows,
    pub(super) rejections: Rows,
}

impl PlanRows {
    pub(super) fn of(plan: &Plan) -> Result<Self, serde_json::Error> {
        let (moved, first): (Vec<_>, Vec<_>) =
            plan.frontiers.iter().map(FrontierRow).partition(|row| row.0.expected.is_some());
        let (changed, new): (Vec<_>, Vec<_>) =
            plan.accounts.iter().map(AccountRow).partition(|row| row.0.expected.is_some());
        let claims: Vec<_> = plan.claims.iter().map(ClaimRow).collect();
        let withdrawals: Vec<_> = plan.withdrawals.iter().map(WithdrawalRow).collect();
        let rejections: Vec<_> = plan.rejections.iter().map(RejectionRow).collect();
        Ok(Self {
            first_frontiers: Rows::of(&first)?,
            moved_frontiers: Rows::of(&moved)?,
            claims: Rows::of(&claims)?,
            new_accounts: Rows::of(&new)?,
            changed_accounts: Rows::of(&changed)?,
            withdrawals: Rows::of(&withdrawals)?,
            rejections: Rows::of(&rejections)?,
        })
    }

    /// The statements, in the order every transaction keeps.
    pub(super) fn into_steps(self) -> Vec<Step> {
        let steps = [
            (StalePart::Frontier, statements::INSERT_FRONTIERS, self.first_frontiers),
            (StalePart::Frontier, statements::MOVE_FRONTIERS, self.moved_frontiers),
            (StalePart::Claim, statements::INSERT_CLAIMS, self.claims),
            (StalePart::Account, statements::INSERT_ACCOUNTS, self.new_accounts),
            (StalePart::Account, statements::UPDATE_ACCOUNTS, self.changed_accounts),
            (StalePart::Withdrawal, statements::WITHDRAW_REJECTIONS, self.withdrawals),
            (StalePart::Rejection, statements::INSERT_REJECTIONS, self.rejections),
        ];
        steps.into_iter().map(|(part, statement, rows)| Step { part, statement, rows }).collect()
    }
}

fn hex(fingerprint: &Fingerprint) -> String {
    format!("{fingerprint:?}")
}

pub(super) fn event_id_hex(event_id: EventId) -> String {
    event_id.0.simple().to_string()
}

/// Writes a row's elements one by one.
struct Elements<S: SerializeSeq>(S);

impl<S: SerializeSeq> Elements<S> {
    fn start<T: Serializer<SerializeSeq = S, Ok = S::Ok, Error = S::Error>>(
        serializer: T,
    ) -> Result<Self, S::Error> {
        serializer.serialize_seq(None).map(Self)
    }

    fn push(&mut self, element: impl Serialize) -> Result<(), S::Error> {
        self.0.serialize_element(&element)
    }

    fn coordinates(&mut self, coordinates: Coordinates) -> Result<(), S::Error> {
        self.push(coordinates.log.generation.0)?;
        self.push(coordinates.log.partition.0)?;
        self.push(storable(coordinates.offset.0))
    }

    /// Business unit, account ext id, business entity ext id, requester.
    fn subject(&mut self, communication: &Communication) -> Result<(), S::Error> {
        let (unit, account) = key_of(&communication.account);
        self.push(unit)?;
        self.push(account)?;
        self.push(communication.business_entity_ext_id.as_str())?;
        self.push(communication.requester.as_str())
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

struct FrontierRow<'a>(&'a FrontierMove);

impl Serialize for FrontierRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let FrontierMove { log, expected, next } = self.0;
        let expected = expected.map(|offset| storable(offset.0));
        (log.generation.0, log.partition.0, storable(next.0), expected).serialize(serializer)
    }
}

struct ClaimRow<'a>(&'a Claim);

impl Serialize for ClaimRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = Elements::start(serializer)?;
        row.push(self.0.communication.number.as_str())?;
        row.push(hex(&self.0.fingerprint))?;
        row.push(event_id_hex(self.0.event_id))?;
        row.coordinates(self.0.coordinates)?;
        row.subject(&self.0.communication)?;
        row.end()
    }
}

struct WithdrawalRow<'a>(&'a Withdrawal);

impl Serialize for WithdrawalRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = Elements::start(serializer)?;
        row.coordinates(self.0.coordinates)?;
        row.push(event_id_hex(self.0.event_id))?;
        row.end()
    }
}

struct RejectionRow<'a>(&'a RejectionNote);

impl Serialize for RejectionRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (verdict, event_id) = verdict_of(self.0.rejection);
        let mut row = Elements::start(serializer)?;
        row.coordinates(self.0.coordinates)?;
        row.push(verdict)?;
        row.push(event_id.map(event_id_hex))?;
        row.push(self.0.communication.number.as_str())?;
        row.subject(&self.0.communication)?;
        row.end()
    }
}

struct AccountRow<'a>(&'a AccountWrite);

impl Serialize for AccountRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let AccountWrite { key, expected, account, version } = self.0;
        let (unit, account_ext_id) = key_of(key);
        let mut row = Elements::start(serializer)?;
        row.push(unit)?;
        row.push(account_ext_id)?;
        row.push(account.business_entity_ext_id.as_str())?;
        row.coordinates(*version)?;
        row.push(account.communication_number.as_str())?;
        row.push(account.requester.as_str())?;
        row.push(account.action.as_str())?;
        row.push(account.account_number.as_str())?;
        row.push(account.account_status.as_str())?;
        row.push(account.account_type.as_ref().map(Text::as_str))?;
        row.push(account.account_purpose.as_ref().map(Text::as_str))?;
        row.push(account.bank_title.as_ref().map(Text::as_str))?;
        row.push(account.bic.as_ref().map(Text::as_str))?;
        row.push(account.currency_code.as_str())?;
        row.push(account.is_other_fin_inst_account)?;
        row.push(account.opening_date.to_string())?;
        row.push(account.closing_date.map(|time| time.to_string()))?;
        row.push(account.suspension_reasons.as_ref().map(Text::as_str))?;
        if let Some(expected) = expected {
            row.coordinates(*expected)?;
        }
        row.end()
    }
}
