//! What the ports promise, as tests that any implementation can be run against: give it a rig, and
//! name it in one of the macros below.

mod accounts;
mod queue;
mod rig;
mod store;

mod sqlite_queue {
    use super::rig::SqliteQueueRig;

    crate::queue_conformance!(SqliteQueueRig);
}

mod sqlite_store {
    use super::rig::SqliteStoreRig;

    crate::store_conformance!(SqliteStoreRig);
}
