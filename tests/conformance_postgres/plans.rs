//! Rows are found by their keys, also by a plan that was made while the tables were small.

use penstock::store::postgres::{delivery_statements, scan_statements, statements};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};

use super::rig::PostgresStoreRig;
use super::store::StoreRig;

/// As many rows as a first minute may have left, for which reading a whole table looks cheap.
const SMALL_TABLES: &str = "
INSERT INTO accounts (business_unit, account_ext_id, business_entity_ext_id, generation, partition,
    log_offset, communication_number, requester, action, account_number, account_status,
    currency_code, opening_date)
SELECT 'unit', 'account-' || n, 'customer', 1, 0, n, 'number-' || n, 'requester', 'CREATE', 'iban',
    'ACTIVE', 'CHF', now()
FROM generate_series(1, 1000) AS n;
INSERT INTO rejections (generation, partition, log_offset, verdict, event_id, number,
    business_unit, account_ext_id, business_entity_ext_id, requester)
SELECT 1, 0, n, 'O005', gen_random_uuid(), 'number-' || n, 'unit', 'account-' || n, 'customer', 'requester'
FROM generate_series(1, 1000) AS n";

/// How the server explains a prepared statement with these arguments in a transaction that has begun so.
async fn explained(
    session: &mut PgConnection,
    begin: &str,
    explain: &str,
    statement: &str,
    arguments: &str,
) -> String {
    session.execute(AssertSqlSafe(begin.to_owned())).await.unwrap();
    session.execute(AssertSqlSafe(format!("PREPARE asked AS {statement}"))).await.unwrap();
    let explain = AssertSqlSafe(format!("{explain} EXECUTE asked ({arguments})"));
    let rows: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *session).await.unwrap();
    session.execute("DEALLOCATE asked; ROLLBACK").await.unwrap();
    rows.join("\n")
}

/// The plan that the server keeps of a statement in a transaction that has begun so.
async fn kept_plan(session: &mut PgConnection, begin: &'static str, statement: &str) -> String {
    let parameters = (1..=30).rev().find(|n| statement.contains(&format!("${n}"))).unwrap();
    let nulls = vec!["NULL"; parameters].join(", ");
    let begin = format!("{begin}; SET LOCAL plan_cache_mode = force_generic_plan");
    explained(session, &begin, "EXPLAIN", statement, &nulls).await
}

fn reads_a_whole_table(plan: &str) -> bool {
    ["Seq Scan", "Hash Join", "Merge Join"].iter().any(|part| plan.contains(part))
}

async fn session_with_small_tables(rig: &PostgresStoreRig) -> PgConnection {
    let store = rig.open().await;
    rig.close(store).await;
    let mut session = rig.session().await;
    session.execute(SMALL_TABLES).await.unwrap();
    session
}

#[tokio::test]
async fn a_plan_made_for_small_tables_finds_rows_by_their_keys() {
    let rig = PostgresStoreRig::default();
    let mut session = session_with_small_tables(&rig).await;
    for (begin, statement) in [
        (statements::BEGIN_SNAPSHOT, statements::LOAD_LEDGER),
        (statements::BEGIN_SNAPSHOT, statements::LOAD_ACCOUNTS),
        (statements::BEGIN_SNAPSHOT, statements::LOAD_FRONTIERS),
        (statements::BEGIN_SNAPSHOT, statements::LOAD_REJECTIONS),
        (statements::BEGIN_SNAPSHOT, statements::OUTCOMES),
        (statements::BEGIN, statements::MOVE_FRONTIERS),
        (statements::BEGIN, statements::UPDATE_ACCOUNTS),
        (statements::BEGIN_SNAPSHOT, delivery_statements::LOOK_KEYS),
        (statements::BEGIN_SNAPSHOT, delivery_statements::LOOK_LINES),
        (statements::BEGIN, delivery_statements::HOLD_HEADS),
        (statements::BEGIN, delivery_statements::RECORD),
        (statements::BEGIN, delivery_statements::CLAIM),
        (statements::BEGIN, delivery_statements::SETTLE),
        (statements::BEGIN, delivery_statements::RELEASE),
    ] {
        let plan = kept_plan(&mut session, begin, statement).await;
        assert!(!reads_a_whole_table(&plan), "{statement}\n{plan}");
    }
}

/// Why transactions begin as they do: if this fails, the server has learnt to do without.
#[tokio::test]
async fn left_to_itself_the_server_would_read_a_whole_table() {
    let rig = PostgresStoreRig::default();
    let mut session = session_with_small_tables(&rig).await;
    let plan = kept_plan(&mut session, "BEGIN", statements::LOAD_ACCOUNTS).await;
    assert!(reads_a_whole_table(&plan), "{plan}");
}

