//! The one answer every submission gets.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid};

use super::fingerprint::Fingerprint;
use super::text::CommunicationNumber;

/// Namespace of result event ids. Changing it would mint second ids for known outcomes.
const EVENT_ID_NAMESPACE: Uuid = Uuid::from_u128(0x7b1d_5a0e_4c86_5f0b_9a43_2f6d_c1e8_90b7);

macro_rules! rejection_codes {
    ($($(#[$doc:meta])* $code:ident => $description:literal,)+) => {
        /// Why a submission was rejected. Codes are stable; O005 is given by the contract.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum RejectionCode {
            $($(#[$doc])* $code,)+
        }

        impl RejectionCode {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// The code as answers, events, tables and metrics carry it.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$code => stringify!($code),)+
                }
            }

            /// The description that goes with the code.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$code => $description,)+
                }
            }

            /// Finds a code by its text.
            pub fn parse(code: &str) -> Option<Self> {
                match code {
                    $(stringify!($code) => Some(Self::$code),)+
                    _ => None,
                }
            }
        }
    };
}

rejection_codes! {
    /// The number was accepted before with other content.
    O005 => "CommunicationNumber already used in AMLYZE",
    /// The currency is unknown.
    A001 => "currencyCode is not an ISO 4217 code",
    /// A closed account has no closing date.
    A002 => "closingDate is mandatory when accountStatus is CLOSED",
    /// An account that is not closed has a closing date.
    A003 => "closingDate is only allowed when accountStatus is CLOSED",
    /// An account that is not suspended has suspension reasons.
    A004 => "suspensionReasons is only allowed when accountStatus is SUSPENDED",
    /// An account elsewhere has no BIC.
    A005 => "bic is mandatory when isOtherFinInstAccount is true",
    /// The account was closed before it was opened.
    A006 => "closingDate is before openingDate",
    /// The account type is not on the reference list.
    A007 => "accountType does not exist",
    /// The business unit is not on the reference list, or missing where it is mandatory.
    A008 => "businessUnit is missing or does not exist",
    /// CREATE of an account that exists.
    A009 => "account already exists; use action UPDATE to replace its data",
    /// UPDATE of an account that does not exist.
    A010 => "account does not exist; use action CREATE",
    /// The account belongs to another customer.
    A011 => "account already linked with another customer",
    /// The BIC is another institution's.
    A012 => "bic does not belong to the institution although isOtherFinInstAccount is not true",
    /// The BIC is malformed.
    A013 => "bic is not an ISO 9362 code",
    /// The IBAN's check digits do not fit.
    A014 => "accountNumber has wrong IBAN check digits",
    /// The customer is not on the reference list.
    A015 => "businessEntityExtId does not exist",
    /// What was put back after a newer submission of its account.
    A016 => "account has a newer state than this submission",
}

impl fmt::Display for RejectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What was decided of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The account was created or replaced.
    Accepted,
    /// Nothing changed; the number is free to be sent again with other content.
    Rejected(RejectionCode),
}

impl Verdict {
    /// It in a word: `accepted`, or the code of the rejection.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected(code) => code.code(),
        }
    }

    /// The verdict of this word.
    pub fn parse(text: &str) -> Option<Self> {
        if text == Self::Accepted.as_str() {
            return Some(Self::Accepted);
        }
        RejectionCode::parse(text).map(Self::Rejected)
    }
}

/// Id of a result event: the same for the same number, content and verdict, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub Uuid);

impl EventId {
    /// UUIDv5 (RFC 9562) over number, fingerprint and verdict.
    pub fn of(number: &CommunicationNumber, fingerprint: &Fingerprint, verdict: Verdict) -> Self {
        // The number may be any text, so it comes last: what stands before it has a fixed form.
        let digest: [u8; 20] = Sha1::new()
            .chain_update(EVENT_ID_NAMESPACE)
            .chain_update(fingerprint.as_bytes())
            .chain_update(verdict.as_str())
            .chain_update([0])
            .chain_update(number.as_str())
            .finalize()
            .into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(Builder::from_sha1_bytes(id).into_uuid())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The answer a submission gets: its verdict and the id of the event that tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "every submission gets exactly one outcome"]
pub struct Outcome {
    /// What was decided.
    pub verdict: Verdict,
    /// Id of the event that tells it.
    pub event_id: EventId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_by_their_text() {
        for code in RejectionCode::ALL {
            assert_eq!(RejectionCode::parse(code.code()), Some(*code));
        }
        assert_eq!(RejectionCode::parse("A999"), None);
    }

    #[test]
    fn event_ids_are_stable_and_tell_verdicts_apart() {
        let number = CommunicationNumber::parse("n1").unwrap();
        let fingerprint = Fingerprint::from_bytes([7; 32]);
        let accepted = EventId::of(&number, &fingerprint, Verdict::Accepted);
        assert_eq!(
            accepted.to_string(),
            EventId::of(&number, &fingerprint, Verdict::Accepted).to_string()
        );
        let conflict = EventId::of(&number, &fingerprint, Verdict::Rejected(RejectionCode::O005));
        assert_ne!(accepted, conflict);
    }
}
