//! The binary as its users meet it: real processes, their output, their exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[cfg(feature = "production-tests")]
mod any_record;
mod audit;
mod balance;
mod callbacks;
mod canary;
mod collector;
mod commands;
mod contract;
mod dev;
mod dlq;
mod endpoints;
mod example;
mod kill;
mod limits;
mod operations;
mod otlp;
mod process;
#[cfg(feature = "production-tests")]
mod production;
mod readme;
mod rebuild;
mod receiver;
mod receivers;
mod replay;
#[cfg(feature = "production-tests")]
#[path = "../support/servers/mod.rs"]
mod servers;
mod show;
mod tokens;
mod unread;

#[path = "../support/account.rs"]
mod account;
#[path = "../support/binary.rs"]
mod binary;
#[path = "../support/checker/mod.rs"]
mod checker;
#[cfg(feature = "production-tests")]
#[path = "../support/pair.rs"]
mod pair;
