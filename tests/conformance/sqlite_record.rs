//! The operators' record in the embedded store: nothing of it is changed or removed, and the newest is found by an index.

use penstock::store::sqlite::{SqliteStore, operation_statements as statements};
use penstock::store::{Operations, Step};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};
use tempfile::TempDir;

use super::operations::{operation, step};

async fn file_with_one(directory: &TempDir) -> SqliteConnection {
    let path = directory.path().join("store.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let begun = step(Step::Begun, "alice", 0);
    store.enter_operation(&operation(1, "alice", 0), Some(&begun)).await.unwrap();
    store.close().await;
    SqliteConnectOptions::new().filename(&path).connect().await.unwrap()
}

#[tokio::test]
async fn the_record_is_only_ever_added_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = file_with_one(&directory).await;
    for change in [
        "UPDATE operations SET reason = 'another'",
        "DELETE FROM operations",
        "REPLACE INTO operations SELECT id, command, '{}', operator, host, reason, asked_at FROM operations",
        "INSERT INTO operations SELECT * FROM operations WHERE true ON CONFLICT (id) DO UPDATE SET reason = 'x'",
        "UPDATE operation_steps SET step = 'done'",
        "DELETE FROM operation_steps",
        "REPLACE INTO operation_steps SELECT * FROM operation_steps",
    ] {
        let error = sqlx::query(change).execute(&mut file).await.unwrap_err().to_string();
        assert!(error.contains("is append-only"), "{change}: {error}");
    }
    let rows = sqlx::query("SELECT reason FROM operations JOIN operation_steps ON operation = id");
    let rows = rows.fetch_all(&mut file).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<&str, _>("reason"), "a 'reason' — 100%");
}

#[tokio::test]
async fn the_newest_operations_are_found_in_the_order_of_their_index() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = file_with_one(&directory).await;
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statements::OPERATIONS));
    let rows = sqlx::query(explain).fetch_all(&mut file).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    assert!(plan.iter().any(|line| line.contains("USING INDEX operations_asked_at")), "{plan:?}");
    assert!(!plan.iter().any(|line| line.starts_with("SCAN asked")), "{plan:?}");
}
