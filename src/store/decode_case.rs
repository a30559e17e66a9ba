//! Stored cases as typed data.

use crate::account::Coordinates;

use super::decode::{Decoded, StoredRow, coordinates, unreadable};
use super::{Case, CaseState};

pub(super) fn letter(row: &impl StoredRow) -> Decoded<Coordinates> {
    coordinates(row)
}

pub(super) fn case(row: &impl StoredRow) -> Decoded<Case> {
    let time = |column| row.optional_time(column)?.ok_or_else(|| unreadable(column));
    Ok(Case {
        letter: coordinates(row)?,
        state: CaseState::parse(row.text("state")?).ok_or_else(|| unreadable("state"))?,
        operator: row.text("operator")?.to_owned(),
        reason: row.text("reason")?.to_owned(),
        problem: row.optional_text("problem")?.map(str::to_owned),
        decided_at: time("decided_at")?,
        changed_at: time("changed_at")?,
    })
}
