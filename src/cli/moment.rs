//! Points in time, as operators say them.

use std::time::{Duration, SystemTime};

use crate::account::Timestamp;

/// The time it is.
pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// A point in time as operators say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Then.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl Moment {
    /// Reads a time with its offset, or a duration.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "beginning" {
            return Ok(Self::At(Timestamp::from_unix_millis(0)));
        }
        let at = Timestamp::parse(text).map(Self::At);
        at.or_else(|_| humantime::parse_duration(text).map(Self::Ago)).map_err(|_| {
            "must be a time with its offset such as 2026-11-24T08:00:00Z, or how long ago such as 2h or 3days"
        })
    }

    /// The time it is, at `now`.
    pub(super) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(duration) => now.earlier(duration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_how_long_ago() {
        let now = Timestamp::parse("2026-11-24T08:00:00Z").unwrap();
        let at = |text| Moment::parse(text).map(|moment| moment.at(now).to_string());
        assert_eq!(at("2026-11-01T10:00:00+02:00").unwrap(), "2026-11-01T08:00:00Z");
        assert_eq!(at("2h").unwrap(), "2026-11-24T06:00:00Z");
        assert!(at("yesterday").is_err() && at("2026-11-24T08:00:00").is_err());
    }
}
