//! The operators' record is nobody's to change: not the commands' user's, not one's with all rights.

use penstock::store::postgres::{
    PostgresStore, PostgresStoreOptions, operation_statements, replay_statements, statements,
};
use penstock::store::{OperationSelection, Operations, Step};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use super::operations::{operation, step};
use super::rig::PostgresStoreRig;
use super::store::StoreRig;

const CHANGES: [&str; 6] = [
    "UPDATE operations SET reason = 'another'",
    "DELETE FROM operations",
    "TRUNCATE operations",
    "UPDATE operation_steps SET step = 'done' WHERE false",
    "DELETE FROM operation_steps WHERE false",
    "TRUNCATE operations, operation_steps",
];

/// A user of the test's database with these rights, and a session of it.
struct User {
    name: String,
    options: PostgresStoreOptions,
    session: PgConnection,
}

impl User {
    async fn with(rig: &PostgresStoreRig, name: &str, grants: &[&str]) -> Self {
        let name = format!("penstock_{name}_{}", std::process::id());
        let mut owner = rig.session().await;
        let make = format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN PASSWORD 'theirs'");
        owner.execute(AssertSqlSafe(make)).await.unwrap();
        for grant in grants {
            owner.execute(AssertSqlSafe(format!("{grant} TO {name}"))).await.unwrap();
        }
        let connect = rig.connect_options().await.username(&name).password("theirs");
        let options = PostgresStoreOptions::new(connect.to_url_lossy().to_string());
        let session = connect.connect().await.unwrap();
        Self { name, options, session }
    }

    /// What the server says to a statement that it must not carry out: state and message.
    async fn refusal(&mut self, statement: &'static str) -> (String, String) {
        let error = self.session.execute(statement).await.unwrap_err();
        let error = error.into_database_error().unwrap();
        (error.code().unwrap().into_owned(), error.message().to_owned())
    }

    async fn remove(self, rig: &PostgresStoreRig) {
        let Self { name, session, .. } = self;
        session.close().await.unwrap();
        let mut owner = rig.session().await;
        let drop = format!("DROP OWNED BY {name}; DROP ROLE {name}");
        owner.execute(AssertSqlSafe(drop)).await.unwrap();
    }
}

