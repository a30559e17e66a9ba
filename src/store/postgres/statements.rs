//! Every statement of the production store. They are set-based: each parameter is an array with one
//! element a row, so one prepared statement serves any number of rows.
//!
//! Rows are taken in the order of their keys' bytes, whatever order they are given in: two transactions
//! that meet on several keys then wait for each other in a line, never in a circle.

/// Has whole tables read only where nothing else is possible. That counts as immensely dear, also for a table of
/// three rows, and what is dear is compiled first: for a second, to run for a millisecond. So nothing is compiled.
///
/// The server keeps the plan of a prepared statement until a table is analyzed, and in a table that is still empty
/// every index is as good as another: a plan from then would look each key up by reading all of its endpoint until
/// the first analysis. So every statement is planned when it is run, for the table as it is by then.
macro_rules! by_index {
    ($begin:literal) => {
        concat!(
            $begin,
            "; SET LOCAL jit = off; SET LOCAL enable_seqscan = off",
            "; SET LOCAL plan_cache_mode = force_custom_plan",
        )
    };
}

/// Has rows found by their keys. The server keeps the plan of a prepared statement until a table is
/// analyzed: one made while a table was small would read the whole table for every batch until then,
/// however fast a first feed fills it.
macro_rules! by_keys {
    ($begin:literal) => {
        concat!(
            by_index!($begin),
            "; SET LOCAL enable_hashjoin = off",
            "; SET LOCAL enable_mergejoin = off",
        )
    };
}

/// Begins a transaction that writes rows it finds by their keys.
pub const BEGIN: &str = by_keys!("BEGIN");

/// Begins a transaction that reads rows by their keys, all of one moment.
pub const BEGIN_SNAPSHOT: &str = by_keys!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");

/// Has rows found in the order of an index, as many as are wanted and no more: a plan that reads a range whole
/// to sort it, or the whole table, reads millions of rows for the first fifty.
macro_rules! in_ranges {
    ($begin:literal) => {
        concat!(by_index!($begin), "; SET LOCAL enable_bitmapscan = off")
    };
}

/// Begins a transaction that writes rows an operator has selected, by whatever.
pub const BEGIN_SELECTION: &str = in_ranges!("BEGIN");

/// Begins a transaction that reads rows an operator has selected, all of one moment.
pub const BEGIN_SELECTION_SNAPSHOT: &str = in_ranges!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");

/// Ledger rows of the numbers `$1`.
pub const LOAD_LEDGER: &str = "
SELECT number, fingerprint, event_id, generation, partition, log_offset
FROM communications
WHERE number = ANY ($1)";

/// Account rows of the business units `$1` and account ext ids `$2`.
pub const LOAD_ACCOUNTS: &str = "
SELECT a.business_unit, a.account_ext_id, a.business_entity_ext_id,
       a.generation, a.partition, a.log_offset
FROM unnest($1::text[], $2::text[]) AS wanted (business_unit, account_ext_id)
JOIN accounts AS a USING (business_unit, account_ext_id)";

/// Frontiers of the generations `$1` and partitions `$2`.
pub const LOAD_FRONTIERS: &str = "
SELECT f.generation, f.partition, f.next_offset
FROM unnest($1::int[], $2::int[]) AS wanted (generation, partition)
JOIN frontiers AS f USING (generation, partition)";

/// Rejections of the generations `$1` and partitions `$2` from the offsets `$3` to before `$4`.
pub const LOAD_REJECTIONS: &str = "
SELECT r.generation, r.partition, r.log_offset, r.verdict, r.event_id
FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[])
     AS wanted (generation, partition, from_offset, to_offset)
JOIN rejections AS r USING (generation, partition)
WHERE r.log_offset >= wanted.from_offset AND r.log_offset < wanted.to_offset";

/// First frontiers: generations, partitions, next offsets. One that exists inserts no row.
pub const INSERT_FRONTIERS: &str = "
INSERT INTO frontiers (generation, partition, next_offset)
SELECT * FROM unnest($1::int[], $2::int[], $3::bigint[])
       AS new (generation, partition, next_offset)
