//! `redecide` over whole histories: whatever was decided by yesterday's lists, deciding it anew by today's keeps
//! every promise, and however the log is cut into parts, the same comes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use penstock::account::{
    Account, AccountState, Coordinates, Decided, Generation, LedgerEntry, LogPartition, Offset, Outcome,
    Partition, Plan, Policy, Redecided, Rejection, RejectionCode, Submission, Verdict, View, decide,
    redecide,
};
use proptest::prelude::*;

/// What is sent: a few numbers and accounts that collide, and a type that lists may know.
#[derive(Clone, Debug)]
struct Sent {
    number: u8,
    account: u8,
    customer: u8,
    account_type: u8,
    is_update: bool,
    is_wrong: bool,
}

fn any_sent() -> impl Strategy<Value = Sent> {
    (0..8u8, 0..3u8, 0..2u8, 0..3u8, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(number, account, customer, account_type, is_update, is_wrong)| Sent {
            number,
            account,
            customer,
            account_type,
            is_update,
            is_wrong,
        },
    )
}

/// Which of the types the list knows, and whether UPDATE may create.
fn policy(types: u8, creates: bool) -> Policy {
    let mut policy = Policy::default();
    let known = (0..3).filter(|number| types & (1 << number) != 0);
    policy.reference.account_types = known.map(|number| (format!("t{number}"), String::new())).collect();
    if creates {
        policy.update_missing = penstock::account::UpdateMissing::Create;
    }
    policy
}

/// The log: an account is on one partition for ever.
fn log(sent: &[Sent]) -> Vec<Submission> {
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    let submission = |sent: &Sent| {
        let partition = u32::from(sent.account % 2);
        let offset = ends.entry(partition).or_default();
        *offset += 1;
        let log = LogPartition { generation: Generation(1), partition: Partition(partition) };
        Submission::new(account(sent), None, log.at(Offset(*offset - 1)))
    };
    sent.iter().map(submission).collect()
}

fn account(sent: &Sent) -> Account {
    let currency = if sent.is_wrong { "XXQ" } else { "EUR" };
    let action = if sent.is_update { "UPDATE" } else { "CREATE" };
    let json = format!(
        r#"{{"communicationNumber": "n{}", "requester": "CORE", "businessEntityExtId": "c{}",
            "accountExtId": "a{}", "accountNumber": "1", "accountStatus": "ACTIVE", "action": "{action}",
            "currencyCode": "{currency}", "accountType": "t{}", "openingDate": "2023-09-05T08:07:34Z"}}"#,
        sent.number, sent.customer, sent.account, sent.account_type
    );
    Account::parse(&json).unwrap()
}

/// The tables, and the guards of the store.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tables(View);

impl Tables {
    fn apply(&mut self, plan: &Plan) {
        for step in &plan.frontiers {
            self.0.frontiers.insert(step.log, step.next);
        }
        for claim in &plan.claims {
            let number = claim.communication.number.clone();
            let (fingerprint, event_id, coordinates) =
                (claim.fingerprint, claim.event_id, claim.coordinates);
            let before =
                self.0.ledger.insert(number, LedgerEntry { fingerprint, event_id, coordinates });
            assert_eq!(before, None, "a number is claimed once");
        }
        for write in &plan.accounts {
            let before = self.0.accounts.get(&write.key).map(|state| state.version);
            assert_eq!(before, write.expected);
            assert!(before.is_none_or(|before| before < write.version), "an account never goes back");
            let business_entity_ext_id = write.account.business_entity_ext_id.clone();
            let state = AccountState { business_entity_ext_id, version: write.version };
            self.0.accounts.insert(write.key.clone(), state);
        }
        for withdrawal in &plan.withdrawals {
            let withdrawn = self.0.rejections.remove(&withdrawal.coordinates);
            let is_it = |noted: Rejection| matches!(noted, Rejection::Decided(Outcome { event_id, .. }) if event_id == withdrawal.event_id);
            assert!(withdrawn.is_some_and(is_it), "what was withdrawn was there");
        }
        for note in &plan.rejections {
            let before = self.0.rejections.insert(note.coordinates, note.rejection);
            assert_eq!(before, None, "a place has one rejection");
        }
    }

    fn outcome_at(&self, submission: &Submission) -> Option<Verdict> {
        match self.0.rejections.get(&submission.coordinates) {
            Some(Rejection::Decided(outcome)) => return Some(outcome.verdict),
            Some(Rejection::DeadLettered) => return None,
            None => {}
        }
        let entry = self.0.ledger.get(&submission.account.communication_number)?;
        (entry.fingerprint == submission.fingerprint).then_some(Verdict::Accepted)
    }
}

/// Decides a log for the first time, each submission by what came before it.
fn history(log: &[Submission], policy: &Policy) -> Tables {
    let mut tables = Tables::default();
    for submission in log {
        let through = [(submission.coordinates.log, submission.coordinates.offset.next())];
        let one = std::slice::from_ref(submission);
        let decision = decide(one, &through, &tables.0, policy).unwrap();
        assert!(!matches!(decision.decided[..], [Decided::PassedOver]));
        tables.apply(&decision.plan);
    }
    tables
}

