//! The rules beyond the schema: pure functions of an account, the policy and what is known of the
//! account: the customer who holds it, if it exists.

use super::currency::is_currency;
use super::outcome::RejectionCode;
use super::reference::{CreateExisting, Policy, UpdateMissing};
use super::request::{Account, AccountStatus, Action};
use super::text::BusinessEntityExtId;

/// The first rule the account breaks, in the order of the codes; the rules on the account's state
/// come last, so that what is wrong with the item itself is told first.
pub(super) fn first_violation(
    account: &Account,
    holder: Option<&BusinessEntityExtId>,
    policy: &Policy,
) -> Option<RejectionCode> {
    item_violations(account, policy)
        .chain(state_violation(account, holder, policy))
        .find(|code| !policy.disabled.contains(code))
}

type ItemRule = (RejectionCode, fn(&Account, &Policy) -> bool);

/// Rules on the item alone. Each function tells whether the rule is broken.
const ITEM_RULES: &[ItemRule] = &[
    (RejectionCode::A001, |account, _| !is_currency(account.currency_code.as_str())),
    (RejectionCode::A002, |account, _| is_closed(account) && account.closing_date.is_none()),
    (RejectionCode::A003, |account, _| !is_closed(account) && account.closing_date.is_some()),
    (RejectionCode::A004, |account, _| {
        account.account_status != AccountStatus::Suspended && account.suspension_reasons.is_some()
    }),
    (RejectionCode::A005, |account, _| is_elsewhere(account) && account.bic.is_none()),
    (RejectionCode::A006, |account, _| {
        account.closing_date.is_some_and(|closing| closing < account.opening_date)
    }),
    (RejectionCode::A007, account_type_unknown),
    (RejectionCode::A008, business_unit_unknown),
    (RejectionCode::A012, foreign_bic),
    (RejectionCode::A013, |account, _| account.bic.as_ref().is_some_and(|bic| !is_bic(bic.as_str()))),
    (RejectionCode::A014, |account, _| has_wrong_iban_check_digits(account.account_number.as_str())),
    (RejectionCode::A015, |account, policy| {
        let known = &policy.reference.business_entities;
        !known.is_empty() && !known.contains(account.business_entity_ext_id.as_str())
    }),
];

fn item_violations<'a>(
    account: &'a Account,
    policy: &'a Policy,
) -> impl Iterator<Item = RejectionCode> + 'a {
    ITEM_RULES.iter().filter(|(_, is_broken)| is_broken(account, policy)).map(|(code, _)| *code)
}

fn state_violation(
    account: &Account,
    holder: Option<&BusinessEntityExtId>,
    policy: &Policy,
) -> Option<RejectionCode> {
    let Some(holder) = holder else {
        let must_exist = policy.update_missing == UpdateMissing::Reject;
        return (account.action == Action::Update && must_exist).then_some(RejectionCode::A010);
    };
    let linked_elsewhere = *holder != account.business_entity_ext_id;
    if linked_elsewhere && !policy.disabled.contains(&RejectionCode::A011) {
        return Some(RejectionCode::A011);
    }
    let must_be_new = policy.create_existing == CreateExisting::Reject;
    (account.action == Action::Create && must_be_new).then_some(RejectionCode::A009)
}

fn is_closed(account: &Account) -> bool {
    account.account_status == AccountStatus::Closed
}

fn is_elsewhere(account: &Account) -> bool {
    account.is_other_fin_inst_account == Some(true)
}

fn account_type_unknown(account: &Account, policy: &Policy) -> bool {
    let known = &policy.reference.account_types;
    let account_type = account.account_type.as_ref();
    !known.is_empty() && account_type.is_some_and(|code| !known.contains_key(code.as_str()))
}

fn business_unit_unknown(account: &Account, policy: &Policy) -> bool {
    let known = &policy.reference.business_units;
    match &account.business_unit {
        None => policy.business_unit_mandatory,
        Some(unit) => !known.is_empty() && !known.contains_key(unit.as_str()),
    }
}