/// A step that is forbidden and all the same the only one counts as immensely dear, and what is dear is compiled
/// unless that is turned off.
#[tokio::test]
async fn no_statement_is_compiled_before_it_runs() {
    let rig = PostgresStoreRig::default();
    let mut session = session_with_small_tables(&rig).await;
    session.execute("SET jit = on").await.unwrap();
    let attend = "gen_random_uuid(), now(), now() + interval '1 minute'";
    for begin in [
        statements::BEGIN,
        statements::BEGIN_SNAPSHOT,
        statements::BEGIN_SELECTION,
        statements::BEGIN_SELECTION_SNAPSHOT,
    ] {
        session.execute(begin).await.unwrap();
        let jit: String = sqlx::query_scalar("SHOW jit").fetch_one(&mut session).await.unwrap();
        assert_eq!(jit, "off", "{begin}");
        session.execute("ROLLBACK").await.unwrap();
        let statement = delivery_statements::ATTEND;
        let plan = explained(&mut session, begin, "EXPLAIN", statement, attend).await;
        assert!(!plan.contains("JIT"), "{plan}");
    }
}

/// An endpoint goes down: much is parked, and the server's statistics are from before.
const SUDDEN_BACKLOG: &str = "
ALTER TABLE deliveries SET (autovacuum_enabled = false);
INSERT INTO deliveries (endpoint, event_id, account, number, is_ordered, state, recorded_at, failures,
    attempts, attributes, data)
SELECT 'risk', gen_random_uuid(), 'account-' || n, 'number-' || n, true, 'delivered', now(), 0, 1, '[]', '{}'
FROM generate_series(1, 10000) AS n;
ANALYZE deliveries;
INSERT INTO deliveries (endpoint, event_id, account, number, is_ordered, state, recorded_at, due_at, failures,
    attempts, attributes, data)
SELECT 'risk', gen_random_uuid(), 'account-' || n, 'number-' || n, true, 'parked', now(), now(), 0, 1, '[]', '{}'
FROM generate_series(1, 50000) AS n";

#[tokio::test]
async fn what_is_parked_is_found_by_its_key_before_the_server_knows_of_a_backlog() {
    let rig = PostgresStoreRig::default();
    rig.close(rig.open().await).await;
    let mut session = rig.session().await;
    session.execute(SUDDEN_BACKLOG).await.unwrap();
    let begin = statements::BEGIN;
    for (statement, index) in [
        (delivery_statements::SETTLE, "deliveries_key"),
        (delivery_statements::RELEASE, "deliveries_unsettled"),
        (delivery_statements::HOLD_HEADS, "deliveries_unsettled"),
        (delivery_statements::LOOK_LINES, "deliveries_unsettled"),
    ] {
        let plan = kept_plan(&mut session, begin, statement).await;
        let others = ["deliveries_due", "deliveries_unsettled"];
        let is_misled = others.iter().any(|other| *other != index && plan.contains(other));
        assert!(plan.contains(index) && !is_misled, "{statement}\n{plan}");
    }
}

/// What a first feed delivers before the server has looked at the table.
const FIRST_FEED: &str = "
INSERT INTO deliveries (endpoint, event_id, account, number, is_ordered, state, recorded_at, failures,
    attempts, attributes, data)
SELECT 'risk', gen_random_uuid(), 'account-' || n, 'number-' || n, false, 'delivered', now(), 0, 1, '[]', '{}'
FROM generate_series(1, 20000) AS n";

#[tokio::test]
async fn what_was_asked_of_an_empty_table_finds_a_first_feed_by_its_keys() {
    let rig = PostgresStoreRig::default();
    rig.close(rig.open().await).await;
    let mut session = rig.session().await;
    session.execute("ALTER TABLE deliveries SET (autovacuum_enabled = false)").await.unwrap();
    let asked = AssertSqlSafe(format!("PREPARE asked AS {}", delivery_statements::LOOK_KEYS));
    session.execute(asked).await.unwrap();
    let keys = "array_fill('risk'::text, ARRAY[500]), array_fill(gen_random_uuid(), ARRAY[500])";
    let begin = statements::BEGIN_SNAPSHOT;
    // After five times the server may keep the plan.
    for _ in 0..6 {
        let ask = format!("{begin}; EXECUTE asked ({keys}); COMMIT");
        session.execute(AssertSqlSafe(ask)).await.unwrap();
    }
    session.execute(FIRST_FEED).await.unwrap();
    session.execute(begin).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE asked ({keys})"));
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut session).await.unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("deliveries_key") && !plan.contains("deliveries_by_state_since"), "{plan}");
}

/// A month of deliveries, most of them delivered.
const A_MONTH: &str = "
INSERT INTO deliveries (endpoint, event_id, account, number, is_ordered, state, recorded_at, due_at, failures,
    attempts, attributes, data)