/// The grants that the README names.
const SUFFICIENT: [&str; 2] =
    ["GRANT SELECT, INSERT ON operations, operation_steps", "GRANT SELECT ON _sqlx_migrations"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_and_entering_is_all_that_commands_need_and_may() {
    let rig = PostgresStoreRig::default();
    rig.options().await;
    let mut user = User::with(&rig, "operators", &SUFFICIENT).await;
    let store = PostgresStore::open(user.options.clone()).await.unwrap();
    let (asked, begun) = (operation(1, "alice", 0), step(Step::Begun, "alice", 0));
    store.enter_operation(&asked, Some(&begun)).await.unwrap();
    assert!(store.take_operation_step(asked.id, &step(Step::Done, "alice", 1)).await.unwrap());
    let found = store.operations(&OperationSelection::default(), 9).await.unwrap().remove(0);
    let witnesses = found.steps.iter().map(|taken| &taken.witness).chain([&found.witness]);
    for witness in witnesses {
        let witness = witness.as_ref().unwrap();
        assert_eq!(witness.database_user, user.name);
        assert_eq!(witness.client_address.as_deref(), Some("127.0.0.1"));
        assert!(witness.recorded_at > asked.asked_at);
    }
    store.close().await;
    for change in CHANGES {
        let (state, message) = user.refusal(change).await;
        assert_eq!((state.as_str(), message.contains("permission denied")), ("42501", true), "{change}");
    }
    user.remove(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_even_all_rights_change_the_record() {
    let rig = PostgresStoreRig::default();
    let store = rig.open().await;
    store.enter_operation(&operation(1, "alice", 0), None).await.unwrap();
    rig.close(store).await;
    let all = ["GRANT ALL ON operations, operation_steps", "GRANT pg_write_all_data"];
    let mut user = User::with(&rig, "mighty", &all).await;
    let options = rig.options_of_empty_database().await;
    let mut owner = User { name: String::new(), options, session: rig.session().await };
    // Who may not turn triggers off so is refused here already.
    let _ = owner.session.execute("SET session_replication_role = replica").await;
    for one in [&mut user, &mut owner] {
        for change in CHANGES {
            let (state, message) = one.refusal(change).await;
            assert_eq!((state.as_str(), message.contains("append-only")), ("42501", true), "{change}");
        }
        let (_, message) = one
            .refusal(
                "INSERT INTO operations SELECT * FROM operations ON CONFLICT (id) DO UPDATE SET reason = 'x'",
            )
            .await;
        assert!(message.contains("append-only"), "{message}");
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM operations WHERE reason LIKE 'a %'")
        .fetch_one(&mut owner.session)
        .await
        .unwrap();
    assert_eq!(rows, 1);
    user.remove(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_knows_cannot_be_said_otherwise() {
    let rig = PostgresStoreRig::default();
    rig.options().await;
    let mut user = User::with(&rig, "forger", &SUFFICIENT).await;
    let forged = "
        INSERT INTO operations (id, command, subject, operator, host, asked_at, database_user, client_address,
            recorded_at)
        VALUES (gen_random_uuid(), 'show.reveal', '{}', 'bob@ops-2', 'ops-2', now(), 'bob', '10.0.0.1',
            '2020-01-01Z');
        INSERT INTO operation_steps (operation, stage, step, operator, host, taken_at, database_user, recorded_at)
        VALUES (gen_random_uuid(), 'decision', 'approved', 'bob@ops-2', 'ops-2', now(), 'bob', '2020-01-01Z')";
    user.session.execute(forged).await.unwrap();
    let known: bool = sqlx::query_scalar(
        "SELECT bool_and(database_user = session_user AND client_address = '127.0.0.1'
                         AND recorded_at > now() - interval '1 minute')
         FROM (SELECT database_user, client_address, recorded_at FROM operations
               UNION ALL
               SELECT database_user, client_address, recorded_at FROM operation_steps) AS entered",
    )
    .fetch_one(&mut user.session)
    .await
    .unwrap();
    assert!(known);
    user.remove(&rig).await;
}

/// Years of operators' work.
const YEARS: &str = "
INSERT INTO operations (id, command, subject, operator, host, asked_at)
SELECT gen_random_uuid(), 'show.reveal', '{}', 'alice@ops-1', 'ops-1', now() - n * interval '1 minute'
FROM generate_series(1, 20000) AS n;
INSERT INTO operation_steps (operation, stage, step, operator, host, taken_at)
SELECT id, 'start', 'begun', operator, host, asked_at FROM operations;
ANALYZE operations, operation_steps";

#[tokio::test]
async fn the_newest_operations_are_found_in_the_order_of_their_index() {
    let rig = PostgresStoreRig::default();
    rig.options().await;
    let mut session = rig.session().await;
    session.execute(YEARS).await.unwrap();
    for mode in ["force_custom_plan", "force_generic_plan"] {
        for arguments in [
            "NULL, NULL, NULL, NULL, 50",
            "'show.reveal', 'alice', NULL, NULL, 50",
            "NULL, NULL, now() - interval '1 day', now(), 50",
        ] {
            let begin = format!(
                "{}; SET LOCAL plan_cache_mode = {mode}; PREPARE asked AS {}",
                statements::BEGIN_SELECTION_SNAPSHOT,
                operation_statements::OPERATIONS
            );
            session.execute(AssertSqlSafe(begin)).await.unwrap();
            let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE asked ({arguments})"));
            let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut session).await.unwrap();
            session.execute("DEALLOCATE asked; ROLLBACK").await.unwrap();
            let plan = plan.join("\n");
            assert!(plan.contains("Index Scan Backward using operations_asked_at"), "{mode}\n{plan}");
            assert!(!plan.contains("Seq Scan"), "{mode} {arguments}\n{plan}");
        }
    }
}

/// Outcomes that jobs have changed, by many jobs.
const CHANGED: &str = "
INSERT INTO replay_jobs (name, state, request, progress, policy_digest, operator, reason, created_at, changed_at)
SELECT 'job-' || j, 'completed', '{}', '{}', '', '', '', now(), now() FROM generate_series(1, 20) AS j;
INSERT INTO outcome_changes (job, generation, partition, log_offset, verdict, event_id, changed_at)
SELECT 'job-' || j, 1, 0, n, 'ACCEPTED', gen_random_uuid(), now()
FROM generate_series(1, 20) AS j, generate_series(1, 1000) AS n;
ANALYZE replay_jobs, outcome_changes";

#[tokio::test]
async fn what_any_job_changed_is_found_by_the_key() {
    let rig = PostgresStoreRig::default();
    rig.options().await;
    let mut session = rig.session().await;
    session.execute(CHANGED).await.unwrap();
    let statement = replay_statements::CHANGES_AT
        .replace("$1", "'{1}'")
        .replace("$2", "'{0}'")
        .replace("$3", "'{7}'");
    let explain = format!("EXPLAIN {statement}");
    session.execute(statements::BEGIN_SNAPSHOT).await.unwrap();
    let plan: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut session).await.unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("outcome_changes_place") && !plan.contains("Seq Scan on outcome"), "{plan}");
}
