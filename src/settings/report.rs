//! What is wrong with a configuration: all of it, in one report.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, or the source when it cannot be read at all.
    pub key: String,
    /// Where the value comes from: file and line, variable or option.
    pub origin: String,
    /// What is wrong, what is allowed, and what to do.
    pub what: String,
}

impl Problem {
    /// A problem of `key`, whose value comes from `origin`.
    pub fn new(key: impl Into<String>, origin: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), origin: origin.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (from {}): {}", self.key, self.origin, self.what)
    }
}

/// A configuration that cannot be used: correct every problem and start again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "the configuration has {count} problem{}", if count == 1 { "" } else { "s" })?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
