//! `decide` against a model: one submission at a time, plain lists, the rules written down once more.
//!
//! Numbers, accounts and customers come from alphabets so small that they collide; batches are cut at
//! random, parts of the log are delivered again, and the same content is written in different ways.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use penstock::account::{
    Account, AccountState, Claim, Coordinates, CreateExisting, Decided, EventId, Generation,
    LedgerEntry, LogPartition, Offset, Partition, Plan, Policy, RejectionCode, RejectionNote,
    Submission, UpdateMissing, Verdict, View, decide,
};
use proptest::prelude::*;

/// What is sent, as a client means it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    number: u8,
    account: u8,
    customer: u8,
    unit: Option<&'static str>,
    update: bool,
    status: &'static str,
    currency: &'static str,
    /// Days after the epoch.
    opened: u8,
    closed: Option<u8>,
    reasons: bool,
    elsewhere: Option<bool>,
    bic: Option<&'static str>,
    account_type: Option<&'static str>,
}

/// How it is written down; none of it changes the meaning.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "five independent choices")]
struct Style {
    reversed: bool,
    explicit_nulls: bool,
    other_offset: bool,
    explicit_create: bool,
    spaced: bool,
}

impl Sent {
    fn json(&self, style: Style) -> String {
        let text = |value: &str| format!("\"{value}\"");
        let time = |days: u8| {
            let day = days + 1;
            if style.other_offset {
                text(&format!("1970-01-{day:02}T02:00:00.000+02:00"))
            } else {
                text(&format!("1970-01-{day:02}T00:00:00Z"))
            }
        };
        let action = match (self.update, style.explicit_create) {
            (true, _) => Some(text("UPDATE")),
            (false, true) => Some(text("CREATE")),
            (false, false) => None,
        };
        let mut members = vec![
            ("communicationNumber", Some(text(&format!("n{}", self.number)))),
            ("requester", Some(text("CORE"))),
            ("businessUnit", self.unit.map(text)),
            ("businessEntityExtId", Some(text(&format!("c{}", self.customer)))),
            ("accountExtId", Some(text(&format!("a{}", self.account)))),
            ("accountNumber", Some(text("LT121000011101001000"))),
            ("accountStatus", Some(text(self.status))),
            ("currencyCode", Some(text(self.currency))),
            ("openingDate", Some(time(self.opened))),
            ("closingDate", self.closed.map(time)),
            ("suspensionReasons", self.reasons.then(|| text("fraud"))),
            ("isOtherFinInstAccount", self.elsewhere.map(|is| is.to_string())),
            ("bic", self.bic.map(text)),
            ("accountType", self.account_type.map(text)),
            ("action", action),
        ];
        if style.reversed {
            members.reverse();
        }
        let separator = if style.spaced { " :\n " } else { ":" };
        let members: Vec<String> = members
            .into_iter()
            .filter(|(_, value)| value.is_some() || style.explicit_nulls)
            .map(|(name, value)| format!("\"{name}\"{separator}{}", value.unwrap_or("null".to_owned())))
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

/// The straightforward model.
struct Model {
    policy: Policy,
    accepted: Vec<(Sent, EventId)>,
    accounts: BTreeMap<(Option<&'static str>, u8), Sent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Accepted,
    Repeated,
    Rejected(RejectionCode),
}

impl Model {
    fn take(&mut self, sent: &Sent, event_id: EventId) -> (Expected, EventId) {
        if let Some((first, event_id)) =
            self.accepted.iter().find(|(known, _)| known.number == sent.number)
        {
            if first == sent {
                return (Expected::Repeated, *event_id);
            }
            return (Expected::Rejected(RejectionCode::O005), event_id.to_owned());
        }
        if let Some(code) = self.broken_rule(sent) {
            return (Expected::Rejected(code), event_id);
        }
        self.accepted.push((sent.clone(), event_id));
        self.accounts.insert((sent.unit, sent.account), sent.clone());
        (Expected::Accepted, event_id)
    }

    fn broken_rule(&self, sent: &Sent) -> Option<RejectionCode> {
        use RejectionCode::*;
        let reference = &self.policy.reference;
        let is_on = |code| !self.policy.disabled.contains(&code);
        let closed = sent.status == "CLOSED";
        let elsewhere = sent.elsewhere == Some(true);
        let mut broken = Vec::new();
        let mut check = |code, is_broken: bool| {
            if is_broken && is_on(code) {
                broken.push(code);
            }
        };
        check(A001, sent.currency == "EURO");
        check(A002, closed && sent.closed.is_none());
        check(A003, !closed && sent.closed.is_some());
        check(A004, sent.reasons && sent.status != "SUSPENDED");
        check(A005, elsewhere && sent.bic.is_none());
        check(A006, sent.closed.is_some_and(|day| day < sent.opened));
        let types = &reference.account_types;
        check(
            A007,
            !types.is_empty() && sent.account_type.is_some_and(|code| !types.contains_key(code)),
        );
        let units = &reference.business_units;
        let is_missing = sent.unit.is_none() && self.policy.business_unit_mandatory;
        check(
            A008,
            is_missing || (!units.is_empty() && sent.unit.is_some_and(|u| !units.contains_key(u))),
        );
        let own_bic = "SANDLT00";
        check(
            A012,
            !reference.own_bics.is_empty()
                && !elsewhere
                && sent.bic.is_some_and(|bic| !bic.starts_with(own_bic)),
        );
        check(A013, sent.bic == Some("AMLYZEXX22"));
        let entities = &reference.business_entities;
        check(A015, !entities.is_empty() && !entities.contains(&format!("c{}", sent.customer)));
        match self.accounts.get(&(sent.unit, sent.account)) {
            None => check(A010, sent.update && self.policy.update_missing == UpdateMissing::Reject),
            Some(known) => {
                check(A011, known.customer != sent.customer);
                check(A009, !sent.update && self.policy.create_existing == CreateExisting::Reject);
            }
        }
        broken.first().copied()
    }
}

/// A store that does what a plan says and insists on what the plan expects.
#[derive(Default)]
struct Tables {
    ledger: HashMap<String, Claim>,
    accounts: HashMap<String, (AccountState, Account)>,
    rejections: HashMap<Coordinates, RejectionNote>,
    frontiers: HashMap<LogPartition, Offset>,
}

impl Tables {
    fn view(&self) -> View {
        let ledger = self.ledger.values().map(|claim| {
            let Claim { fingerprint, event_id, coordinates, .. } = *claim;
            let entry = LedgerEntry { fingerprint, event_id, coordinates };
            (claim.communication.number.clone(), entry)
        });
        let rejections = self.rejections.values().map(|note| (note.coordinates, note.rejection));
        let accounts = self.accounts.values().map(|(state, account)| (account.key(), state.clone()));
        View {
            frontiers: self.frontiers.clone(),
            ledger: ledger.collect(),
            accounts: accounts.collect(),
            rejections: rejections.collect(),
        }
    }

    fn apply(&mut self, plan: &Plan) {
        for step in &plan.frontiers {
            assert_eq!(self.frontiers.insert(step.log, step.next), step.expected);
        }
        assert!(plan.claims.is_sorted_by_key(|claim| claim.communication.number.as_str().as_bytes()));
        for claim in &plan.claims {
            let number = claim.communication.number.as_str().to_owned();
            assert!(self.ledger.insert(number, claim.clone()).is_none(), "a number is claimed twice");
        }
        assert!(plan.accounts.is_sorted_by(|a, b| a.key < b.key), "an account is written twice");
        for write in &plan.accounts {
            let state = AccountState {
                business_entity_ext_id: write.account.business_entity_ext_id.clone(),
                version: write.version,
            };
            let row = (state, (*write.account).clone());
            let before = self.accounts.insert(format!("{:?}", key_text(&write.account)), row);
            assert_eq!(before.map(|(state, _)| state.version), write.expected);
        }
        for note in &plan.rejections {
            assert!(self.rejections.insert(note.coordinates, note.clone()).is_none());
        }
    }
}

fn key_text(account: &Account) -> (Option<String>, String) {
    let unit = account.business_unit.as_ref().map(|unit| unit.as_str().to_owned());
    (unit, account.account_ext_id.as_str().to_owned())
}

fn sent() -> impl Strategy<Value = Sent> {
    let who = (0..5u8, 0..3u8, 0..2u8, prop::option::weighted(0.5, Just("u1")), any::<bool>());
    let what = (
        prop::sample::select(vec!["ACTIVE", "ACTIVE", "ACTIVE", "CLOSED", "SUSPENDED"]),
        prop::sample::select(vec!["EUR", "EUR", "EUR", "EUR", "EURO"]),
        0..2u8,
        prop::option::weighted(0.15, 0..3u8),
        prop::bool::weighted(0.1),
    );
    let more = (
        prop::option::weighted(0.2, any::<bool>()),
        prop::option::weighted(0.3, prop::sample::select(vec!["SANDLT00XXX", "OTHRLT00", "AMLYZEXX22"])),
        prop::option::weighted(0.2, prop::sample::select(vec!["LOAN", "CARD"])),
    );
    (who, what, more).prop_map(
        |(
            (number, account, customer, unit, update),
            (status, currency, opened, closed, reasons),
            (elsewhere, bic, account_type),
        )| Sent {
            number,
            account,
            customer,
            unit,
            update,
            status,
            currency,
            opened,
            closed,
            reasons,
            elsewhere,
            bic,
            account_type,
        },
    )
}

fn style() -> impl Strategy<Value = Style> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(reversed, explicit_nulls, other_offset, explicit_create, spaced)| Style {
            reversed,
            explicit_nulls,
            other_offset,
            explicit_create,
            spaced,
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let disabled = prop::collection::btree_set(
        prop::sample::select(vec![RejectionCode::A001, RejectionCode::A011, RejectionCode::A013]),
        0..3,
    );
    (any::<[bool; 7]>(), disabled).prop_map(
        |([types, units, own, entities, replace, create, unit], disabled)| {
            let list = |is_on: bool, code: &str| {
                is_on.then(|| (code.to_owned(), code.to_owned())).into_iter().collect::<BTreeMap<_, _>>()
            };
            let set = |is_on: bool, code: &str| {
                is_on.then(|| code.to_owned()).into_iter().collect::<BTreeSet<_>>()
            };
            let mut policy = Policy::default();
            policy.reference.account_types = list(types, "LOAN");
            policy.reference.business_units = list(units, "u1");
            policy.reference.own_bics = set(own, "SANDLT00");
            policy.reference.business_entities = set(entities, "c0");
            policy.create_existing =
                if replace { CreateExisting::Replace } else { CreateExisting::Reject };
            policy.update_missing = if create { UpdateMissing::Create } else { UpdateMissing::Reject };
            policy.business_unit_mandatory = unit;
            policy.disabled = disabled;
            policy
        },
    )
}

/// The submissions as records, each at the end of its partition.
fn on_the_log(log: &[(Sent, Style, u32)]) -> Vec<Submission> {
    let mut next = BTreeMap::new();
    log.iter()
        .map(|(sent, style, partition)| {
            let partition = LogPartition { generation: Generation(1), partition: Partition(*partition) };
            let offset = next.entry(partition).or_insert(0);
            let coordinates = partition.at(Offset(*offset));
            *offset += 1;
            Submission::new(Account::parse(&sent.json(*style)).unwrap(), None, coordinates)
        })
        .collect()
}

/// Per partition, the offset after the last record of a batch.
fn through(batch: &[Submission]) -> Vec<(LogPartition, Offset)> {
    let ends = batch.iter().map(|submission| submission.coordinates);
    ends.map(|at| (at.log, at.offset.next())).collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// A delivery: so many new records, after the last so many applied ones again.
type Delivery = (usize, usize);

fn check(
    policy: &Policy,
    log: &[(Sent, Style, u32)],
    deliveries: &[Delivery],
) -> Result<(), TestCaseError> {
    let submissions = on_the_log(log);
    let mut model = Model { policy: policy.clone(), accepted: Vec::new(), accounts: BTreeMap::new() };
    let mut tables = Tables::default();
    let mut first: Vec<(Expected, EventId)> = Vec::new();
    let mut deliveries = deliveries.iter().copied().cycle();
    while first.len() < log.len() {
        let (again, new) = deliveries.next().unwrap();
        let from = first.len().saturating_sub(again);
        let to = (first.len() + new.max(1)).min(log.len());
        for index in first.len()..to {
            let submission = &submissions[index];
            first.push(model.take(&log[index].0, event_id_of(submission, &model, &log[index].0)));
        }
        let batch = &submissions[from..to];
        let decision = decide(batch, &through(batch), &tables.view(), policy).unwrap();
        prop_assert_eq!(decision.decided.len(), batch.len());
        for (index, decided) in (from..to).zip(&decision.decided) {
            compare(&submissions[index], first[index], *decided)?;
        }
        tables.apply(&decision.plan);
    }
    let accounts: BTreeMap<_, _> =
        tables.accounts.values().map(|(_, account)| (key_text(account), account.clone())).collect();
    let expected: BTreeMap<_, _> = model
        .accounts
        .values()
        .map(|sent| Account::parse(&sent.json(PLAIN)).unwrap())
        .map(|account| (key_text(&account), account))
        .collect();
    prop_assert_eq!(accounts, expected);
    Ok(())
}

const PLAIN: Style = Style {
    reversed: false,
    explicit_nulls: false,
    other_offset: false,
    explicit_create: false,
    spaced: false,
};

/// The id the submission's own event would have, given what the model is about to decide.
fn event_id_of(submission: &Submission, model: &Model, sent: &Sent) -> EventId {
    let is_conflict =
        model.accepted.iter().any(|(known, _)| known.number == sent.number && known != sent);
    let verdict = if is_conflict {
        Verdict::Rejected(RejectionCode::O005)
    } else {
        model.broken_rule(sent).map_or(Verdict::Accepted, Verdict::Rejected)
    };
    EventId::of(&submission.account.communication_number, &submission.fingerprint, verdict)
}

fn compare(
    submission: &Submission,
    (expected, event_id): (Expected, EventId),
    decided: Decided,
) -> Result<(), TestCaseError> {
    let outcome = decided.outcome().unwrap();
    let own = |verdict| {
        EventId::of(&submission.account.communication_number, &submission.fingerprint, verdict)
    };
    match expected {
        Expected::Accepted | Expected::Repeated => {
            prop_assert_eq!(outcome.verdict, Verdict::Accepted);
            prop_assert_eq!(outcome.event_id, event_id);
            let is_told = decided.event().is_some();
            prop_assert_eq!(is_told, expected == Expected::Accepted, "{:?}", decided);
        }
        Expected::Rejected(code) => {
            prop_assert_eq!(outcome.verdict, Verdict::Rejected(code));
            prop_assert_eq!(outcome.event_id, own(outcome.verdict));
            prop_assert!(decided.event().is_some());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_the_models(
        policy in policy(),
        log in prop::collection::vec((sent(), style(), 0..3u32), 1..24),
        deliveries in prop::collection::vec((0..6usize, 1..8usize), 1..5),
    ) {
        check(&policy, &log, &deliveries)?;
    }

    #[test]
    fn a_fingerprint_depends_on_meaning_alone(
        one in sent(), other in sent(), first in style(), second in style(),
    ) {
        let fingerprint = |sent: &Sent, style| {
            let account = Account::parse(&sent.json(style)).unwrap();
            penstock::account::Fingerprint::of(&account)
        };
        prop_assert_eq!(fingerprint(&one, first), fingerprint(&one, second));
        prop_assert_eq!(fingerprint(&one, first) == fingerprint(&other, second), one == other);
    }
}
