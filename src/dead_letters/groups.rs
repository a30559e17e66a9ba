//! Letters by what they have in common.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::account::Timestamp;
use crate::queue::Topic;

use super::letter::{Letter, LetterPlace, Standing};

/// Most groups that are told apart; letters beyond them are counted together.
const MAX_GROUPS: usize = 1_000;
/// What the letters beyond [`MAX_GROUPS`] have for a reason.
const OTHER_REASONS: &str = "(other reasons)";

/// What the letters of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The topic that they came from, if it is one of the pipeline's.
    pub topic: Option<Topic>,
    /// As what they were put aside.
    pub class: String,
    /// Why, with `#` for the numbers in it.
    pub reason: String,
    /// How they stand.
    pub standing: Standing,
}

/// Letters that have something in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many there are.
    pub count: u64,
    /// When the first was put aside.
    pub first_at: Timestamp,
    /// When the last was put aside.
    pub last_at: Timestamp,
    /// The last of them.
    pub sample: LetterPlace,
}

/// Groups of letters; bounded, however many reasons there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(BTreeMap<GroupKey, Group>);

impl Groups {
    /// Counts a letter.
    pub fn add(&mut self, letter: &Letter) {
        let standing = letter.standing();
        let key = GroupKey {
            topic: letter.told.as_ref().and_then(|told| told.topic),
            class: letter.class().to_owned(),
            reason: shape(letter.reason()),
            standing,
        };
        let is_one_too_many = self.0.len() >= MAX_GROUPS && !self.0.contains_key(&key);
        let key = if is_one_too_many {
            GroupKey { topic: None, class: String::new(), reason: OTHER_REASONS.to_owned(), standing }
        } else {
            key
        };
        let (at, sample) = (letter.put_aside_at, LetterPlace::from(letter.at));
        let group = self.0.entry(key).or_insert(Group { count: 0, first_at: at, last_at: at, sample });
        group.count += 1;
        group.first_at = group.first_at.min(at);
        if at >= group.last_at {
            (group.last_at, group.sample) = (at, sample);
        }
    }

    /// The groups, the largest first.
    pub fn largest_first(&self) -> Vec<(&GroupKey, &Group)> {
        let mut groups: Vec<_> = self.0.iter().collect();
        groups.sort_by_key(|(_, group)| Reverse(group.count));
        groups
    }

    /// How many letters there are in all.
    pub fn letters(&self) -> u64 {
        self.0.values().map(|group| group.count).sum()
    }
}

/// A reason with `#` for the numbers in it, so that the same fault at another place is the same reason.
pub(super) fn shape(reason: &str) -> String {
    let mut shape = String::with_capacity(reason.len());
    let mut is_in_number = false;
    for c in reason.chars() {
        let is_digit = c.is_ascii_digit();
        if !is_digit {
            shape.push(c);
        } else if !is_in_number {
            shape.push('#');
        }
        is_in_number = is_digit;
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Generation, Offset, Partition};
    use crate::queue::{Headers, Received, Record, dead_letter};

    fn letter(offset: u64, reason: &str) -> Letter {
        let record = Record { key: "".into(), value: "".into(), headers: Headers::default() };
        let at = Timestamp::from_unix_millis(1_000 * i64::try_from(offset).unwrap());
        let received =
            Received { partition: Partition(0), offset: Offset(offset), appended_at: at, record };
        let record = dead_letter(&received, Topic::Submitted, "not_an_account", reason);
        Letter::of(Received { record, ..received }, Generation(1))
    }

    #[test]
    fn a_reason_is_the_same_wherever_it_was_met() {
        assert_eq!(shape("not UTF-8 at byte 17"), "not UTF-# at byte #");
        assert_eq!(shape("17"), shape("4"));
        assert_ne!(shape("at byte 17"), shape("at byte"));
    }

    #[test]
    fn groups_are_counted_the_largest_first_with_their_last_letter() {
        let mut groups = Groups::default();
        for (offset, reason) in [(9, "no id"), (4, "at byte 7"), (6, "at byte 12"), (5, "at byte 1")] {
            groups.add(&letter(offset, reason));
        }
        let found: Vec<_> = groups
            .largest_first()
            .into_iter()
            .map(|(key, group)| {
                let times = [group.first_at, group.last_at].map(Timestamp::unix_millis);
                (&*key.reason, group.count, times, group.sample.to_string())
            })
            .collect();
        let expected =
            [("at byte #", 3, [4_000, 6_000], "0/6".into()), ("no id", 1, [9_000, 9_000], "0/9".into())];
        assert_eq!(found, expected);
        assert_eq!(groups.letters(), 4);
    }

    #[test]
    fn however_many_reasons_there_are_memory_is_bounded() {
        let mut groups = Groups::default();
        for offset in 0..3 * MAX_GROUPS as u64 {
            let reason: String =
                format!("{offset:b}").chars().map(|c| if c == '0' { 'a' } else { 'b' }).collect();
            groups.add(&letter(offset, &reason));
        }
        assert_eq!(groups.largest_first().len(), MAX_GROUPS + 1);
        assert_eq!(groups.largest_first()[0].0.reason, OTHER_REASONS);
        assert_eq!(groups.letters(), 3 * MAX_GROUPS as u64);
    }
}
