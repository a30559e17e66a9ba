//! The store port's promises on a real PostgreSQL, and what only a server can do to them.
//!
//! `PENSTOCK_TEST_POSTGRES` names the server: the URL of a user who may create databases. Every test has
//! a database of its own. `deploy/local/postgres.sh start` prints such a URL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../conformance/accounts.rs"]
mod accounts;
#[path = "../conformance/cases.rs"]
mod cases;
#[path = "../conformance/deliveries.rs"]
mod deliveries;
mod failures;
mod meetings;
#[path = "../conformance/operations.rs"]
mod operations;
mod plans;
mod pooler;
mod record;
#[path = "../conformance/replays.rs"]
mod replays;
mod rig;
#[path = "../conformance/scans.rs"]
mod scans;
#[path = "../support/servers/mod.rs"]
#[allow(dead_code, reason = "others need the rest")]
mod servers;
mod standby;
#[path = "../conformance/store.rs"]
mod store;

mod postgres_store {
    use super::rig::PostgresStoreRig;

    crate::store_conformance!(PostgresStoreRig);
}

mod postgres_deliveries {
    use super::rig::PostgresStoreRig;

    crate::deliveries_conformance!(PostgresStoreRig);
}

mod postgres_cases {
    use super::rig::PostgresStoreRig;

    crate::cases_conformance!(PostgresStoreRig);
}

mod postgres_replays {
    use super::rig::PostgresStoreRig;

    crate::replays_conformance!(PostgresStoreRig);
}

mod postgres_scans {
    use super::rig::PostgresStoreRig;

    crate::scans_conformance!(PostgresStoreRig);
}

mod postgres_operations {
    use super::rig::PostgresStoreRig;

    crate::operations_conformance!(PostgresStoreRig);
}
