//! The binary as its users meet it: real processes, their output, their exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod audit;
mod canary;
mod commands;
mod dev;
mod example;
mod kill;
mod process;
mod readme;

#[path = "../support/checker/mod.rs"]
mod checker;
