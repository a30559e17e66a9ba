//! What the ports promise, as tests that any implementation can be run against: give it a rig, and
//! name it in one of the macros below.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod accounts;
mod cases;
mod consuming;
mod deliveries;
mod groups;
#[cfg(feature = "production-tests")]
mod kafka;
#[cfg(feature = "production-tests")]
mod kafka_lane;
#[cfg(feature = "production-tests")]
mod kafka_own;
#[cfg(feature = "production-tests")]
mod kafka_partitions;
#[cfg(feature = "production-tests")]
mod kafka_replacement;
#[path = "../support/memory/mod.rs"]
#[allow(dead_code, reason = "the lane's tests use the rest")]
mod memory;
mod operations;
mod queue;
mod ranges;
mod replays;
mod rig;
mod rig_memory;
mod scans;
#[cfg(feature = "production-tests")]
#[path = "../support/servers/mod.rs"]
#[allow(dead_code, reason = "others need the rest")]
mod servers;
mod sqlite_plans;
mod sqlite_record;
mod store;

mod sqlite_queue {
    use super::rig::SqliteQueueRig;

    crate::queue_conformance!(SqliteQueueRig);
}

#[cfg(feature = "production-tests")]
mod kafka_queue {
    use super::kafka::KafkaQueueRig;

    crate::queue_conformance!(KafkaQueueRig);
}

mod sqlite_store {
    use super::rig::SqliteStoreRig;

    crate::store_conformance!(SqliteStoreRig);
}

mod memory_queue {
    use super::rig_memory::MemoryQueueRig;

    crate::queue_conformance!(MemoryQueueRig);
}

mod memory_store {
    use super::rig_memory::MemoryStoreRig;

    crate::store_conformance!(MemoryStoreRig);
}

mod sqlite_deliveries {
    use super::rig::SqliteStoreRig;

    crate::deliveries_conformance!(SqliteStoreRig);
}

mod memory_deliveries {
    use super::rig_memory::MemoryDeliveriesRig;

    crate::deliveries_conformance!(MemoryDeliveriesRig);
}

mod sqlite_cases {
    use super::rig::SqliteStoreRig;

    crate::cases_conformance!(SqliteStoreRig);
}

mod memory_cases {
    use super::rig_memory::MemoryStoreRig;

    crate::cases_conformance!(MemoryStoreRig);
}

mod sqlite_operations {
    use super::rig::SqliteStoreRig;

    crate::operations_conformance!(SqliteStoreRig);
}

mod memory_operations {
    use super::rig_memory::MemoryStoreRig;

    crate::operations_conformance!(MemoryStoreRig);
}

mod sqlite_replays {
    use super::rig::SqliteStoreRig;

    crate::replays_conformance!(SqliteStoreRig);
}

mod sqlite_scans {
    use super::rig::SqliteStoreRig;

    crate::scans_conformance!(SqliteStoreRig);
}

mod memory_replays {
    use super::rig_memory::MemoryStoreRig;

    crate::replays_conformance!(MemoryStoreRig);
}
