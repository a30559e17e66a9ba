//! What is known of one account: it is as the last of its accepted submissions made it.

use crate::account::Coordinates;

use super::bounds::Bounds;
use super::facts::{AccountFact, AccountSays, Digest};
use super::findings::{Counts, Finding, Kind};

/// What an account comes to. Its row may have changed while the table was read, so whoever is told looks it up.
#[derive(Debug, Default)]
pub(super) struct Reckoned {
    pub(super) counts: Counts,
    pub(super) finding: Option<Finding>,
}

struct Accepted<'a> {
    number: &'a str,
    at: Coordinates,
    version: Coordinates,
    content: Digest,
    is_settled: bool,
}

/// Reckons up what is said of an account.
pub(super) fn reckon(facts: &[AccountFact], bounds: &Bounds) -> Reckoned {
    let mut rows = Vec::new();
    let mut accepted = Vec::new();
    for AccountFact { says, .. } in facts {
        match says {
            AccountSays::Row { version, content, number } => {
                rows.push((*version, *content, number.as_deref()));
            }
            AccountSays::Accepted { number, at, version, content, is_settled } => {
                let (at, version, content, is_settled) = (*at, *version, *content, *is_settled);
                accepted.push(Accepted { number, at, version, content, is_settled });
            }
        }
    }
    // A row that was changed while it was read may have been met twice; the later one is newer.
    rows.sort_unstable();
    let finding = finding(rows.last().copied(), &accepted, bounds);
    let counts = Counts { accounts: 1, findings: u64::from(finding.is_some()), ..Counts::default() };
    Reckoned { counts, finding }
}

fn finding(
    row: Option<(Coordinates, Option<Digest>, Option<&str>)>,
    accepted: &[Accepted<'_>],
    bounds: &Bounds,
) -> Option<Finding> {
    let of = |kind, it: &Accepted<'_>| Some(Finding::of(kind, it.number).at(it.at));
    let mut settled = accepted.iter().filter(|it| it.is_settled);
    let Some((version, content, number)) = row else {
        return settled.next().and_then(|it| of(Kind::AccountMissing, it));
    };
    // Partitions have no order among each other; an account keeps to one.
    let is_newer = |it: &&Accepted<'_>| it.version.log == version.log && it.version > version;
    if let Some(newer) = settled.find(is_newer) {
        return of(Kind::AccountStale, newer);
    }
    let Some(source) = accepted.iter().find(|it| it.version == version) else {
        let kind = Kind::AccountWithoutSubmission;
        let number = number.map(Into::into);
        let finding = Finding { kind, number, at: Some(version), further: None };
        let is_known = !bounds.is_narrowed && bounds.is_audited(version);
        return is_known.then_some(finding);
    };
    if content == Some(source.content) { None } else { of(Kind::AccountAltered, source) }
}
