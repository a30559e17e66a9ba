//! penstock leads batches of bank accounts from an HTTP intake through a queue into a store, and
//! their results on to the systems that assess risk.
//!
//! The modules are the stations of that way: [`account`] decides, [`queue`] and [`store`] are the
//! two ports, the rest are the roles and what they need to run.

pub mod account;
pub mod audit;
pub mod callbacks;
pub mod cli;
pub mod dead_letters;
pub mod events;
pub mod intake;
mod migrations;
pub mod queue;
pub mod replay;
pub mod settings;
pub mod spill;
mod spread;
pub mod sqlite;
pub mod store;
pub mod telemetry;
pub mod worker;