SELECT 'risk', gen_random_uuid(), 'account-' || n, 'number-' || n, false,
    CASE WHEN n % 500 = 0 THEN 'parked' ELSE 'delivered' END,
    now() - n * interval '1 minute', now(), 0, 1, '[]', repeat('x', 500)
FROM generate_series(1, 43200) AS n;
ANALYZE deliveries";

/// What operators and housekeeping ask, how the transaction begins, and the indexes that may serve it.
fn asked() -> Vec<(&'static str, &'static str, String, &'static [&'static str])> {
    let (reads, writes) = (statements::BEGIN_SELECTION_SNAPSHOT, statements::BEGIN_SELECTION);
    let by_state = &["deliveries_by_state_since"][..];
    let exhausted = &["deliveries_by_state_since", "deliveries_exhausted"][..];
    let day = "NULL, NULL, now() - interval '1 day', NULL";
    let key = &["deliveries_key"][..];
    vec![
        (
            reads,
            delivery_statements::LIST,
            "'risk', 'delivered', NULL, NULL, NULL, NULL, 50".into(),
            by_state,
        ),
        (reads, delivery_statements::LIST, format!("'risk', 'delivered', {day}, 50"), by_state),
        (
            reads,
            delivery_statements::LIST,
            "'risk', 'parked', NULL, NULL, NULL, NULL, 50".into(),
            by_state,
        ),
        (
            reads,
            delivery_statements::LIST,
            "'risk', 'delivered', NULL, gen_random_uuid(), NULL, NULL, 1".into(),
            key,
        ),
        (
            reads,
            delivery_statements::COUNT,
            "'risk', 'exhausted', NULL, NULL, NULL, NULL, 1000".into(),
            exhausted,
        ),
        (reads, delivery_statements::COUNT, format!("'risk', 'delivered', {day}, 1000"), by_state),
        (
            reads,
            delivery_statements::TALLY,
            "'risk', 'delivered', 1000".into(),
            &["deliveries_by_state_since", "deliveries_due"],
        ),
        (
            writes,
            delivery_statements::REDELIVER_EXHAUSTED,
            "'risk', 'exhausted', NULL, NULL, NULL, NULL, 1000, now(), 0".into(),
            &["deliveries_exhausted", "deliveries_key"],
        ),
        (
            writes,
            delivery_statements::REDELIVER_DELIVERED,
            "'risk', 'delivered', NULL, NULL, NULL, NULL, 20, now(), now() - interval '20 days', 1, now()"
                .into(),
            &["deliveries_by_state_since", "deliveries_key"],
        ),
        (
            writes,
            delivery_statements::HASTEN,
            "'risk', 'parked', NULL, NULL, NULL, NULL, 1000, now(), now()".into(),
            &["deliveries_due", "deliveries_by_state_since", "deliveries_key"],
        ),
        (
            writes,
            delivery_statements::GIVE_UP,
            "'risk', 'parked', NULL, NULL, NULL, now(), 1000, now(), now(), ''".into(),
            &["deliveries_by_state_since", "deliveries_key"],
        ),
        (
            statements::BEGIN,
            delivery_statements::REMOVE,
            "'risk', 'delivered', now() - interval '20 days', 1000".into(),
            &["deliveries_by_state_since", "deliveries_key"],
        ),
        (
            statements::BEGIN,
            delivery_statements::LOOK_AT_LINES,
            "'', '', 1000".into(),
            &["deliveries_unsettled"],
        ),
    ]
}

/// Whether deliveries are reached by these indexes only, in their order: not by reading the table, nor a range
/// of an index whole.
fn is_bounded(plan: &str, indexes: &[&str]) -> bool {
    let reads = plan.lines().filter(|line| line.contains("Scan") && line.contains("deliveries"));
    let mut reads = reads.peekable();
    reads.peek().is_some()
        && reads.all(|line| line.contains("Index") && indexes.iter().any(|index| line.contains(index)))
        && !plan.contains("Bitmap")
}

#[tokio::test]
async fn what_an_operator_asks_reads_no_more_than_a_range_of_an_index() {
    let rig = PostgresStoreRig::default();
    rig.close(rig.open().await).await;
    let mut session = rig.session().await;
    session.execute(A_MONTH).await.unwrap();
    for mode in ["force_custom_plan", "force_generic_plan"] {
        for (begin, statement, arguments, indexes) in asked() {
            let begin = format!("{begin}; SET LOCAL plan_cache_mode = {mode}");
            let plan = explained(&mut session, &begin, "EXPLAIN", statement, &arguments).await;
            // A plan for any values cannot know that the event is named, or which state has its own index.
            let any = [
                "deliveries_by_state_since",
                "deliveries_exhausted",
                "deliveries_key",
                "deliveries_due",
                "deliveries_unsettled",
            ];
            let indexes = if mode == "force_generic_plan" { &any[..] } else { indexes };
            assert!(is_bounded(&plan, indexes), "{mode} {arguments}\n{statement}\n{plan}");
            let is_sorted =
                statement == delivery_statements::REDELIVER_DELIVERED && plan.contains("Sort");
            assert!(!is_sorted, "{mode} {arguments}\n{statement}\n{plan}");
        }
    }
}

