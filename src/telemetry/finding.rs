//! What a look at a server finds, for an operator to act on.

use std::error::Error;

use serde::Serialize;

use super::with_causes;

/// How good or bad what was found is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Fine,
    /// It works, but less safely or less well than it could.
    Warning,
    /// It does not work.
    Wrong,
}

/// One thing that was looked at. It holds no personal data and no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `kafka: brokers`.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found and, unless it is fine, what to do.
    pub told: String,
}

impl Finding {
    /// It is as it must be.
    pub fn fine(subject: impl Into<String>, told: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Fine, told: told.into() }
    }

    /// It works, but should be changed.
    pub fn warning(subject: impl Into<String>, told: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Warning, told: told.into() }
    }

    /// It does not work.
    pub fn wrong(subject: impl Into<String>, told: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Wrong, told: told.into() }
    }

    /// What came of a look: words when it is fine, or the error with its causes.
    pub fn of<E: Error + 'static>(
        subject: impl Into<String>,
        looked: Result<impl Into<String>, E>,
    ) -> Self {
        match looked {
            Ok(told) => Self::fine(subject, told),
            Err(error) => Self::wrong(subject, with_causes(&error).to_string()),
        }
    }
}

/// How far two clocks may differ before times of one mislead readers of the other.
const MAX_SKEW_MS: u64 = 2_000;

/// What a server's clock shows beside this machine's, given the difference in milliseconds.
pub fn clock_finding(subject: &str, ahead_ms: i64) -> Finding {
    let told =
        format!("{} ms {}", ahead_ms.unsigned_abs(), if ahead_ms < 0 { "behind" } else { "ahead" });
    if ahead_ms.unsigned_abs() <= MAX_SKEW_MS {
        Finding::fine(subject, format!("{told} of this machine"))
    } else {
        let advice =
            "outcomes seem to be late and windows by time miss records; synchronise the clocks (NTP)";
        Finding::warning(subject, format!("{told} of this machine: {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_network_delay_are_warned_of() {
        assert_eq!(clock_finding("clock", 12).verdict, Verdict::Fine);
        assert_eq!(clock_finding("clock", -2_001).verdict, Verdict::Warning);
        assert!(clock_finding("clock", -2_001).told.starts_with("2001 ms behind"));
    }
}