fn foreign_bic(account: &Account, policy: &Policy) -> bool {
    let own = &policy.reference.own_bics;
    let Some(bic) = &account.bic else { return false };
    let bic = bic.as_str();
    let is_own = own.iter().any(|known| head_office(known).eq_ignore_ascii_case(head_office(bic)));
    !own.is_empty() && !is_elsewhere(account) && !is_own
}

/// A BIC without the branch `XXX`, which means the head office, as does leaving it out (ISO 9362).
fn head_office(bic: &str) -> &str {
    match bic.get(8..) {
        Some(branch) if branch.eq_ignore_ascii_case("XXX") => &bic[..8],
        _ => bic,
    }
}

/// ISO 9362: four letters or digits of the party, two letters of the country, two of the location,
/// three of the branch or none.
fn is_bic(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_alphanumeric = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    matches!(bytes.len(), 8 | 11)
        && bytes.iter().all(is_alphanumeric)
        && bytes[4..6].iter().all(u8::is_ascii_uppercase)
}

/// True for a text of the form of an IBAN (ISO 13616) whose check digits do not fit (ISO 7064, mod 97-10).
fn has_wrong_iban_check_digits(text: &str) -> bool {
    let compact: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    looks_like_iban(&compact) && mod_97(&compact) != 1
}

fn looks_like_iban(compact: &[u8]) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    (15..=34).contains(&compact.len())
        && compact[..2].iter().all(u8::is_ascii_uppercase)
        && compact[2..4].iter().all(u8::is_ascii_digit)
        && compact[4..].iter().all(is_alphanumeric)
}

