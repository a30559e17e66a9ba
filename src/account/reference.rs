//! What the rules compare with: the institution's lists and its choices.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Rules that are not applied. O005, A009 and A010 always are.
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
