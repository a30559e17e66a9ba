//! Endpoints as the store knows them: their names, and what all processes share about each.

use std::fmt;

use smol_str::SmolStr;

use crate::account::Timestamp;

/// Name of an endpoint: what the configuration, tables and metrics call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointName(SmolStr);

/// Why a text is no name of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 63 of a-z, 0-9, - and _")]
pub struct NameError;

impl EndpointName {
    /// Takes 1 to 63 of `a-z`, `0-9`, `-` and `_`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if (1..=63).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(SmolStr::new(text)))
        } else {
            Err(NameError)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an endpoint is to be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is.
    Active,
    /// An operator or its own 410 has paused it: events are parked.
    Paused,
    /// An operator has disabled it: what comes is not kept for it.
    Disabled,
}

impl Availability {
    /// Every value there is.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Disabled];

    /// The value as tables and output spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// Finds a value by its spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// Whether an endpoint seems to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// It does, or nothing else is known.
    Closed,
    /// It does not: only probes are sent.
    Open {
        /// Since when.
        since: Timestamp,
        /// When the next probe may be sent.
        probe_at: Timestamp,
        /// Probes so far.
        probes: u32,
    },
}

/// What all replicas know of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// The endpoint.
    pub name: EndpointName,
    /// Whether it is to be used.
    pub availability: Availability,
    /// Why, in words for operators; empty when there is nothing to say.
    pub reason: String,
    /// Whether it seems to work.
    pub breaker: Breaker,
    /// Since when it is so.
    pub changed_at: Timestamp,
    /// Number of the change, 0 before the first. A change is taken only over the version it was made of.
    pub version: u64,
    /// When it was first configured, by [`Deliveries::register`](super::Deliveries::register); no change of the
    /// state changes it.
    pub known_since: Option<Timestamp>,
}

/// Whether an endpoint's state was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a change that came too late was not made"]
pub enum Changed {
    /// It was.
    Done,
    /// It was not: somebody else has changed it since.
    TooLate,
}

impl EndpointState {
    /// The state of an endpoint that nothing is known of.
    pub fn unknown(name: EndpointName) -> Self {
        Self {
            name,
            availability: Availability::Active,
            reason: String::new(),
            breaker: Breaker::Closed,
            changed_at: Timestamp::from_unix_millis(0),
            version: 0,
            known_since: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_tables_and_metrics() {
        for good in ["risk", "risk-assessment_2", &"a".repeat(63)] {
            assert_eq!(EndpointName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "Risk", "a b", "ž", "a/b", &"a".repeat(64)] {
            assert_eq!(EndpointName::parse(bad), Err(NameError), "{bad:?}");
        }
    }

    #[test]
    fn availabilities_are_found_by_their_spelling() {
        for availability in Availability::ALL {
            assert_eq!(Availability::parse(availability.as_str()), Some(availability));
        }
        assert_eq!(Availability::parse("away"), None);
    }
}
