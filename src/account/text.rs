//! Text fields. A value of one of these types has passed its field's limits; there is no other way
//! to make one. Short values are held in place and long ones shared, so copies are cheap. Values that may identify a person never appear in `Debug` output.

use std::fmt;

use smol_str::SmolStr;

use super::schema::Problem;

/// Checks a text against the limits every text field shares.
///
/// `max_chars` counts Unicode code points, as JSON Schema's `maxLength` does.
fn check(text: &str, max_chars: usize) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.contains('\0') {
        return Err(Problem::NulCharacter);
    }
    // Bytes are an upper bound of the code points, so most texts are never counted.
    if text.len() > max_chars && text.chars().count() > max_chars {
        return Err(Problem::TooLong { max_chars });
    }
    Ok(())
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, max_chars: $max:expr, debug: $debug:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// The longest value, in Unicode code points.
            pub const MAX_CHARS: usize = $max;

            /// Takes a non-empty text without NUL characters and within the field's length.
            pub fn parse(text: &str) -> Result<Self, Problem> {
                check(text, Self::MAX_CHARS)?;
                Ok(Self(SmolStr::new(text)))
            }

            /// The value as it was received.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        text_type!(@debug $debug $name);
    };
    (@debug shown $name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
    (@debug hidden $name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(hidden)", stringify!($name))
            }
        }
    };
}

text_type! {
    /// The client's number of one communication; identifies it for ever and globally.
    CommunicationNumber, max_chars: 255, debug: shown
}
text_type! {
    /// The system that sends the communication.
    Requester, max_chars: 100, debug: shown
}
text_type! {
    /// The organisational unit an account belongs to.
    BusinessUnit, max_chars: 255, debug: shown
}
text_type! {
    /// The client's identifier of the customer who holds the account.
    BusinessEntityExtId, max_chars: 255, debug: hidden
}
text_type! {
    /// The client's identifier of the account.
    AccountExtId, max_chars: 255, debug: hidden
}
text_type! {
    /// The account's number, often an IBAN.
    AccountNumber, max_chars: usize::MAX, debug: hidden
}
text_type! {
    /// A currency code as received; rule A001 tells whether ISO 4217 knows it.
    CurrencyCode, max_chars: usize::MAX, debug: shown
}
text_type! {
    /// An optional text without a rule of its own beyond the schema.
    Text, max_chars: usize::MAX, debug: hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_code_points() {
        assert!(Requester::parse(&"é".repeat(100)).is_ok());
        assert_eq!(Requester::parse(&"é".repeat(101)), Err(Problem::TooLong { max_chars: 100 }));
    }

    #[test]
    fn empty_and_nul_are_refused() {
        assert_eq!(CommunicationNumber::parse(""), Err(Problem::Empty));
        assert_eq!(CommunicationNumber::parse("a\0b"), Err(Problem::NulCharacter));
    }

    #[test]
    fn debug_output_hides_what_may_identify_a_person() {
        let number = AccountNumber::parse("LI9208800274335945522").unwrap();
        assert_eq!(format!("{number:?}"), "AccountNumber(hidden)");
    }
}
