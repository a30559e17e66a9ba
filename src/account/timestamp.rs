//! Points in time. Offsets are resolved to UTC on the way in, so that equal instants are equal values.

use std::fmt;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

use super::schema::Problem;

/// An instant in UTC, to the nanosecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Takes an RFC 3339 date-time with its offset, such as `2023-09-05T08:07:34.605Z`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        // RFC 3339 lets applications choose the separator; JSON Schema's `date-time` means `T`.
        if !matches!(text.as_bytes().get(10), Some(b'T' | b't')) {
            return Err(Problem::NotDateTime);
        }
        DateTime::parse_from_rfc3339(text)
            .map(|time| Self(time.to_utc()))
            .map_err(|_| Problem::NotDateTime)
    }

    /// The instant `millis` milliseconds after the Unix epoch; out of range becomes the epoch.
    pub fn from_unix_millis(millis: i64) -> Self {
        Self(DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::UNIX_EPOCH))
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_millis(self) -> i64 {
        self.0.timestamp_millis()
    }

    /// Microseconds since the Unix epoch; finer digits are cut off.
    pub fn unix_micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// The instant `micros` microseconds after the Unix epoch; out of range becomes the epoch.
    pub fn from_unix_micros(micros: i64) -> Self {
        Self(DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH))
    }

    /// `wait` after it, to the millisecond.
    #[must_use]
    pub fn later(self, wait: Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.unix_millis().saturating_add(millis))
    }

    /// `wait` before it, to the millisecond.
    #[must_use]
    pub fn earlier(self, wait: Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.unix_millis().saturating_sub(millis))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.into())
    }
}

/// Canonical RFC 3339 in UTC: as many fraction digits (0, 3, 6 or 9) as the value needs.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_instants_are_equal_whatever_their_offset() {
        let utc = Timestamp::parse("2023-09-05T08:07:34.605Z").unwrap();
        for same in [
            "2023-09-05T10:07:34.605+02:00",
            "2023-09-05T08:07:34.605000-00:00",
            "2023-09-05t08:07:34.605z",
        ] {
            assert_eq!(Timestamp::parse(same), Ok(utc), "{same}");
        }
        assert_eq!(utc.to_string(), "2023-09-05T08:07:34.605Z");
    }

    #[test]
    fn what_is_no_rfc_3339_date_time_is_refused() {
        for bad in [
            "",
            "2023-09-05",
            "2023-09-05T08:07:34",
            "2023-09-05 08:07:34Z",
            "2023-02-30T08:07:34Z",
            "2023-09-05T24:00:00Z",
            "2023-09-05T08:07:34+0200",
            "05.09.2023T08:07:34Z",
            "1693901254",
        ] {
            assert_eq!(Timestamp::parse(bad), Err(Problem::NotDateTime), "{bad:?}");
        }
    }

    #[test]
    fn a_leap_second_is_a_time() {
        assert_eq!(
            Timestamp::parse("2016-12-31T23:59:60Z").unwrap().to_string(),
            "2016-12-31T23:59:60Z"
        );
    }
}
