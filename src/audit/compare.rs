//! What the facts of a file come to: those of a number, of a place or of an account lie in one file, so that files are
//! compared one by one, in any order.

use crate::spill::{SpillError, SpillFile};

use super::accounts;
use super::bounds::Bounds;
use super::facts::{AccountFact, Key, NumberFact, PlaceFact};
use super::findings::{Counts, Finding};
use super::gather::Others;
use super::numbers::{self, Ended, MissingDelivery};
use super::places;

/// What a file comes to.
pub(super) struct Compared {
    /// How many facts it had.
    pub(super) facts: u64,
    pub(super) counts: Counts,
    pub(super) findings: Vec<Finding>,
    /// How submissions ended.
    pub(super) ended: Vec<Ended>,
}

/// What a file of numbers comes to.
pub(super) struct ComparedNumbers {
    pub(super) compared: Compared,
    /// Deliveries that are missing, unless their rows moved while they were read.
    pub(super) missing: Vec<MissingDelivery>,
    /// What is to be compared by place and by account.
    pub(super) others: Others,
}

/// What a file of accounts comes to.
pub(super) struct ComparedAccounts {
    /// How many facts it had.
    pub(super) facts: u64,
    pub(super) counts: Counts,
    /// To be looked up before they are told: rows may have changed while they were read.
    pub(super) findings: Vec<(Key, Finding)>,
}

impl Compared {
    fn of(facts: usize) -> Self {
        let (counts, findings, ended) = (Counts::default(), Vec::new(), Vec::new());
        Self { facts: facts as u64, counts, findings, ended }
    }
}

/// Compares what is said of numbers. `others` has room for what is to be compared otherwise.
pub(super) fn numbers(
    file: SpillFile<NumberFact>,
    bounds: &Bounds,
    mut others: Others,
) -> Result<ComparedNumbers, SpillError> {
    let mut facts = file.read()?;
    facts.sort_unstable_by(|a, b| a.number.cmp(&b.number));
    let (mut compared, mut missing) = (Compared::of(facts.len()), Vec::new());
    for of_number in grouped(facts, |a, b| a.number == b.number) {
        let reckoned = numbers::reckon(of_number, bounds);
        compared.counts.add(&reckoned.counts);
        compared.findings.extend(reckoned.findings);
        compared.ended.extend(reckoned.ended);
        missing.extend(reckoned.missing);
        reckoned.places.iter().try_for_each(|fact| others.place(fact))?;
        reckoned.accounts.iter().try_for_each(|fact| others.account(fact))?;
    }
    Ok(ComparedNumbers { compared, missing, others })
}

/// Compares what is said of places.
pub(super) fn places(file: SpillFile<PlaceFact>, bounds: &Bounds) -> Result<Compared, SpillError> {
    let mut facts = file.read()?;
    facts.sort_unstable_by_key(|fact| fact.at);
    let mut compared = Compared::of(facts.len());
    for of_place in grouped(facts, |a, b| a.at == b.at) {
        let reckoned = places::reckon(of_place, bounds);
        compared.counts.add(&reckoned.counts);
        compared.findings.extend(reckoned.findings);
        compared.ended.extend(reckoned.ended);
    }
    Ok(compared)
}

/// Compares what is said of accounts.
pub(super) fn accounts(
    file: SpillFile<AccountFact>,
    bounds: &Bounds,
) -> Result<ComparedAccounts, SpillError> {
    let mut facts = file.read()?;
    facts.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let (mut counts, mut findings) = (Counts::default(), Vec::new());
    for of_account in facts.chunk_by(|a, b| a.key == b.key) {
        let reckoned = accounts::reckon(of_account, bounds);
        counts.accounts += reckoned.counts.accounts;
        findings.extend(reckoned.finding.map(|finding| (of_account[0].key.clone(), finding)));
    }
    Ok(ComparedAccounts { facts: facts.len() as u64, counts, findings })
}

/// Neighbours that belong together, each group on its own.
fn grouped<T>(items: Vec<T>, same: impl Fn(&T, &T) -> bool) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut group = vec![items.next()?];
        while let Some(next) = items.next_if(|next| same(&group[0], next)) {
            group.push(next);
        }
        Some(group)
    })
}
