//! One communication as a record on the log.

use std::sync::Arc;

use super::coordinates::Coordinates;
use super::fingerprint::Fingerprint;
use super::request::Account;
use super::text::BusinessUnit;

/// A valid account at its place on the log.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What was sent, with the business unit it counts for.
    pub account: Arc<Account>,
    /// Identity of its content.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub coordinates: Coordinates,
}

impl Submission {
    /// Places `account` at `coordinates`. `default_business_unit` holds for an account that names none.
    pub fn new(
        mut account: Account,
        default_business_unit: Option<BusinessUnit>,
        coordinates: Coordinates,
    ) -> Self {
        account.business_unit = account.business_unit.or(default_business_unit);
        let fingerprint = Fingerprint::of(&account);
        Self { account: Arc::new(account), fingerprint, coordinates }
    }
}