/// The remainder by 97 of the IBAN rearranged and written in digits (A = 10 … Z = 35).
fn mod_97(compact: &[u8]) -> u32 {
    let (head, tail) = compact.split_at(4);
    tail.iter().chain(head).fold(0, |remainder, byte| {
        if byte.is_ascii_digit() {
            (remainder * 10 + u32::from(byte - b'0')) % 97
        } else {
            (remainder * 100 + u32::from(byte - b'A') + 10) % 97
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// A valid account with the given members added or replaced.
    fn account(members: &serde_json::Value) -> Account {
        let mut item = serde_json::json!({
            "communicationNumber": "n1", "requester": "CORE", "businessEntityExtId": "customer",
            "accountExtId": "a1", "accountNumber": "LT121000011101001000", "accountStatus": "ACTIVE",
            "currencyCode": "EUR", "openingDate": "2023-09-05T08:07:34Z",
        });
        for (name, value) in members.as_object().unwrap() {
            item[name] = value.clone();
        }
        Account::parse(&item.to_string()).unwrap()
    }

    fn verdict(members: &serde_json::Value, policy: &Policy) -> Option<RejectionCode> {
        first_violation(&account(members), None, policy)
    }

    fn classifier(code: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(code.to_owned(), code.to_owned())])
    }

    #[test]
    fn each_rule_on_the_item_has_its_code() {
        use RejectionCode::{A001, A002, A003, A004, A005, A006};
        let policy = Policy::default();
        let closing = "2024-01-01T00:00:00Z";
        for (members, expected) in [
            (serde_json::json!({}), None),
            (serde_json::json!({"currencyCode": "EURO"}), Some(A001)),
            (serde_json::json!({"accountStatus": "CLOSED"}), Some(A002)),
            (serde_json::json!({"accountStatus": "CLOSED", "closingDate": closing}), None),
            (serde_json::json!({"closingDate": closing}), Some(A003)),
            (serde_json::json!({"suspensionReasons": "fraud"}), Some(A004)),
            (serde_json::json!({"accountStatus": "SUSPENDED", "suspensionReasons": "fraud"}), None),
            (serde_json::json!({"isOtherFinInstAccount": true}), Some(A005)),
            (serde_json::json!({"isOtherFinInstAccount": true, "bic": "AMLYZEXX22"}), None),
            (
                serde_json::json!({"accountStatus": "CLOSED", "closingDate": "2023-09-05T08:07:33Z"}),
                Some(A006),
            ),
        ] {
            assert_eq!(verdict(&members, &policy), expected, "{members}");
        }
    }

    #[test]
    fn rules_on_lists_are_off_while_their_list_is_empty() {
        let members =
            serde_json::json!({"accountType": "LOAN", "businessUnit": "north", "bic": "SANDLT00"});
        assert_eq!(verdict(&members, &Policy::default()), None);
        let mut policy = Policy::default();
        policy.reference.own_bics = BTreeSet::from(["OTHRLT00".to_owned()]);
        assert_eq!(verdict(&members, &policy), Some(RejectionCode::A012));
        policy.reference.own_bics.insert("SANDLT00XXX".to_owned());
        assert_eq!(verdict(&members, &policy), None);
        policy.reference.business_entities = BTreeSet::from(["someone".to_owned()]);
        assert_eq!(verdict(&members, &policy), Some(RejectionCode::A015));
        policy.reference.business_units = classifier("south");
        assert_eq!(verdict(&members, &policy), Some(RejectionCode::A008));
        policy.reference.account_types = classifier("SAVINGS");
        assert_eq!(verdict(&members, &policy), Some(RejectionCode::A007));
    }

    #[test]
    fn a_business_unit_is_missed_only_where_it_is_mandatory() {
        let mut policy = Policy::default();
        policy.reference.business_units = classifier("south");
        assert_eq!(verdict(&serde_json::json!({}), &policy), None);
        policy.business_unit_mandatory = true;
        assert_eq!(verdict(&serde_json::json!({}), &policy), Some(RejectionCode::A008));
    }

    #[test]
    fn strict_formats_are_off_until_enabled() {
        let bic = serde_json::json!({"bic": "AMLYZEXX22"});
        let iban = serde_json::json!({"accountNumber": "LI92 0880 0274 3359 4552 3"});
        let strict = Policy { disabled: BTreeSet::new(), ..Policy::default() };
        assert_eq!(verdict(&bic, &Policy::default()), None);
        assert_eq!(verdict(&bic, &strict), Some(RejectionCode::A013));
        assert_eq!(verdict(&iban, &Policy::default()), None);
        assert_eq!(verdict(&iban, &strict), Some(RejectionCode::A014));
        let right =
            serde_json::json!({"accountNumber": "GB82 WEST 1234 5698 7654 32", "bic": "SANDLT22XXX"});
        assert_eq!(verdict(&right, &strict), None);
        assert_eq!(verdict(&serde_json::json!({"accountNumber": "0001234"}), &strict), None);
    }

    #[test]
    fn rules_on_the_state_follow_the_policy() {
        use RejectionCode::{A009, A010, A011};
        let holder = |customer: &str| BusinessEntityExtId::parse(customer).unwrap();
        let (mine, other) = (holder("customer"), holder("somebody else"));
        let create = account(&serde_json::json!({}));
        let update = account(&serde_json::json!({"action": "UPDATE"}));
        let strict = Policy::default();
        let lenient = Policy {
            create_existing: CreateExisting::Replace,
            update_missing: UpdateMissing::Create,
            ..Policy::default()
        };
        for (account, holder, policy, expected) in [
            (&create, None, &strict, None),
            (&create, Some(&mine), &strict, Some(A009)),
            (&create, Some(&mine), &lenient, None),
            (&create, Some(&other), &lenient, Some(A011)),
            (&update, None, &strict, Some(A010)),
            (&update, None, &lenient, None),
            (&update, Some(&mine), &strict, None),
            (&update, Some(&other), &strict, Some(A011)),
        ] {
            assert_eq!(first_violation(account, holder, policy), expected);
        }
    }

    #[test]
    fn a_disabled_rule_is_not_applied_and_hides_no_other() {
        let policy = Policy { disabled: BTreeSet::from([RejectionCode::A011]), ..Policy::default() };
        let holder = BusinessEntityExtId::parse("somebody else").unwrap();
        let create = account(&serde_json::json!({}));
        assert_eq!(first_violation(&create, Some(&holder), &policy), Some(RejectionCode::A009));
    }
}
