//! Which letters are meant.

use std::collections::BTreeSet;

use crate::account::Timestamp;
use crate::queue::Topic;

use super::groups::shape;
use super::letter::{Letter, LetterPlace, Standing};

/// Which letters are meant: those for which all of it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterSelection {
    /// Those at these places; all when none is named.
    pub places: BTreeSet<LetterPlace>,
    /// Those that came from this topic.
    pub topic: Option<Topic>,
    /// Those that were put aside as this.
    pub class: Option<String>,
    /// Those with this reason, whatever numbers stand in it.
    pub reason: Option<String>,
    /// Those that were put aside then or later.
    pub from: Option<Timestamp>,
    /// Those that were put aside before.
    pub to: Option<Timestamp>,
    /// Those that stand so.
    pub standings: BTreeSet<Standing>,
}

impl LetterSelection {
    /// Whether a letter is meant.
    pub fn holds(&self, letter: &Letter) -> bool {
        let topic = letter.told.as_ref().and_then(|told| told.topic);
        (self.places.is_empty() || self.places.contains(&LetterPlace::from(letter.at)))
            && self.standings.contains(&letter.standing())
            && self.topic.is_none_or(|wanted| topic == Some(wanted))
            && self.class.as_deref().is_none_or(|wanted| letter.class() == wanted)
            && self.reason.as_deref().is_none_or(|wanted| shape(letter.reason()) == shape(wanted))
            && self.from.is_none_or(|from| letter.put_aside_at >= from)
            && self.to.is_none_or(|to| letter.put_aside_at < to)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::account::{Coordinates, Generation, LogPartition, Offset, Partition};
    use crate::queue::{Headers, Received, Record, dead_letter};
    use crate::store::{Case, CaseState};

    fn at(offset: u64) -> Coordinates {
        LogPartition { generation: Generation(1), partition: Partition(3) }.at(Offset(offset))
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
    }

    fn letter(state: Option<CaseState>) -> Letter {
        let record =
            Record { key: Bytes::new(), value: Bytes::from_static(b"{}"), headers: Headers::default() };
        let origin =
            Received { partition: Partition(0), offset: Offset(5), appended_at: time(0), record };
        let record = dead_letter(&origin, Topic::Submitted, "not_an_account", "not UTF-8 at byte 17");
        let received =
            Received { partition: Partition(3), offset: Offset(7), appended_at: time(10), record };
        let case = state.map(|state| Case {
            letter: at(7),
            state,
            operator: String::new(),
            reason: String::new(),
            problem: None,
            decided_at: time(11),
            changed_at: time(11),
        });
        let mut letter = Letter::of(received, Generation(1));
        letter.case = case;
        letter
    }

    fn everything() -> LetterSelection {
        LetterSelection {
            places: BTreeSet::new(),
            topic: None,
            class: None,
            reason: None,
            from: None,
            to: None,
            standings: Standing::ALL.into(),
        }
    }

    #[test]
    fn each_condition_leaves_out_what_it_does_not_mean() {
        let place = |offset| LetterPlace::from(at(offset));
        let selection = everything;
        let cases = [
            (selection(), true),
            (LetterSelection { places: [place(7), place(9)].into(), ..selection() }, true),
            (LetterSelection { places: [place(9)].into(), ..selection() }, false),
            (LetterSelection { topic: Some(Topic::Submitted), ..selection() }, true),
            (LetterSelection { topic: Some(Topic::Results), ..selection() }, false),
            (LetterSelection { class: Some("not_an_account".into()), ..selection() }, true),
            (LetterSelection { class: Some("not_storable".into()), ..selection() }, false),
            (LetterSelection { reason: Some("not UTF-8 at byte 9".into()), ..selection() }, true),
            (LetterSelection { reason: Some("not UTF-8".into()), ..selection() }, false),
            (LetterSelection { from: Some(time(10)), ..selection() }, true),
            (LetterSelection { from: Some(time(11)), ..selection() }, false),
            (LetterSelection { to: Some(time(11)), ..selection() }, true),
            (LetterSelection { to: Some(time(10)), ..selection() }, false),
            (LetterSelection { standings: [Standing::Open].into(), ..selection() }, true),
            (LetterSelection { standings: BTreeSet::new(), ..selection() }, false),
        ];
        for (selection, expected) in cases {
            assert_eq!(selection.holds(&letter(None)), expected, "{selection:?}");
        }
    }

    #[test]
    fn letters_are_meant_by_how_they_stand() {
        let unsolved = LetterSelection { standings: Standing::UNSOLVED.into(), ..everything() };
        assert!(unsolved.holds(&letter(None)));
        for state in CaseState::ALL {
            let is_unsolved = matches!(state, CaseState::Requested | CaseState::Failed);
            assert_eq!(unsolved.holds(&letter(Some(state))), is_unsolved, "{state:?}");
        }
    }
}
