//! The lane over in-memory ports under a seeded scheduler that lets lanes take turns between any two
//! effects, crashes them there, takes their partitions away and makes the ports fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod checker;
mod feed;
mod schedule;

#[path = "../support/memory/mod.rs"]
mod memory;

use feed::Feed;
use memory::store::Guard;
use schedule::{Run, Schedule};

/// Seeds per run of the suite; `PENSTOCK_TEST_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("PENSTOCK_TEST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

fn violation(seed: u64, schedule: Schedule) -> Option<String> {
    Run::new(seed, schedule).finish().err()
}

#[test]
fn promises_hold_whatever_crashes_between_any_two_effects() {
    for seed in 0..seeds() {
        if let Some(violation) = violation(seed, Schedule::default()) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn a_store_restored_from_a_backup_catches_up_with_the_same_event_ids() {
    for seed in 0..seeds() {
        let schedule = Schedule { feed: Feed::Separate, restores_backups: true, ..Schedule::default() };
        if let Some(violation) = violation(seed, schedule) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn a_foreign_producer_that_spreads_an_account_over_partitions_breaks_no_rule() {
    for seed in 0..seeds() {
        if let Some(violation) =
            violation(seed, Schedule { feed: Feed::SpreadAccounts, ..Schedule::default() })
        {
            panic!("seed {seed}: {violation}");
        }
    }
}

/// A guard is switched off: some seed must show it, or the checker proves nothing.
fn must_be_noticed(schedule: Schedule, expected: &str) {
    let mut others = Vec::new();
    for violation in (0..seeds()).filter_map(|seed| violation(seed, schedule)) {
        if violation.contains(expected) {
            return;
        }
        others.push(violation);
    }
    panic!("no seed noticed that a guard was off as {expected:?}, only as {others:#?}");
}

/// One lane stands still after each number of points in turn while another takes its partitions over.
fn takeovers(schedule: Schedule) -> Vec<String> {
    (0..60).filter_map(|points| Run::new(0, schedule).taken_over_after(points).err()).collect()
}

#[test]
fn a_lane_that_wakes_up_after_a_takeover_changes_nothing() {
    assert_eq!(takeovers(Schedule::default()), Vec::<String>::new());
}

#[test]
fn without_compare_and_set_of_the_frontier_the_checker_objects() {
    let found = takeovers(Schedule::without(Guard::FrontierCompareAndSet));
    assert!(found.iter().any(|violation| violation.contains("two outcomes")), "{found:#?}");
}

#[test]
fn without_compare_and_set_of_the_account_the_checker_objects() {
    let schedule =
        Schedule { feed: Feed::SpreadAccounts, ..Schedule::without(Guard::AccountCompareAndSet) };
    must_be_noticed(schedule, "created twice");
}

#[test]
fn without_unique_numbers_the_checker_objects() {
    must_be_noticed(Schedule::without(Guard::UniqueNumbers), "twice in the ledger");
}

#[test]
fn without_read_back_between_the_frontiers_the_checker_objects() {
    must_be_noticed(Schedule::without(Guard::ReadBack), "two outcomes");
}

#[test]
fn with_offsets_committed_before_events_are_acknowledged_the_checker_objects() {
    must_be_noticed(Schedule { acknowledges_early: true, ..Schedule::default() }, "no event");
}
