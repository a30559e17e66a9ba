//! Deliverers over in-memory ports under a seeded scheduler that lets them take turns between any two
//! effects, crashes them there, takes their partitions away, makes the ports fail, and has receivers that
//! misbehave. A negative control per guard shows that the checker would notice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod checker;
mod consent;
mod operators;
mod receivers;
mod schedule;
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

use memory::deliveries::Guard;
use schedule::{Fate, Run, Schedule};

/// Seeds per run of the suite; `PENSTOCK_TEST_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("PENSTOCK_TEST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
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
fn endpoints_that_are_behind_hold_up_nobody_and_lose_nothing() {
    for seed in 0..seeds() {
        let schedule = Schedule { max_waiting: 2, ..Schedule::default() };
        if let Some(violation) = violation(seed, schedule) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn what_is_recorded_as_delivered_is_not_sent_again_after_a_redelivery() {
    for seed in 0..seeds() {
        let schedule = Schedule { fate: Fate::Alone, ..Schedule::default() };
        if let Some(violation) = violation(seed, schedule) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn processes_that_share_what_is_parked_send_nothing_twice() {
    for seed in 0..seeds() {
        let schedule = Schedule { fate: Fate::Calm, ..Schedule::default() };
        if let Some(violation) = violation(seed, schedule) {
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

#[test]
fn with_offsets_committed_before_the_end_is_recorded_the_checker_objects() {
    must_be_noticed(Schedule::without(Guard::Recording), "is committed, but");
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