/// Decides it anew in parts of these sizes.
fn replay(log: &[Submission], parts: &[usize], policy: &Policy, tables: &mut Tables) -> Vec<Redecided> {
    let (mut rest, mut all) = (log, Vec::new());
    let mut sizes = parts.iter().copied().cycle();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
        let (part, later) = rest.split_at(size);
        let redecision = redecide(part, &tables.0, policy).unwrap();
        assert!(redecision.plan.frontiers.is_empty());
        tables.apply(&redecision.plan);
        all.extend(redecision.redecided);
        rest = later;
    }
    all
}

/// The last accepted submission of each account, by its place on the log.
fn last_accepted(log: &[Submission], tables: &Tables) -> BTreeMap<String, Coordinates> {
    let mut last = BTreeMap::new();
    for submission in log {
        let entry = tables.0.ledger.get(&submission.account.communication_number);
        if entry.is_some_and(|entry| entry.coordinates == submission.coordinates) {
            let place = last.entry(submission.account.account_ext_id.as_str().to_owned());
            match place {
                Entry::Vacant(place) => drop(place.insert(submission.coordinates)),
                Entry::Occupied(mut place) => {
                    let newest = (*place.get()).max(submission.coordinates);
                    place.insert(newest);
                }
            }
        }
    }
    last
}

proptest! {
    #[test]
    fn a_replay_keeps_every_promise(
        sent in prop::collection::vec(any_sent(), 1..40),
        types in (1..8u8, 1..8u8),
        creates in (any::<bool>(), any::<bool>()),
        parts in prop::collection::vec(1..9usize, 1..6),
    ) {
        let log = log(&sent);
        let (then, today) = (policy(types.0, creates.0), policy(types.1, creates.1));
        let before = history(&log, &then);
        let mut after = before.clone();
        let redecided = replay(&log, &parts, &today, &mut after);

        for (number, entry) in &before.0.ledger {
            prop_assert_eq!(after.0.ledger.get(number), Some(entry), "accepted stays accepted");
        }
        for (submission, redecided) in log.iter().zip(&redecided) {
            let (was, is) = (before.outcome_at(submission), after.outcome_at(submission));
            match redecided {
                Redecided::Unchanged(outcome) => prop_assert_eq!((was, is), (Some(outcome.verdict), was)),
                Redecided::Superseded(outcome) => prop_assert_eq!(outcome.map(|it| it.verdict), was),
                Redecided::Changed { before, after } => {
                    prop_assert_eq!((was, is), (before.map(|it| it.verdict), Some(after.verdict)));
                    prop_assert_ne!(was, is);
                }
                Redecided::DeadLettered | Redecided::Ahead => prop_assert!(false, "{:?}", redecided),
            }
        }
        for (account, version) in last_accepted(&log, &after) {
            let state = after.0.accounts.iter().find(|(key, _)| key.account_ext_id.as_str() == account);
            prop_assert_eq!(state.map(|(_, state)| state.version), Some(version), "the fold of what is accepted");
        }

        let mut whole = before.clone();
        prop_assert_eq!(&replay(&log, &[log.len()], &today, &mut whole), &redecided);
        prop_assert_eq!(&whole, &after, "it does not matter where the log is cut");

        let mut again = after.clone();
        let second = replay(&log, &parts, &today, &mut again);
        prop_assert!(!second.iter().any(|it| matches!(it, Redecided::Changed { .. })), "{:?}", second);
        prop_assert_eq!(again, after, "a second replay changes nothing");
    }

    #[test]
    fn the_same_lists_change_nothing(
        sent in prop::collection::vec(any_sent(), 1..40),
        types in 1..8u8,
        creates in any::<bool>(),
    ) {
        let (log, policy) = (log(&sent), policy(types, creates));
        let before = history(&log, &policy);
        let mut after = before.clone();
        for redecided in replay(&log, &[7], &policy, &mut after) {
            if let Redecided::Changed { after, .. } = redecided {
                // Another submission of the number, or of the account, was accepted after it on the other
                // partition or later on its own: the state it meets now is another one.
                prop_assert!(matches!(after.verdict, Verdict::Rejected(_)), "{:?}", redecided);
            }
        }
        prop_assert_eq!(&before.0.ledger, &after.0.ledger);
        prop_assert_eq!(&before.0.accounts, &after.0.accounts);
    }
}

#[test]
fn what_no_worker_has_applied_is_left_to_them() {
    let sent =
        Sent { number: 0, account: 0, customer: 0, account_type: 0, is_update: false, is_wrong: false };
    let log = log(&[sent]);
    let redecision = redecide(&log, &View::default(), &Policy::default()).unwrap();
    assert_eq!(redecision.redecided, [Redecided::Ahead]);
    assert!(redecision.plan.is_empty());
}

#[test]
fn a_number_that_was_taken_since_is_settled() {
    let wrong =
        Sent { number: 0, account: 0, customer: 0, account_type: 0, is_update: false, is_wrong: false };
    let corrected = Sent { account_type: 1, ..wrong.clone() };
    let log = log(&[wrong, corrected]);
    let mut tables = history(&log, &policy(0b010, false));
    let before = tables.clone();
    let redecided = replay(&log, &[2], &policy(0b011, false), &mut tables);
    let rejected = |it: &Redecided| {
        matches!(
            it,
            Redecided::Superseded(Some(Outcome { verdict: Verdict::Rejected(RejectionCode::A007), .. }))
        )
    };
    assert!(rejected(&redecided[0]), "{redecided:?}");
    assert_eq!(tables, before);
}