ORDER BY generation, partition
ON CONFLICT DO NOTHING";

/// Frontiers moved by compare-and-set: generations, partitions, next offsets, expected offsets.
pub const MOVE_FRONTIERS: &str = "
WITH moved AS MATERIALIZED (
    SELECT f.generation, f.partition, wanted.next_offset
    FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[])
         AS wanted (generation, partition, next_offset, expected)
    JOIN frontiers AS f USING (generation, partition)
    WHERE f.next_offset = wanted.expected
    ORDER BY f.generation, f.partition
    FOR UPDATE OF f
)
UPDATE frontiers AS f SET next_offset = moved.next_offset
FROM moved
WHERE (f.generation, f.partition) = (moved.generation, moved.partition)";

/// Claims in the ledger; a number that is taken inserts no row.
pub const INSERT_CLAIMS: &str = "
INSERT INTO communications (
    number, fingerprint, event_id, generation, partition, log_offset,
    business_unit, account_ext_id, business_entity_ext_id, requester)
SELECT * FROM unnest(
    $1::text[], $2::bytea[], $3::uuid[], $4::int[], $5::int[], $6::bigint[],
    $7::text[], $8::text[], $9::text[], $10::text[]) AS new (number)
ORDER BY number COLLATE \"C\"
ON CONFLICT DO NOTHING";

/// New accounts; one that exists inserts no row.
pub const INSERT_ACCOUNTS: &str = "
INSERT INTO accounts (
    business_unit, account_ext_id, business_entity_ext_id, generation, partition, log_offset,
    communication_number, requester, action, account_number, account_status,
    account_type, account_purpose, bank_title, bic, currency_code,
    is_other_fin_inst_account, opening_date, closing_date, suspension_reasons)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::bigint[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
    $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
    $17::bool[], $18::timestamptz[], $19::timestamptz[], $20::text[])
    AS new (business_unit, account_ext_id)
ORDER BY business_unit COLLATE \"C\", account_ext_id COLLATE \"C\"
ON CONFLICT DO NOTHING";

/// Accounts replaced by compare-and-set on their version, which is `$21` to `$23`.
pub const UPDATE_ACCOUNTS: &str = "
WITH new AS MATERIALIZED (
    SELECT wanted.*
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::bigint[],
        $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
        $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
        $17::bool[], $18::timestamptz[], $19::timestamptz[], $20::text[],
        $21::int[], $22::int[], $23::bigint[])
        AS wanted (
            business_unit, account_ext_id, business_entity_ext_id, generation, partition, log_offset,
            communication_number, requester, action, account_number, account_status,
            account_type, account_purpose, bank_title, bic, currency_code,
            is_other_fin_inst_account, opening_date, closing_date, suspension_reasons,
            expected_generation, expected_partition, expected_offset)
    JOIN accounts AS a USING (business_unit, account_ext_id)
    WHERE (a.generation, a.partition, a.log_offset)
        = (wanted.expected_generation, wanted.expected_partition, wanted.expected_offset)
    ORDER BY a.business_unit, a.account_ext_id
    FOR UPDATE OF a
)
UPDATE accounts AS a SET
    business_entity_ext_id = new.business_entity_ext_id,
    generation = new.generation, partition = new.partition, log_offset = new.log_offset,
    communication_number = new.communication_number, requester = new.requester,
    action = new.action, account_number = new.account_number,
    account_status = new.account_status, account_type = new.account_type,
    account_purpose = new.account_purpose, bank_title = new.bank_title, bic = new.bic,
    currency_code = new.currency_code,
    is_other_fin_inst_account = new.is_other_fin_inst_account,
    opening_date = new.opening_date, closing_date = new.closing_date,
    suspension_reasons = new.suspension_reasons
FROM new
WHERE (a.business_unit, a.account_ext_id) = (new.business_unit, new.account_ext_id)";

