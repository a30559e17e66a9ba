//! Values with a unit, read from and printed as text. What is printed reads back as the same value.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::account::Timestamp;

/// Why a text is not a value of its kind: what is allowed, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

macro_rules! as_text {
    ($name:ident, $schema:literal) => {
        impl TryFrom<String> for $name {
            type Error = UnitError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $schema })
            }
        }
    };
}

/// A length of time, such as `3s` or `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

impl Span {
    /// The length.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(length: Duration) -> Self {
        Self(length)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError("must be a duration such as \"3s\", \"250ms\" or \"1m 30s\"".into());
        humantime::parse_duration(text).map(Self).map_err(|_| refused())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

as_text!(Span, r"^\s*([0-9]+\s*[a-zA-Zµ]+\s*)+$");

/// A point in time from which on something counts, or one that is named: `configured` or `beginning`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StartFrom {
    /// When it was first configured.
    #[default]
    Configured,
    /// The beginning of everything.
    Beginning,
    /// Then.
    Time(Timestamp),
}

impl FromStr for StartFrom {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = "must be \"configured\", \"beginning\" or a time such as \"2026-01-31T08:00:00Z\"";
        match text {
            "configured" => Ok(Self::Configured),
            "beginning" => Ok(Self::Beginning),
            time => Timestamp::parse(time).map(Self::Time).map_err(|_| UnitError(refused.to_owned())),
        }
    }
}

impl fmt::Display for StartFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("configured"),
            Self::Beginning => f.write_str("beginning"),
            Self::Time(time) => time.fmt(f),
        }
    }
}

as_text!(
    StartFrom,
    r"^(configured|beginning|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9:]+))$"
);

/// Unit names with their sizes. Within a kind the largest stands first.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A number of bytes, such as `16MB` or `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

impl ByteSize {
    /// The bytes; the largest number the machine can address when there are more.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError("must be a size such as \"16MB\", \"64KiB\" or \"512B\"".into());
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, unit) = text.split_at(digits);
        let (_, factor) = SIZE_UNITS
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))
            .ok_or_else(refused)?;
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = SIZE_UNITS.into_iter().find(fits).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

as_text!(ByteSize, r"^\s*[0-9]+\s*([kKmMgG][iI]?)?[bB]\s*$");

/// A client address or a network of them, such as `10.1.0.7` or `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// The network; of one address when it was written so.
    pub fn net(self) -> IpNet {
        self.0
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(address.into())
    }
}

impl FromStr for Network {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError("must be an address or network such as \"10.1.0.0/16\"".into());
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| address()).map(Self).map_err(|_| refused())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text!(Network, r"^[0-9a-fA-F.:]+(/[0-9]+)?$");

/// The SHA-256 of a token. The token cannot be found from it, so it may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// The digest of a text.
    pub fn of(text: &str) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(text.as_bytes()).into())
    }

    /// The digest.
    pub fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl FromStr for Sha256Digest {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError("must be a SHA-256 of 64 hexadecimal digits".into());
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let mut digest = [0; 32];
        if text.len() != 64 {
            return Err(refused());
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let value = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high * 16 + low);
            *byte = value.and_then(|value| u8::try_from(value).ok()).ok_or_else(refused)?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

as_text!(Sha256Digest, r"^[0-9a-fA-F]{64}$");

/// A text that nobody is shown. It prints as [`Secret::SHOWN`], and what is none is refused unquoted.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    /// What is printed in its place.
    pub const SHOWN: &str = "<hidden>";

    /// The text, to be passed on to whom it is for.
    pub fn secret(&self) -> SecretString {
        self.0.clone()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }

    /// Whether it begins with one of `prefixes`.
    pub(super) fn begins_with(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| self.0.expose_secret().starts_with(prefix))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretText)
    }
}

struct SecretText;

impl SecretText {
    fn refused<E: serde::de::Error>() -> E {
        E::custom("must be a text in quotes (what stands there is not shown)")
    }
}

impl serde::de::Visitor<'_> for SecretText {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::from(text.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret::from(text))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(Self::refused())
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { Self::SHOWN })
    }
}

impl schemars::JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_in_the_form_they_were_written_in() {
        for text in ["3s", "250ms", "1m 30s", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["16MB", "64KiB", "512B", "1GB", "0B", "1500KB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["configured", "beginning", "2026-01-31T08:00:00Z"] {
            assert_eq!(text.parse::<StartFrom>().unwrap().to_string(), text);
        }
        let digest = Sha256Digest::of("dev").to_string();
        assert_eq!(digest.parse::<Sha256Digest>().unwrap().to_string(), digest);
        assert_eq!(digest.to_uppercase().parse::<Sha256Digest>().unwrap().to_string(), digest);
    }

    #[test]
    fn sizes_know_both_kinds_of_units() {
        assert_eq!("16MB".parse::<ByteSize>().unwrap().bytes(), 16_000_000);
        assert_eq!("16 mib".parse::<ByteSize>().unwrap().bytes(), 16 * 1024 * 1024);
    }

    #[test]
    fn what_has_no_unit_or_too_many_digits_is_refused() {
        assert!("16".parse::<ByteSize>().is_err());
        assert!("99999999999999999GB".parse::<ByteSize>().is_err());
        assert!("3".parse::<Span>().is_err());
        for wrong in ["", "now", "2026-01-31", "2026-01-31 08:00:00Z"] {
            assert!(wrong.parse::<StartFrom>().is_err(), "{wrong:?}");
        }
        for wrong in ["", "00", &"+f".repeat(32), &"0".repeat(63), &"é".repeat(32)] {
            assert!(wrong.parse::<Sha256Digest>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_single_address_is_a_network_of_one() {
        assert_eq!("10.1.0.7".parse::<Network>().unwrap().to_string(), "10.1.0.7/32");
        assert!("10.1.0".parse::<Network>().is_err());
    }
}
