//! One communication as a record on the log.

use std::sync::Arc;

use super::coordinates::Coordinates;
use super::fingerprint::Fingerprint;
use super::request::Account;
use super::text::{AccountExtId, BusinessEntityExtId, BusinessUnit, CommunicationNumber, Requester};

/// Identity of an account: its id within its business unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    /// The unit; none is a unit of its own.
    pub business_unit: Option<BusinessUnit>,
    /// The client's id of the account.
    pub account_ext_id: AccountExtId,
}

/// What a communication is about, as answers, events and tables tell it: no account data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Communication {
    /// The communication's number.
    pub number: CommunicationNumber,
    /// The account it is about.
    pub account: AccountKey,
    /// The customer who holds the account.
    pub business_entity_ext_id: BusinessEntityExtId,
    /// The system that sent it.
    pub requester: Requester,
}

/// A valid account at its place on the log.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What was sent, with the business unit it counts for.
    pub account: Arc<Account>,
    /// Identity of its content.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub coordinates: Coordinates,
    /// Where it stood first, if it was put aside there and put back.
    pub origin: Option<Coordinates>,
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
        Self { account: Arc::new(account), fingerprint, coordinates, origin: None }
    }

    /// The same, which was put back and stood there first.
    #[must_use]
    pub fn put_back_from(self, origin: Option<Coordinates>) -> Self {
        Self { origin, ..self }
    }

    /// The version that its account has by it: where it stood first, so that what was put aside for a while comes
    /// before whatever was submitted meanwhile.
    pub fn version(&self) -> Coordinates {
        self.origin.unwrap_or(self.coordinates)
    }
}