/// Rejections taken back: generations, partitions, offsets, event ids.
pub const WITHDRAW_REJECTIONS: &str = "
WITH withdrawn AS MATERIALIZED (
    SELECT r.generation, r.partition, r.log_offset
    FROM unnest($1::int[], $2::int[], $3::bigint[], $4::uuid[])
         AS wanted (generation, partition, log_offset, event_id)
    JOIN rejections AS r USING (generation, partition, log_offset)
    WHERE r.event_id = wanted.event_id
    ORDER BY r.generation, r.partition, r.log_offset
    FOR UPDATE OF r
)
DELETE FROM rejections AS r USING withdrawn
WHERE (r.generation, r.partition, r.log_offset)
    = (withdrawn.generation, withdrawn.partition, withdrawn.log_offset)";

/// Rejections; one that is noted already inserts no row.
pub const INSERT_REJECTIONS: &str = "
INSERT INTO rejections (
    generation, partition, log_offset, verdict, event_id,
    number, business_unit, account_ext_id, business_entity_ext_id, requester)
SELECT * FROM unnest(
    $1::int[], $2::int[], $3::bigint[], $4::text[], $5::uuid[],
    $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
    AS new (generation, partition, log_offset)
ORDER BY generation, partition, log_offset
ON CONFLICT DO NOTHING";

/// Outcomes of the number `$1`: the accepted one, then the newest rejections, at most `$2`.
pub const OUTCOMES: &str = "
SELECT * FROM (
    SELECT true AS accepted, NULL::timestamptz AS noted_at, generation, partition, log_offset,
           'ACCEPTED' AS verdict, event_id,
           business_unit, account_ext_id, business_entity_ext_id, requester
    FROM communications WHERE number = $1
    UNION ALL
    SELECT false, noted_at, generation, partition, log_offset, verdict, event_id,
           business_unit, account_ext_id, business_entity_ext_id, requester
    FROM (SELECT * FROM rejections WHERE number = $1 ORDER BY noted_at DESC LIMIT $2) AS newest
) AS found
ORDER BY accepted DESC, noted_at DESC, log_offset DESC LIMIT $2";

/// Version of the server, and how it encodes text.
pub const SERVER: &str = "
SELECT current_setting('server_version_num')::int, current_setting('server_encoding')";

/// Whether the schema has a record of its migrations.
pub const HAS_SCHEMA: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";

/// Version of the last migration that was applied.
pub const SCHEMA_VERSION: &str = "
SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";

/// Whether the server only reads.
pub const ONLY_READS: &str = "SELECT current_setting('transaction_read_only')::bool";

/// Takes the lock that keeps two migrations apart, until the session ends, if nobody has it.
pub const TRY_MIGRATION_LOCK: &str = "
SELECT pg_try_advisory_lock(hashtextextended('penstock migrate ' || current_database(), 0))";

/// Lifts limits that a role may have by default.
pub const NO_LIMITS: &str =
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// Statements that drop the indexes of our tables whose building was cut off.
pub const UNFINISHED_INDEXES: &str = "
SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %s', i.indexrelid::regclass)
FROM pg_index AS i
WHERE NOT i.indisvalid AND i.indrelid IN (
    to_regclass('communications'), to_regclass('accounts'), to_regclass('rejections'),
    to_regclass('deliveries'), to_regclass('delivery_attempts'))";

/// What an operator should know of a server.
pub const EXAMINE_SERVER: &str = "
SELECT current_setting('server_version') AS version,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms,
       current_setting('transaction_read_only')::bool AS read_only,
       current_setting('fsync')::bool AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('max_connections')::bigint
           - current_setting('superuser_reserved_connections')::bigint
           - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
           AS free_connections";

/// Whether the user holds the rights `$2` on the tables `$1`, in their order.
pub const HAS_RIGHTS: &str = "
SELECT has_table_privilege(needed.name, needed.privilege)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS needed (name, privilege, place)
ORDER BY needed.place";

/// What a role or a command needs to do with tables.
#[derive(Clone, Copy, Debug)]
pub struct NeededRights {
    /// The role or command.
    pub role: &'static str,
    /// Whether it is a command, which may run as a user with rights of its own.
    pub is_command: bool,
    /// Tables with their rights.
    pub tables: &'static [(&'static str, &'static [&'static str])],
}

