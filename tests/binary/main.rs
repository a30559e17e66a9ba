//! Proofs on the real binary, as a process of its own.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod audit;
mod dev;
mod example;
mod kill;
