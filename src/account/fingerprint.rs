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

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    /// Every field by its tag, as the frozen form has it.
    fn fields() -> Vec<(u8, &'static str, Value, &'static str)> {
        vec![
            (1, "communicationNumber", json!("N-1"), "N-1"),
            (2, "requester", json!("CORE"), "CORE"),
            (3, "businessUnit", json!("retail"), "retail"),
            (4, "businessEntityExtId", json!("C-1"), "C-1"),
            (5, "accountExtId", json!("A-1"), "A-1"),
            (6, "accountNumber", json!("LT121000011101001000"), "LT121000011101001000"),
            (7, "accountStatus", json!("CLOSED"), "CLOSED"),
            (8, "accountType", json!("SAVINGS"), "SAVINGS"),
            (9, "accountPurpose", json!("Ł salary"), "Ł salary"),
            (10, "action", json!("UPDATE"), "UPDATE"),
            (11, "bankTitle", json!("Some Bank"), "Some Bank"),
            (12, "bic", json!("BMERLT2XXXX"), "BMERLT2XXXX"),
            (13, "closingDate", json!("2024-02-03T04:05:06+01:00"), "2024-02-03T03:05:06Z"),
            (14, "currencyCode", json!("EUR"), "EUR"),
            (15, "isOtherFinInstAccount", json!(true), "true"),
            (16, "openingDate", json!("2023-09-05T08:07:34.5Z"), "2023-09-05T08:07:34.500Z"),
            (17, "suspensionReasons", json!("Court order."), "Court order."),
        ]
    }

    fn fingerprint_of(fields: &[(u8, &'static str, Value, &'static str)]) -> Fingerprint {
        let members: Map<_, _> =
            fields.iter().map(|(_, name, value, _)| ((*name).to_owned(), value.clone())).collect();
        Fingerprint::of(&Account::parse(&Value::Object(members).to_string()).unwrap())
    }

    /// The documented form, written down a second time.
    fn form(fields: &[(u8, &'static str, Value, &'static str)]) -> Fingerprint {
        let mut form = Vec::new();
        for (tag, _, _, text) in fields {
            form.push(*tag);
            form.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            form.extend(text.as_bytes());
        }
        Fingerprint(Sha256::digest(form).into())
    }

    /// Stored fingerprints depend on it: another form takes what was sent before for another content.
    #[test]
    fn the_form_of_every_field_is_frozen() {
        assert_eq!(fingerprint_of(&fields()), form(&fields()));
    }

    #[test]
    fn a_field_that_is_left_out_is_left_out_of_the_form() {
        let optional = [3, 8, 9, 11, 12, 13, 15, 17];
        for left_out in optional {
            let rest: Vec<_> = fields().into_iter().filter(|field| field.0 != left_out).collect();
            assert_eq!(fingerprint_of(&rest), form(&rest), "without {left_out}");
        }
    }
}
