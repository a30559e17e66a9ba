//! What records are decided on.

use std::collections::BTreeMap;

use crate::account::{Generation, LogPartition, Offset, Partition, Submission};
use crate::queue::Received;
use crate::store::{OffsetRange, Wanted};

use super::decode::Item;

/// What the store must show of these records: numbers, accounts, and what it noted of their places.
pub(crate) fn wanted_by<'a>(
    items: &(impl Iterator<Item = &'a Item> + Clone),
    generation: Generation,
) -> Wanted {
    let submissions = || items.clone().filter_map(Item::submission);
    let mut ranges: BTreeMap<Partition, (Offset, Offset)> = BTreeMap::new();
    for item in items.clone() {
        let Received { partition, offset, .. } = item.received;
        let range = ranges.entry(partition).or_insert((offset, offset));
        *range = (range.0.min(offset), range.1.max(item.next_offset()));
    }
    let range = |(partition, (from, to))| {
        let log = LogPartition { generation, partition };
        OffsetRange { log, from, to }
    };
    let number = |submission: &Submission| submission.account.communication_number.clone();
    Wanted {
        numbers: submissions().map(number).collect(),
        accounts: submissions().map(|submission| submission.account.key()).collect(),
        ranges: ranges.into_iter().map(range).collect(),
    }
}
