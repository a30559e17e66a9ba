//! Promise 4: accounts are what their accepted submissions make of them.

use std::collections::{BTreeMap, HashSet};

use penstock::account::{
    Account, AccountKey, AccountStatus, Action, Coordinates, Fingerprint, RejectionCode,
};

use super::{Check, Ending, World};

/// Currencies that the feeds of the tests use and that do not exist.
const UNKNOWN_CURRENCIES: [&str; 2] = ["XEU", "ZZZ"];

/// Whether the log gives the submissions of an account an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// An account's submissions are on one partition.
    ByAccount,
    /// A producer has spread accounts over partitions: there is no order to fold in.
    Spread,
}

pub(super) fn check(world: &World<'_>, order: Order) -> Check {
    match order {
        Order::ByAccount => are_the_fold(world),
        Order::Spread => follow_some_order(world),
    }
}

/// In log order; and each outcome that depends on the account's state fits the state at its place.
fn are_the_fold(world: &World<'_>) -> Check {
    let mut accounts: BTreeMap<AccountKey, (Coordinates, Fingerprint, &Account)> = BTreeMap::new();
    for submitted in &world.facts.submitted {
        let Some(submission) = &submitted.submission else { continue };
        let (at, account) = (submission.coordinates, &*submission.account);
        let before = accounts.get(&account.key());
        if before.is_some_and(|(last, ..)| last.log != at.log) {
            return Err(format!("the account of {at} is on two partitions"));
        }
        let state = before.map(|(.., state)| *state);
        match world.ending(submitted)? {
            Some(Ending::Accepted(_)) => {
                if let Some(code) = broken_rule(account, state) {
                    return Err(format!("{at} was accepted against {code} (account state)"));
                }
                accounts.insert(account.key(), (submission.version(), submission.fingerprint, account));
            }
            Some(Ending::Rejected(RejectionCode::O005, _)) => {
                let claim = world.ledger.get(&account.communication_number);
                if claim.is_none_or(|claim| claim.fingerprint == submission.fingerprint) {
                    return Err(format!("{at} was rejected as a conflict with nothing"));
                }
            }
            Some(Ending::Rejected(code, _)) if broken_rule(account, state) != Some(code) => {
                return Err(format!("{at} was rejected with {code} against its account state"));
            }
            _ => {}
        }
    }
    let rows = &world.facts.stored.accounts;
    let is_same = accounts.len() == rows.len()
        && accounts.iter().all(|(key, (version, fingerprint, _))| {
            rows.get(key).is_some_and(|row| row.version == *version && row.fingerprint == *fingerprint)
        });
    if is_same { Ok(()) } else { Err("an account is not the fold of its submissions".to_owned()) }
}

/// An account is created once, stays with its customer, and is what one of its accepted submissions
/// says.
fn follow_some_order(world: &World<'_>) -> Check {
    let mut accepted: BTreeMap<AccountKey, Vec<(Coordinates, &Account)>> = BTreeMap::new();
    for submitted in &world.facts.submitted {
        if let (Some(submission), Some(Ending::Accepted(_))) =
            (&submitted.submission, world.ending(submitted)?)
        {
            let entry = (submission.coordinates, &*submission.account);
            accepted.entry(submission.account.key()).or_default().push(entry);
        }
    }
    for (key, submissions) in &accepted {
        let creates = submissions.iter().filter(|(_, account)| account.action == Action::Create).count();
        if creates != 1 {
            let account = key.account_ext_id.as_str();
            return Err(format!("{account} was created twice or never: {creates}"));
        }
        let customers: HashSet<_> =
            submissions.iter().map(|(_, account)| &account.business_entity_ext_id).collect();
        if customers.len() != 1 {
            return Err("an account has two customers".to_owned());
        }
        let is_one_of_them = world.facts.stored.accounts.get(key).is_some_and(|row| {
            submissions
                .iter()
                .any(|(at, account)| *at == row.version && Fingerprint::of(account) == row.fingerprint)
        });
        if !is_one_of_them {
            return Err("an account is none of its submissions".to_owned());
        }
    }
    Ok(())
}

/// The first of the rules that the feeds of the tests can break, written down a second time.
fn broken_rule(account: &Account, state: Option<&Account>) -> Option<RejectionCode> {
    let is_closed = account.account_status == AccountStatus::Closed;
    let is_suspended = account.account_status == AccountStatus::Suspended;
    let is_elsewhere = account.is_other_fin_inst_account == Some(true);
    let closes_early = account.closing_date.is_some_and(|closing| closing < account.opening_date);
    let of_item = [
        (UNKNOWN_CURRENCIES.contains(&account.currency_code.as_str()), RejectionCode::A001),
        (is_closed && account.closing_date.is_none(), RejectionCode::A002),
        (!is_closed && account.closing_date.is_some(), RejectionCode::A003),
        (!is_suspended && account.suspension_reasons.is_some(), RejectionCode::A004),
        (is_elsewhere && account.bic.is_none(), RejectionCode::A005),
        (closes_early, RejectionCode::A006),
    ];
    if let Some((_, code)) = of_item.into_iter().find(|(is_broken, _)| *is_broken) {
        return Some(code);
    }
    match (state, account.action) {
        (None, Action::Update) => Some(RejectionCode::A010),
        (Some(state), _) if state.business_entity_ext_id != account.business_entity_ext_id => {
            Some(RejectionCode::A011)
        }
        (Some(_), Action::Create) => Some(RejectionCode::A009),
        (None, Action::Create) | (Some(_), Action::Update) => None,
    }
}
