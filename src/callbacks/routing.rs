//! Which endpoints an event goes to. An endpoint takes an event when every one of its lists does; an
//! empty list takes everything.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::account::Timestamp;
use crate::events::CloudEvent;

/// A pattern of event types: `*` stands for any text, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// A pattern.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether the whole text fits.
    pub fn fits(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(last) = parts.next_back() else { return text == first };
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        // Each part between two stars is taken as early as it comes, which leaves most for the others.
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// What an endpoint takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Event types.
    pub event_types: Vec<Glob>,
    /// Business units.
    pub business_units: BTreeSet<String>,
    /// Requesters.
    pub requesters: BTreeSet<String>,
}

impl Filter {
    /// Whether an event is taken, given what its data says of itself.
    pub fn takes(&self, event_type: &str, origin: &Origin) -> bool {
        let is_listed = |list: &BTreeSet<String>, value: &Option<String>| {
            list.is_empty() || value.as_ref().is_some_and(|value| list.contains(value))
        };
        (self.event_types.is_empty() || self.event_types.iter().any(|glob| glob.fits(event_type)))
            && is_listed(&self.business_units, &origin.business_unit)
            && is_listed(&self.requesters, &origin.requester)
    }

    /// Whether it asks where events come from.
    pub fn needs_origin(&self) -> bool {
        !self.business_units.is_empty() || !self.requesters.is_empty()
    }
}

/// From when on an endpoint gets events, by when their submissions were appended to the log: an event that comes
/// again belongs to the same endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverFrom {
    /// From when the endpoint was first configured.
    Configured,
    /// All there are.
    Beginning,
    /// From then on.
    Time(Timestamp),
}

impl DeliverFrom {
    /// Whether an endpoint that is known since `known_since` gets an event of `time`. One that tells no time is
    /// brought: rather too many than too few.
    pub fn takes(self, time: Option<Timestamp>, known_since: Option<Timestamp>) -> bool {
        let start = match self {
            Self::Configured => known_since,
            Self::Beginning => None,
            Self::Time(start) => Some(start),
        };
        start.zip(time).is_none_or(|(start, time)| time >= start)
    }
}

/// Where an event comes from, by its data.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The unit the account counts for.
    business_unit: Option<String>,
    /// The system that sent the communication.
    requester: Option<String>,
}

impl Origin {
    /// Reads the data of an event; data of another kind has no origin.
    pub fn of(event: &CloudEvent) -> Self {
        serde_json::from_slice(&event.data).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(unit: &str, requester: &str) -> Origin {
        let some = |text: &str| Some(text.to_owned());
        Origin { business_unit: some(unit), requester: some(requester) }
    }

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn stars_stand_for_any_text() {
        let fits = |pattern: &str, text| Glob::new(pattern).fits(text);
        for pattern in ["*", "penstock.*", "*.accepted", "penstock.*.accepted", "*account*", "**", "p*d"]
        {
            assert!(fits(pattern, "penstock.account.accepted"), "{pattern}");
        }
        for pattern in ["", "penstock", "*.rejected", "penstock.*.*.accepted", "account*", "a*a*a*a*a*z"]
        {
            assert!(!fits(pattern, "penstock.account.accepted"), "{pattern}");
        }
        assert!(!fits("ab*ba", "aba"), "the ends may not overlap");
        assert!(fits("", ""));
    }

    #[test]
    fn every_list_must_take_an_event_and_an_empty_one_takes_all() {
        let (event_type, origin) = ("penstock.account.accepted", origin("LT", "core"));
        assert!(Filter::default().takes(event_type, &origin));
        let filter = |types: &[&str], units: &[&str], requesters: &[&str]| Filter {
            event_types: types.iter().map(|glob| Glob::new(*glob)).collect(),
            business_units: names(units),
            requesters: names(requesters),
        };
        assert!(
            filter(&["*.rejected", "*.accepted"], &["LV", "LT"], &["core"]).takes(event_type, &origin)
        );
        assert!(!filter(&["*.rejected"], &["LT"], &["core"]).takes(event_type, &origin));
        assert!(!filter(&[], &["LV"], &[]).takes(event_type, &origin));
        assert!(!filter(&[], &[], &["other"]).takes(event_type, &origin));
        assert!(!filter(&[], &["LT"], &[]).takes(event_type, &Origin::default()), "no unit at all");
    }

    /// Says the same as [`Glob::fits`], slowly: every way to read the stars is tried.
    fn fits_by_trying(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|skip| fits_by_trying(rest, &text[skip..])),
            [first, rest @ ..] => text.first() == Some(first) && fits_by_trying(rest, &text[1..]),
        }
    }

    #[test]
    fn an_endpoint_gets_events_from_its_start_on_and_those_without_a_time() {
        let at = |seconds: i64| Some(Timestamp::from_unix_millis(seconds * 1_000));
        let from = |start: DeliverFrom, time| start.takes(time, at(10));
        let since_five = DeliverFrom::Time(Timestamp::from_unix_millis(5_000));
        for (start, expected) in [
            (DeliverFrom::Configured, [false, false, false, true, true]),
            (DeliverFrom::Beginning, [true; 5]),
            (since_five, [false, true, true, true, true]),
        ] {
            assert_eq!([4, 5, 9, 10, 11].map(|time| from(start, at(time))), expected, "{start:?}");
            assert!(from(start, None), "{start:?}");
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_trying_everything(pattern in "[ab*é.]{0,8}", text in "[abé.]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = fits_by_trying(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Glob::new(pattern).fits(&text), expected);
        }
    }
}