#[tokio::test]
async fn what_is_counted_is_counted_in_the_index_alone() {
    let rig = PostgresStoreRig::default();
    rig.close(rig.open().await).await;
    let mut session = rig.session().await;
    session.execute(A_MONTH).await.unwrap();
    session.execute("VACUUM deliveries").await.unwrap();
    for (statement, arguments) in [
        (delivery_statements::TALLY, "'risk', 'delivered', 40000"),
        (delivery_statements::COUNT, "'risk', 'delivered', NULL, NULL, NULL, NULL, 40000"),
        (
            delivery_statements::COUNT,
            "'risk', 'delivered', NULL, NULL, now() - interval '20 days', NULL, 40000",
        ),
    ] {
        let begin = statements::BEGIN_SELECTION_SNAPSHOT;
        let plan = explained(&mut session, begin, "EXPLAIN ANALYZE", statement, arguments).await;
        assert!(plan.contains("Index Only Scan Backward using deliveries_by_state_since"), "{plan}");
        let fetches = plan.lines().filter(|line| line.contains("Heap Fetches"));
        assert!(fetches.clone().count() > 0, "{plan}");
        assert!(fetches.into_iter().all(|line| line.ends_with("Heap Fetches: 0")), "{plan}");
    }
}

/// Retention removes the oldest, and neither is the table vacuumed yet nor could it be: somebody still sees
/// them. What is newer is counted without passing them.
#[tokio::test]
async fn what_is_counted_is_counted_past_nothing_that_was_removed() {
    let rig = PostgresStoreRig::default();
    rig.close(rig.open().await).await;
    let (mut session, mut other) = (rig.session().await, rig.session().await);
    session.execute(A_MONTH).await.unwrap();
    session.execute("VACUUM deliveries").await.unwrap();
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM endpoints").await.unwrap();
    let removed = "DELETE FROM deliveries WHERE recorded_at < now() - interval '20 days'";
    assert!(session.execute(removed).await.unwrap().rows_affected() > 10_000);
    for (statement, arguments) in [
        (delivery_statements::TALLY, "'risk', 'delivered', 20000"),
        (delivery_statements::COUNT, "'risk', 'delivered', NULL, NULL, NULL, NULL, 20000"),
    ] {
        let begin = statements::BEGIN_SELECTION_SNAPSHOT;
        let plan = explained(&mut session, begin, "EXPLAIN ANALYZE", statement, arguments).await;
        let looked_up = plan.lines().filter(|line| line.contains("Heap Fetches"));
        // A page on which something was removed is not known to be seen by all, whatever else is on it.
        let looked_up = looked_up.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        assert!(looked_up.sum::<u64>() < 20, "{plan}");
    }
}

#[tokio::test]
async fn the_names_of_endpoints_are_found_by_leaps() {
    let rig = PostgresStoreRig::default();
    rig.close(rig.open().await).await;
    let mut session = rig.session().await;
    session.execute(A_MONTH).await.unwrap();
    session.execute(statements::BEGIN_SELECTION_SNAPSHOT).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN {}", delivery_statements::ENDPOINT_NAMES));
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut session).await.unwrap();
    let plan = plan.join("\n");
    assert!(is_bounded(&plan, &["deliveries_key", "deliveries_by_state_since"]), "{plan}");
    // A plan that only a forbidden step makes possible costs so much.
    assert!(!plan.contains("10000000"), "{plan}");
}

#[tokio::test]
async fn a_page_of_a_scan_reads_its_blocks_and_no_others() {
    let rig = PostgresStoreRig::default();
    let mut session = session_with_small_tables(&rig).await;
    for table in [
        scan_statements::COMMUNICATIONS,
        scan_statements::REJECTIONS,
        scan_statements::ACCOUNTS,
        scan_statements::DELIVERIES,
        scan_statements::OUTCOME_CHANGES,
    ] {
        let begin = scan_statements::BEGIN_SCAN;
        let plan = explained(&mut session, begin, "EXPLAIN", table.rows, "0, 512").await;
        assert!(plan.contains("Tid Range Scan") && !reads_a_whole_table(&plan), "{plan}");
    }
}
