//! The intake over HTTP, on a queue and a store the tests control.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

mod batches;
mod documents;
mod harness;
mod logs;
mod lookups;
mod malformed;
mod ports;
mod refusals;
mod serving;

#[path = "../support/account.rs"]
mod account;
#[path = "../support/intake.rs"]
mod intake;
