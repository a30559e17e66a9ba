//! The lane over in-memory ports under a seeded scheduler that lets lanes take turns between any two
//! effects, crashes them there, takes their partitions away and makes the ports fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod facts;
mod feed;
mod pauses;
mod schedule;

#[path = "../support/checker/mod.rs"]
mod checker;
#[path = "../support/memory/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod memory;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/scheduler.rs"]
mod scheduler;

use bytes::Bytes;
use checker::{Answered, Event, Facts, Order, World};
use feed::Feed;
use memory::store::Guard;
use penstock::account::{CommunicationNumber, Verdict};
use schedule::{Keeps, Run, Schedule};

/// Seeds per run of the suite.
fn seeds() -> u64 {
    scheduler::seeds(2_000)
}

fn must_hold(schedule: Schedule) {
    scheduler::must_hold(scheduler::seeds(800), |seed| Run::new(seed, schedule).finish());
}

fn must_be_noticed(schedule: Schedule, expected: &str) {
    scheduler::must_be_noticed(seeds(), expected, |seed| Run::new(seed, schedule).finish());
}

#[test]
fn promises_hold_whatever_crashes_between_any_two_effects() {
    must_hold(Schedule::default());
}

#[test]
fn a_store_restored_from_a_backup_catches_up_with_the_same_event_ids() {
    must_hold(Schedule { feed: Feed::Separate, restores_backups: true, ..Schedule::default() });
}

#[test]
fn lanes_notice_that_the_store_was_set_back_under_them() {
    let schedule = Schedule { feed: Feed::Separate, ..Schedule::default() };
    for seed in 0..20 {
        for more in [0, 1, 20] {
            for keeps in [Keeps::Everything, Keeps::WhatTheStoreLost] {
                let outcome = Run::new(seed, schedule).set_back_under_running_lanes(more, keeps);
                assert_eq!(outcome, Ok(()), "seed {seed}, {more} more records, {keeps:?}");
            }
        }
    }
}

#[test]
fn lanes_skip_nothing_that_the_store_lost_and_the_log_no_longer_holds() {
    let schedule = Schedule { feed: Feed::Separate, ..Schedule::default() };
    for seed in 0..20 {
        for more in [0, 1, 20] {
            let outcome = Run::new(seed, schedule).set_back_under_running_lanes(more, Keeps::Less);
            let refused = outcome.unwrap_err();
            assert!(refused.contains("deleted before they were processed"), "seed {seed}: {refused}");
        }
    }
}

#[test]
fn a_partition_whose_beginning_is_lost_before_it_is_started_is_read_or_refused() {
    let schedule = Schedule { feed: Feed::Separate, ..Schedule::default() };
    for seed in 0..20 {
        assert_eq!(Run::new(seed, schedule).trimmed_before_it_is_started(false), Ok(()), "seed {seed}");
        let refused = Run::new(seed, schedule).trimmed_before_it_is_started(true).unwrap_err();
        assert!(refused.contains("deleted before they were processed"), "seed {seed}: {refused}");
    }
}

#[test]
fn a_log_that_loses_its_beginning_and_has_places_without_records_is_read_to_its_end() {
    must_hold(Schedule { trims: true, ..Schedule::default() });
    must_hold(Schedule {
        feed: Feed::Separate,
        restores_backups: true,
        trims: true,
        ..Schedule::default()
    });
}

#[test]
fn the_checker_objects_to_what_was_doctored() {
    type Doctor = fn(&mut Facts);
    let doctors: [(&str, Doctor); 8] = [
        ("has no outcome", |facts| facts.stored.frontiers.clear()),
        ("without an outcome", |facts| drop(facts.stored.ledger.pop())),
        ("without its record", |facts| facts.submitted.clear()),
        ("no event", |facts| facts.events.clear()),
        ("no dead letter", |facts| facts.dead_letters.clear()),
        ("two bodies", |facts| {
            let event = Event { body: Bytes::from_static(b"other"), ..facts.events[0].clone() };
            facts.events.push(event);
        }),
        ("not the fold", |facts| drop(facts.stored.accounts.pop_first())),
        ("not persisted", |facts| {
            let number = CommunicationNumber::parse("unheard-of").unwrap();
            facts.answers.push(Answered { number, verdict: Verdict::Accepted });
        }),
    ];
    let facts = Run::new(3, Schedule::default()).finished_facts();
    assert!(World::of(&facts).unwrap().at_rest(Order::ByAccount).is_ok());
    for (expected, doctor) in doctors {
        let mut doctored = facts.clone();
        doctor(&mut doctored);
        let found = World::of(&doctored).and_then(|world| world.at_rest(Order::ByAccount));
        assert!(found.as_ref().is_err_and(|found| found.contains(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn a_foreign_producer_that_spreads_an_account_over_partitions_breaks_no_rule() {
    must_hold(Schedule { feed: Feed::SpreadAccounts, ..Schedule::default() });
}

#[test]
fn while_events_wait_for_acknowledgement_the_next_batch_is_persisted_and_no_more() {
    let one_record_a_batch = Run::new(0, Schedule::default());
    assert_eq!(one_record_a_batch.held_up(), Ok((2, 0)), "persisted, committed");
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

#[test]
fn with_events_out_of_order_the_checker_objects() {
    must_be_noticed(Schedule { appends_backwards: true, ..Schedule::default() }, "not in the order");
}
