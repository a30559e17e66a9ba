//! Identity of content: equal for what means the same, whatever its formatting, key order, explicit
//! nulls or time offsets.

use std::fmt;

use sha2::{Digest, Sha256};

use super::request::Account;

/// SHA-256 of a submission's canonical content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Digests the typed fields in a fixed order; absent fields are left out.
    ///
    /// The form is frozen, as stored fingerprints depend on it: per present field its tag, the length
    /// of its text as 4 bytes big endian, and the text. A new field takes a new tag at the end.
    pub fn of(account: &Account) -> Self {
        let mut canonical = Canonical(Vec::with_capacity(512));
        canonical.text(1, account.communication_number.as_str());
        canonical.text(2, account.requester.as_str());
        canonical.optional(3, account.business_unit.as_ref().map(|text| text.as_str()));
        canonical.text(4, account.business_entity_ext_id.as_str());
        canonical.text(5, account.account_ext_id.as_str());
        canonical.text(6, account.account_number.as_str());
        canonical.text(7, account.account_status.as_str());
        canonical.optional(8, account.account_type.as_ref().map(|text| text.as_str()));
        canonical.optional(9, account.account_purpose.as_ref().map(|text| text.as_str()));
        canonical.text(10, account.action.as_str());
        canonical.optional(11, account.bank_title.as_ref().map(|text| text.as_str()));
        canonical.optional(12, account.bic.as_ref().map(|text| text.as_str()));
        canonical.optional(13, account.closing_date.map(|time| time.to_string()).as_deref());
        canonical.text(14, account.currency_code.as_str());
        let is_other = account.is_other_fin_inst_account;
        canonical.optional(15, is_other.map(|is| if is { "true" } else { "false" }));
        canonical.text(16, &account.opening_date.to_string());
        canonical.optional(17, account.suspension_reasons.as_ref().map(|text| text.as_str()));
        Self(Sha256::digest(&canonical.0).into())
    }

    /// A stored fingerprint.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Tagged, length-prefixed fields: no two different contents share a form.
struct Canonical(Vec<u8>);

impl Canonical {
    fn text(&mut self, tag: u8, text: &str) {
        // A field is part of a record, which is far smaller than 4 GiB.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.0.push(tag);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn optional(&mut self, tag: u8, text: Option<&str>) {
        if let Some(text) = text {
            self.text(tag, text);
        }
    }
}
