//! What a communication is about.

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
