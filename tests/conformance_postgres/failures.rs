//! What happens to a store when its server, its schema or its callers fail it.

use std::time::{Duration, Instant};

use penstock::account::{CommunicationNumber, Plan};
use penstock::store::postgres::{
    Migrated, PostgresOpenError, PostgresStore, PostgresStoreOptions, ServerError, migrate, statements,
};
use penstock::store::{Applied, Store, StoreError, Wanted};
use serde_json::json;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::accounts::{account, account_with, at, claim, write};
use super::rig::PostgresStoreRig;
use super::store::StoreRig;

/// Longest wait for anything; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(30);

fn plan(name: &str) -> Plan {
    let account = account(name, name);
    Plan {
        claims: vec![claim(&account, at(0, 0))],
        accounts: vec![write(&account, None, at(0, 0))],
        ..Plan::default()
    }
}

async fn execute(session: &mut PgConnection, statement: impl Into<String>) {
    session.execute(AssertSqlSafe(statement.into())).await.unwrap();
}

/// How many sessions of the store are within a transaction that does nothing.
async fn idle_in_transaction(session: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
         AND application_name = 'penstock' AND state LIKE 'idle in transaction%'",
    )
    .fetch_one(session)
    .await
    .unwrap()
}

fn sqlstate(error: &StoreError) -> String {
    let (StoreError::Unavailable { cause, .. }
    | StoreError::Poison { cause, .. }
    | StoreError::Broken { cause, .. }) = error;
    cause.downcast_ref::<ServerError>().map(|error| error.sqlstate.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_ended_while_nobody_used_them_are_replaced_without_a_word() {
    let rig = PostgresStoreRig::default();
    let store = rig.open().await;
    let mut admin = rig.session().await;
    let wanted = Wanted::default();
    futures_util::future::join_all((0..8).map(|_| store.load(&wanted))).await;
    execute(
        &mut admin,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'penstock'",
    )
    .await;
    assert_eq!(store.apply(&plan("n")).await.unwrap(), Applied::Done);
    let all = futures_util::future::join_all((0..8).map(|_| store.load(&wanted))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_terminated_in_the_middle_of_a_plan_leaves_nothing() {
    let rig = PostgresStoreRig::default();
    let store = rig.open().await;
    let mut admin = rig.session().await;
    let mut holder = rig.session().await;
    let mut lock = holder.begin().await.unwrap();
    // The plan has claimed its number by the time it waits for the accounts.
    lock.execute("LOCK TABLE accounts").await.unwrap();
    let applying = tokio::spawn({
        let store = store.clone();
        async move { store.apply(&plan("n")).await }
    });
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < DEADLINE);
        let terminated: Vec<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        if terminated == [true] {
            break;
        }
        tokio::task::yield_now().await;
    }
    let error = applying.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    lock.rollback().await.unwrap();
    let number = account("n", "n").communication_number;
    assert_eq!(store.outcomes(&number, 1).await.unwrap(), []);
    assert_eq!(store.apply(&plan("n")).await.unwrap(), Applied::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_only_reads_is_unavailable_until_it_writes() {
    let rig = PostgresStoreRig::default();
    let store = rig.open().await;
    let mut admin = rig.session().await;
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut admin).await.unwrap();
    execute(&mut admin, format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    // As a failover does: the sessions end, the new ones find a server that only reads.
    store.close().await;
    let store = PostgresStore::open(rig.options_of_empty_database().await).await.unwrap();
    store.load(&Wanted::default()).await.unwrap();
    for error in [store.check().await.unwrap_err(), store.apply(&plan("n")).await.unwrap_err()] {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("25006"), "{error:?}");
    }
    execute(
        &mut admin,
        format!(
            "SET transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only"
        ),
    )
    .await;
    store.check().await.unwrap();
    assert_eq!(store.apply(&plan("n")).await.unwrap(), Applied::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_is_waited_for_within_bounds() {
    let rig = PostgresStoreRig::default();
    let options =
        PostgresStoreOptions { lock_timeout: Duration::from_millis(200), ..rig.options().await };
    let store = PostgresStore::open(options).await.unwrap();
    let mut holder = rig.session().await;
    let mut lock = holder.begin().await.unwrap();
    lock.execute("LOCK TABLE communications").await.unwrap();
    let started = Instant::now();
    let error = store.apply(&plan("n")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(sqlstate(&error), "55P03");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    lock.rollback().await.unwrap();
    assert_eq!(store.apply(&plan("n")).await.unwrap(), Applied::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_is_cancelled_by_the_server() {
    let rig = PostgresStoreRig::default();
    let options =
        PostgresStoreOptions { statement_timeout: Duration::from_millis(200), ..rig.options().await };
    let store = PostgresStore::open(options).await.unwrap();
    let mut holder = rig.session().await;
    let mut lock = holder.begin().await.unwrap();
    lock.execute("LOCK TABLE communications").await.unwrap();
    let error = store.apply(&plan("n")).await.unwrap_err();
    assert_eq!(sqlstate(&error), "57014", "{error:?}");
    assert!(matches!(error, StoreError::Unavailable { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_be_stored_is_poison_and_not_quoted() {
    let rig = PostgresStoreRig::default();
    let store = rig.open().await;
    let mut session = rig.session().await;
    execute(&mut session, "ALTER TABLE communications ADD CHECK (requester <> 'secret-requester')")
        .await;
    let refused = account_with("n", "a", &json!({"requester": "secret-requester"}));
    let poison = Plan { claims: vec![claim(&refused, at(0, 0))], ..Plan::default() };
    let error = store.apply(&poison).await.unwrap_err();
    assert!(matches!(error, StoreError::Poison { .. }), "{error:?}");
    assert_eq!(sqlstate(&error), "23514");
    assert!(!format!("{error:?}").contains("secret-requester"), "{error:?}");
    // The session goes on.
    assert_eq!(store.apply(&plan("n")).await.unwrap(), Applied::Done);
}

/// No account that was parsed has such a text, so the statement is given it directly. The unit tests
/// hold that these codes are poison.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_postgresql_cannot_hold_have_the_codes_of_poison() {
    let rig = PostgresStoreRig::default();
    rig.options().await;
    let mut session = rig.session().await;
    // Digests, as what repeats itself would be compressed to fit.
    let too_long: String =
        (0..100).map(|n| penstock::settings::Sha256Digest::of(&format!("{n}")).to_string()).collect();
    for (number, code) in [("a\0b".to_owned(), "22021"), (too_long, "54000")] {
        let error = sqlx::query(statements::INSERT_CLAIMS)
            .bind(vec![number])
            .bind(vec![vec![0_u8; 32]])
            .bind(vec![uuid::Uuid::nil()])
            .bind(vec![1_i32])
            .bind(vec![0_i32])
            .bind(vec![0_i64])
            .bind(vec![""])
            .bind(vec!["a"])
            .bind(vec!["e"])
            .bind(vec!["r"])
            .execute(&mut session)
            .await
            .unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some(code));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_schema_is_refused_with_the_command_that_settles_it() {
    let rig = PostgresStoreRig::default();
    let options = rig.options_of_empty_database().await;
    let Err(error) = PostgresStore::open(options.clone()).await else { panic!("it was opened") };
    assert!(matches!(error, PostgresOpenError::OldSchema { found: 0, .. }), "{error:?}");
    assert!(error.to_string().contains("penstock migrate"), "{error}");
    let Migrated { from, to } = migrate(&options).await.unwrap();
    assert_eq!(from, 0);
    assert_eq!(migrate(&options).await.unwrap(), Migrated { from: to, to });
    PostgresStore::open(options).await.unwrap().check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_that_meet_are_applied_once() {
    let rig = PostgresStoreRig::default();
    let options = rig.options_of_empty_database().await;
    let ends = futures_util::future::join_all((0..4).map(|_| migrate(&options))).await;
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    PostgresStore::open(options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_release_s_schema_is_used() {
    let rig = PostgresStoreRig::default();
    let options = rig.options().await;
    let mut session = rig.session().await;
    execute(
        &mut session,
        "INSERT INTO _sqlx_migrations SELECT 9999, 'later', now(), true, '\\x00', 0;
         ALTER TABLE accounts ADD COLUMN later text",
    )
    .await;
    let store = PostgresStore::open(options.clone()).await.unwrap();
    assert_eq!(store.apply(&plan("n")).await.unwrap(), Applied::Done);
    assert_eq!(migrate(&options).await.unwrap(), Migrated { from: 9999, to: 9999 });
}

#[tokio::test]
async fn the_rights_to_every_table_are_looked_at() {
    let rig = PostgresStoreRig::default();
    rig.options().await;
    let mut session = rig.session().await;
    let mut tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&mut session)
            .await
            .unwrap();
    let looked_at = statements::NEEDED_RIGHTS.iter().flat_map(|needed| needed.tables);
    let looked_at: Vec<&str> = looked_at.map(|(table, _)| *table).collect();
    tables.retain(|table| !looked_at.contains(&table.as_str()));
    assert!(tables.is_empty(), "{tables:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_and_the_right_one_read_anew() {
    let rig = PostgresStoreRig::default();
    rig.options().await;
    let mut session = rig.session().await;
    let role = format!("penstock_role_{}", std::process::id());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    execute(
        &mut session,
        format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'first'"),
    )
    .await;
    execute(&mut session, format!("GRANT pg_read_all_data, pg_write_all_data TO {role}")).await;
    let url = rig.connect_options().await.username(&role);
    let options = PostgresStoreOptions {
        password_file: Some(file.clone()),
        ..PostgresStoreOptions::new(sqlx::ConnectOptions::to_url_lossy(&url).to_string())
    };
    let Err(error) = PostgresStore::open(options.clone()).await else { panic!("it was opened") };
    assert!(matches!(error, PostgresOpenError::Refused { .. }), "{error:?}");

    std::fs::write(&file, "first\n").unwrap();
    let store = PostgresStore::open(options).await.unwrap();
    store.load(&Wanted::default()).await.unwrap();
    execute(&mut session, format!("ALTER ROLE {role} PASSWORD 'second'")).await;
    execute(&mut session, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock' AND datname = current_database()").await;
    // The server has the new password, the file not yet: that is no reason to stop.
    for _ in 0..2 {
        let error = store.load(&Wanted::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert_eq!(sqlstate(&error), "28P01");
    }
    std::fs::write(&file, "second\n").unwrap();
    store.load(&Wanted::default()).await.unwrap();
    store.close().await;
    execute(&mut session, format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// The pool of sqlx 0.9.0 hands on a transaction whose `begin` was dropped half-way. When this fails,
/// sqlx has mended it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_leaks_a_transaction_that_was_dropped_at_its_beginning() {
    let rig = PostgresStoreRig::default();
    rig.options().await;
    let pool =
        PgPoolOptions::new().max_connections(1).connect_with(rig.connect_options().await).await.unwrap();
    let started = Instant::now();
    for attempt in 0_u64.. {
        assert!(started.elapsed() < DEADLINE, "no transaction leaked in {attempt} attempts");
        let limit = Duration::from_micros(attempt % 40 * 20);
        let _ = tokio::time::timeout(limit, pool.begin()).await;
        // A statement that begins its own transaction has its time.
        let row = sqlx::raw_sql("SELECT now() <> statement_timestamp()").fetch_one(&pool).await;
        if row.unwrap().get(0) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_leave_no_transaction_behind() {
    let rig = PostgresStoreRig::default();
    let options = PostgresStoreOptions { max_connections: 2, ..rig.options().await };
    let store = PostgresStore::open(options).await.unwrap();
    for attempt in 0..300_u32 {
        let limit = Duration::from_micros(u64::from(attempt % 60) * 50);
        let name = format!("n-{attempt}");
        let plan = plan(&name);
        let _ = tokio::time::timeout(limit, store.apply(&plan)).await;
        let _ = tokio::time::timeout(limit, store.load(&Wanted::default())).await;
        // The plan was applied, or is not there at all: applying it again cannot be half-way.
        let again = store.apply(&plan).await.unwrap();
        assert!(matches!(again, Applied::Done | Applied::Stale(_)));
        let number = CommunicationNumber::parse(&name).unwrap();
        assert_eq!(store.outcomes(&number, 10).await.unwrap().len(), 1, "attempt {attempt}");
    }
    store.close().await;
    let mut session = rig.session().await;
    assert_eq!(idle_in_transaction(&mut session).await, 0);
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM communications").fetch_one(&mut session).await.unwrap();
    assert_eq!(rows, 300);
}
