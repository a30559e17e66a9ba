//! Every statement about whole tables.

/// Begins a transaction that reads blocks of tables. Nothing else can find what it asks for, so nothing is compiled
/// and no other way is looked for.
pub const BEGIN_SCAN: &str = "
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off; SET LOCAL enable_seqscan = off;
SET LOCAL plan_cache_mode = force_custom_plan";

/// Begins the same on a standby: each statement sees what is replayed when it begins, so the rows are of no earlier
/// moment than the question before them how far that is.
pub const BEGIN_STANDBY_SCAN: &str = "
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL jit = off; SET LOCAL enable_seqscan = off;
SET LOCAL plan_cache_mode = force_custom_plan";

/// How a table is read.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// How many blocks it has.
    pub blocks: &'static str,
    /// The rows of the blocks from `$1` to before `$2`.
    pub rows: &'static str,
}

macro_rules! table {
    ($name:literal, $columns:literal) => {
        Table {
            blocks: concat!(
                "SELECT pg_relation_size('",
                $name,
                "') / current_setting('block_size')::bigint",
            ),
            rows: concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $name,
                " WHERE ctid >= format('(%s,0)', $1::bigint)::tid",
                " AND ctid < format('(%s,0)', $2::bigint)::tid",
            ),
        }
    };
}

/// The ledger.
pub const COMMUNICATIONS: Table = table!(
    "communications",
    "number, fingerprint, event_id, generation, partition, log_offset, business_unit, account_ext_id, \
     business_entity_ext_id, requester"
);

/// What was not accepted.
pub const REJECTIONS: Table = table!(
    "rejections",
    "generation, partition, log_offset, number, verdict, event_id, business_unit, account_ext_id, \
     business_entity_ext_id, requester"
);

/// The accounts.
pub const ACCOUNTS: Table = table!("accounts", "*");

/// The deliveries.
pub const DELIVERIES: Table =
    table!("deliveries", "endpoint, event_id, number, state, recorded_at, attributes, data");

/// What jobs have changed.
pub const OUTCOME_CHANGES: Table = table!(
    "outcome_changes",
    "job, generation, partition, log_offset, verdict_before, event_id_before, verdict, event_id"
);