impl NeededRights {
    /// Whether any of it is more than reading.
    pub fn writes(&self) -> bool {
        self.tables.iter().any(|(_, rights)| rights.iter().any(|right| *right != "SELECT"))
    }
}

/// What every role needs, and the commands that need more.
pub const NEEDED_RIGHTS: [NeededRights; 6] = [
    NeededRights {
        role: "intake",
        is_command: false,
        tables: &[
            ("_sqlx_migrations", &["SELECT"]),
            ("communications", &["SELECT"]),
            ("accounts", &["SELECT"]),
            ("rejections", &["SELECT"]),
            ("frontiers", &["SELECT"]),
        ],
    },
    NeededRights {
        role: "worker",
        is_command: false,
        tables: &[
            ("_sqlx_migrations", &["SELECT"]),
            ("communications", &["SELECT", "INSERT"]),
            ("accounts", &["SELECT", "INSERT", "UPDATE"]),
            ("rejections", &["SELECT", "INSERT"]),
            ("frontiers", &["SELECT", "INSERT", "UPDATE"]),
            ("dead_letter_cases", &["SELECT", "UPDATE"]),
        ],
    },
    NeededRights {
        role: "callbacks",
        is_command: false,
        tables: &[
            ("_sqlx_migrations", &["SELECT"]),
            ("deliveries", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
            ("delivery_attempts", &["SELECT", "INSERT", "DELETE"]),
            ("delivery_frontiers", &["SELECT", "INSERT", "UPDATE"]),
            ("endpoints", &["SELECT", "INSERT", "UPDATE"]),
            ("callback_processes", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
        ],
    },
    NeededRights {
        role: "replay",
        is_command: true,
        tables: &[
            ("_sqlx_migrations", &["SELECT"]),
            ("communications", &["SELECT", "INSERT"]),
            ("accounts", &["SELECT", "INSERT", "UPDATE"]),
            ("rejections", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
            ("frontiers", &["SELECT"]),
            ("replay_jobs", &["SELECT", "INSERT", "UPDATE"]),
            ("outcome_changes", &["SELECT", "INSERT"]),
        ],
    },
    NeededRights {
        role: "dlq",
        is_command: true,
        tables: &[
            ("_sqlx_migrations", &["SELECT"]),
            ("communications", &["SELECT"]),
            ("accounts", &["SELECT"]),
            ("rejections", &["SELECT"]),
            ("dead_letter_cases", &["SELECT", "INSERT", "UPDATE"]),
        ],
    },
    NeededRights {
        role: "what operators do",
        is_command: true,
        tables: &[
            ("_sqlx_migrations", &["SELECT"]),
            ("operations", &["SELECT", "INSERT"]),
            ("operation_steps", &["SELECT", "INSERT"]),
        ],
    },
];

/// Which tables are meant (cluster, database and schema), and up to where the server's log is on disk by now. What
/// a commit that was told of wrote lies before.
pub const WRITTEN: &str = "
SELECT concat_ws('/', system_identifier, current_database(), current_schema()), pg_current_wal_flush_lsn()::text
FROM pg_control_system()";

/// Which tables are meant, whether the server is a standby, and by how many bytes what it has replayed lies behind
/// the place `$1` of the log; none when it replays nothing.
pub const REPLAYED: &str = "
SELECT concat_ws('/', system_identifier, current_database(), current_schema()), pg_is_in_recovery(),
       pg_wal_lsn_diff($1::text::pg_lsn, pg_last_wal_replay_lsn())::bigint
FROM pg_control_system()";
