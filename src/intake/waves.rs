//! In which order the items of a batch are published. An item whose number occurred earlier in the
//! batch, with another account, waits for the outcome of the earlier one: the two may be on different
//! partitions. Items of one account are on one partition, which keeps their order; none of them overtakes
//! one that waits.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::answers::Subject;

/// Items that are published together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wave {
    /// The items in the order of the batch.
    pub(super) items: Vec<usize>,
    /// The items of earlier waves whose outcomes must be known first.
    pub(super) after: Vec<usize>,
}

/// Splits a batch into waves; one wave when no number occurs with two accounts. Every item is in exactly
/// one.
pub(super) fn waves(subjects: &[Subject]) -> Vec<Wave> {
    let mut waves: Vec<Wave> = Vec::new();
    let mut by_number = HashMap::with_capacity_and_hasher(subjects.len(), RandomState::default());
    let mut by_account = HashMap::with_capacity_and_hasher(subjects.len(), RandomState::default());
    for (index, subject) in subjects.iter().enumerate() {
        let account = (&subject.business_unit, &subject.account_ext_id);
        let level_of_account: usize = by_account.get(&account).copied().unwrap_or(0);
        let earlier: Option<(usize, usize, _)> = by_number.get(&subject.number).copied();
        let awaited = earlier.filter(|(_, _, of_account)| *of_account != account);
        let level = awaited.map_or(0, |(_, level, _)| level + 1).max(level_of_account);
        if waves.len() <= level {
            waves.resize_with(level + 1, Wave::default);
        }
        waves[level].items.push(index);
        waves[level].after.extend(awaited.map(|(index, ..)| index));
        by_number.insert(&subject.number, (index, level, account));
        by_account.insert(account, level);
    }
    waves
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::account::{AccountExtId, CommunicationNumber};

    use super::*;

    fn subjects(items: &[(&str, &str)]) -> Vec<Subject> {
        let subject = |(number, account): &(&str, &str)| Subject {
            number: CommunicationNumber::parse(number).unwrap(),
            account_ext_id: AccountExtId::parse(account).unwrap(),
            business_unit: None,
        };
        items.iter().map(subject).collect()
    }

    fn wave(items: &[usize], after: &[usize]) -> Wave {
        Wave { items: items.to_vec(), after: after.to_vec() }
    }

    #[test]
    fn different_numbers_go_together() {
        let batch = subjects(&[("1", "a"), ("2", "a"), ("3", "b")]);
        assert_eq!(waves(&batch), [wave(&[0, 1, 2], &[])]);
        assert_eq!(waves(&[]), []);
    }

    #[test]
    fn a_repeated_number_waits_for_the_one_before() {
        let batch = subjects(&[("1", "a"), ("1", "b"), ("2", "c"), ("1", "d")]);
        assert_eq!(waves(&batch), [wave(&[0, 2], &[]), wave(&[1], &[0]), wave(&[3], &[1])]);
    }

    #[test]
    fn a_number_that_is_repeated_with_its_account_does_not_wait() {
        let batch = subjects(&[("1", "a"), ("1", "a"), ("1", "b"), ("1", "b"), ("1", "a")]);
        assert_eq!(waves(&batch), [wave(&[0, 1], &[]), wave(&[2, 3], &[1]), wave(&[4], &[3])]);
    }

    #[test]
    fn an_account_keeps_its_order_when_one_of_its_items_waits() {
        let batch = subjects(&[("1", "a"), ("1", "b"), ("2", "b"), ("2", "a")]);
        assert_eq!(waves(&batch), [wave(&[0], &[]), wave(&[1, 2], &[0]), wave(&[3], &[2])]);
    }

    proptest! {
        #[test]
        fn waves_hold_every_item_once_and_keep_the_order_that_counts(
            items in prop::collection::vec((0_u8..4, 0_u8..4), 0..24),
        ) {
            let texts: Vec<_> = items.iter().map(|(n, a)| (n.to_string(), a.to_string())).collect();
            let batch: Vec<_> = texts.iter().map(|(n, a)| (n.as_str(), a.as_str())).collect();
            let waves = waves(&subjects(&batch));
            let mut level = vec![None; items.len()];
            for (number, wave) in waves.iter().enumerate() {
                prop_assert!(wave.items.is_sorted() && !wave.items.is_empty());
                for item in &wave.items {
                    prop_assert_eq!(level[*item].replace(number), None);
                }
                for item in &wave.after {
                    prop_assert!(level[*item].is_some_and(|level| level < number));
                }
            }
            for later in 0..items.len() {
                prop_assert!(level[later].is_some());
                for earlier in 0..later {
                    if items[earlier].0 == items[later].0 && items[earlier].1 != items[later].1 {
                        prop_assert!(level[earlier] < level[later]);
                    }
                    if items[earlier].1 == items[later].1 {
                        prop_assert!(level[earlier] <= level[later]);
                    }
                }
            }
        }
    }
}
