//! Deliverers over in-memory ports under a seeded scheduler that lets them take turns between any two
//! effects, crashes them there, takes their partitions away, makes the ports fail, and has receivers that
//! misbehave. A negative control per guard shows that the checker would notice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod backlog;
mod bounds;
mod checker;
mod consent;
mod housekeeping;
mod operators;
mod receivers;
mod schedule;
mod secured;
mod ways;
mod wire;
mod world;

#[path = "../support/endless.rs"]
mod endless;
#[path = "../support/memory/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod memory;
#[path = "../support/random.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod random;
#[path = "../support/scheduler.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod scheduler;

use memory::deliveries::Guard;
use schedule::{Fate, Run, Schedule};

/// Seeds per run of the suite.
fn seeds() -> u64 {
    scheduler::seeds(300)
}

fn must_hold(schedule: Schedule) {
    scheduler::must_hold(seeds(), |seed| Run::new(seed, schedule).finish());
}

fn must_be_noticed(schedule: Schedule, expected: &str) {
    scheduler::must_be_noticed(seeds(), expected, |seed| Run::new(seed, schedule).finish());
}

#[test]
fn promises_hold_whatever_crashes_between_any_two_effects() {
    must_hold(Schedule::default());
}

#[test]
fn endpoints_that_are_behind_hold_up_nobody_and_lose_nothing() {
    must_hold(Schedule { max_waiting: 2, ..Schedule::default() });
}

#[test]
fn what_is_recorded_as_delivered_is_not_sent_again_after_a_redelivery() {
    must_hold(Schedule { fate: Fate::Alone, ..Schedule::default() });
}

#[test]
fn processes_that_share_what_is_parked_send_nothing_twice() {
    must_hold(Schedule { fate: Fate::Calm, ..Schedule::default() });
}

#[test]
fn an_event_that_the_store_cannot_hold_is_a_dead_letter_and_stops_no_other() {
    must_hold(Schedule { has_poison: true, ..Schedule::default() });
}

#[test]
fn what_a_store_that_is_set_back_has_lost_is_delivered_all_the_same() {
    must_hold(Schedule { fate: Fate::Restored, ..Schedule::default() });
}

#[test]
fn with_frontiers_moved_past_what_is_not_recorded_the_checker_objects() {
    must_be_noticed(Schedule::without(Guard::Recording), "is said to be recorded, but");
}

#[test]
fn with_offsets_committed_before_the_end_is_recorded_the_checker_objects() {
    must_be_noticed(Schedule::without(Guard::Committing), "is committed, but");
}

#[test]
fn with_frontiers_kept_elsewhere_the_checker_objects_to_a_store_that_is_set_back() {
    let schedule = Schedule { fate: Fate::Restored, ..Schedule::without(Guard::Frontiers) };
    must_be_noticed(schedule, "is said to be recorded, but");
}

#[test]
fn without_stamps_the_checker_objects_to_a_store_that_is_set_back() {
    let schedule = Schedule { fate: Fate::Restored, ..Schedule::without(Guard::Stamps) };
    must_be_noticed(schedule, "is said to be recorded, but");
}

#[test]
fn with_lines_parked_past_a_frontier_that_stands_elsewhere_the_checker_objects() {
    let schedule = Schedule { fate: Fate::Restored, ..Schedule::without(Guard::Fences) };
    must_be_noticed(schedule, "out of order");
}

#[test]
fn without_releasing_what_waits_the_deliverers_do_not_come_to_rest() {
    must_be_noticed(Schedule::without(Guard::Releasing), "did not come to rest within");
}

#[test]
fn with_the_start_of_endpoints_known_to_processes_alone_the_checker_objects() {
    must_be_noticed(Schedule::without(Guard::Registering), "is not recorded for");
}

#[test]
fn without_a_look_at_what_is_recorded_the_checker_objects() {
    let schedule = Schedule { fate: Fate::Alone, ..Schedule::without(Guard::LookAtRecorded) };
    must_be_noticed(schedule, "was sent again");
}

#[test]
fn without_a_look_at_held_lines_the_checker_objects() {
    must_be_noticed(Schedule::without(Guard::LookAtHeld), "out of order");
}

#[test]
fn without_waiting_behind_what_is_parked_the_checker_objects() {
    must_be_noticed(Schedule::without(Guard::Waiting), "out of order");
}

#[test]
fn without_leases_the_checker_objects() {
    let schedule = Schedule { fate: Fate::Calm, ..Schedule::without(Guard::Leases) };
    must_be_noticed(schedule, "two at a time");
}
