//! What the rules compare with: the institution's lists and its choices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::outcome::RejectionCode;

/// A list of codes with their names; an empty list means the rule on it is off.
pub type Classifier = BTreeMap<String, String>;

/// The institution's own lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// Account types (A007).
    pub account_types: Classifier,
    /// Business units (A008).
    pub business_units: Classifier,
    /// Customers by their external ids (A015).
    pub business_entities: BTreeSet<String>,
    /// BICs of the institution itself (A012).
    pub own_bics: BTreeSet<String>,
}

/// What becomes of a CREATE of an account that exists for the same customer (A009).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateExisting {
    /// It is rejected.
    #[default]
    Reject,
    /// It is taken as an UPDATE.
    Replace,
}

/// What becomes of an UPDATE of an account that does not exist (A010).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateMissing {
    /// It is rejected.
    #[default]
    Reject,
    /// It is taken as a CREATE.
    Create,
}

/// All that decisions depend on besides the submission and the state: lists and settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The institution's lists.
    pub reference: Reference,
    /// CREATE of an account that exists.
    pub create_existing: CreateExisting,
    /// UPDATE of an account that does not exist.
    pub update_missing: UpdateMissing,
    /// Whether an account must name its business unit (A008).
    pub business_unit_mandatory: bool,
    /// Rules that are not applied. O005, A009, A010 and A016 always are.
    pub disabled: BTreeSet<RejectionCode>,
}

impl Default for Policy {
    /// No lists; every rule but the strict formats of A013 and A014.
    fn default() -> Self {
        Self {
            reference: Reference::default(),
            create_existing: CreateExisting::default(),
            update_missing: UpdateMissing::default(),
            business_unit_mandatory: false,
            disabled: BTreeSet::from([RejectionCode::A013, RejectionCode::A014]),
        }
    }
}

impl Policy {
    /// What tells these rules and lists from others: SHA-256 over all of them, in hex. The names of a list's codes
    /// are no part of it, as no decision depends on them.
    pub fn digest(&self) -> String {
        let Self { reference, create_existing, update_missing, business_unit_mandatory, disabled } =
            self;
        let Reference { account_types, business_units, business_entities, own_bics } = reference;
        let mut digest = Sha256::new();
        let mut list = |codes: &mut dyn Iterator<Item = &str>| {
            let mut count = 0u64;
            for code in codes {
                digest.update((code.len() as u64).to_be_bytes());
                digest.update(code);
                count += 1;
            }
            digest.update(count.to_be_bytes());
        };
        list(&mut account_types.keys().map(String::as_str));
        list(&mut business_units.keys().map(String::as_str));
        list(&mut business_entities.iter().map(String::as_str));
        list(&mut own_bics.iter().map(String::as_str));
        list(&mut disabled.iter().map(|code| code.code()));
        digest.update([
            u8::from(*create_existing == CreateExisting::Replace),
            u8::from(*update_missing == UpdateMissing::Create),
            u8::from(*business_unit_mandatory),
        ]);
        let mut hex = String::with_capacity(64);
        for byte in digest.finalize() {
            let _infallible = write!(hex, "{byte:02x}");
        }
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_rules_and_lists_have_another_digest() {
        let code = |code: &str| (code.to_owned(), String::new());
        let changes: [fn(&mut Policy); 8] = [
            |it| it.reference.account_types = Classifier::from([("a".to_owned(), String::new())]),
            |it| it.reference.business_units = Classifier::from([("a".to_owned(), String::new())]),
            |it| it.reference.business_entities = BTreeSet::from(["a".to_owned()]),
            |it| it.reference.own_bics = BTreeSet::from(["a".to_owned()]),
            |it| it.create_existing = CreateExisting::Replace,
            |it| it.update_missing = UpdateMissing::Create,
            |it| it.business_unit_mandatory = true,
            |it| it.disabled = BTreeSet::new(),
        ];
        let mut digests = BTreeSet::from([Policy::default().digest()]);
        for change in changes {
            let mut policy = Policy::default();
            change(&mut policy);
            assert!(digests.insert(policy.digest()), "{policy:?}");
        }
        let with = |codes: &[&str]| {
            let mut policy = Policy::default();
            policy.reference.account_types = codes.iter().map(|it| code(it)).collect();
            policy.digest()
        };
        assert_ne!(with(&["ab", "c"]), with(&["a", "bc"]));
        let mut named = Policy::default();
        named.reference.account_types = Classifier::from([("a".to_owned(), "name".to_owned())]);
        assert_eq!(named.digest(), with(&["a"]), "a name decides nothing");
        assert_eq!(Policy::default().digest().len(), 64);
    }
}
