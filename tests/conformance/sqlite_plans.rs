//! What operators and housekeeping ask of the embedded store reads no more than a range of an index.

use penstock::account::{EventId, Timestamp};
use penstock::store::sqlite::delivery_statements as statements;
use penstock::store::sqlite::delivery_statements::selecting;
use penstock::store::{DeliveryState, Selection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};
use uuid::Uuid;

use penstock::store::sqlite::SqliteStore;

/// How the file reads a statement, line by line.
async fn plan(file: &mut SqliteConnection, statement: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(file).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn nothing_that_is_asked_reads_all_deliveries_or_sorts_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let mut file = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let at = Timestamp::from_unix_millis(0);
    let all = Selection::default();
    let day = Selection { from: Some(at), to: Some(at), ..Selection::default() };
    let event = Selection { event: Some(EventId(Uuid::nil())), ..Selection::default() };
    let numbered = Selection { number: Some("n".to_owned()), ..Selection::default() };
    let (delivered, exhausted) = (DeliveryState::Delivered, DeliveryState::Exhausted);
    let (parked, waiting) = (DeliveryState::Parked, DeliveryState::Waiting);
    for (statement, index) in [
        (selecting(&statements::LIST, &all, delivered), "deliveries_by_state"),
        (selecting(&statements::LIST, &day, parked), "deliveries_by_state"),
        (selecting(&statements::LIST, &numbered, delivered), "deliveries_by_state"),
        (selecting(&statements::LIST, &event, delivered), "(endpoint=? AND event_id=?)"),
        (selecting(&statements::COUNT, &all, delivered), "deliveries_by_state"),
        (selecting(&statements::COUNT, &day, delivered), "deliveries_by_state"),
        (
            selecting(&statements::DELIVERED, &all, delivered),
            "deliveries_by_state (endpoint=? AND state=? AND <expr>>?",
        ),
        (
            selecting(&statements::EXHAUSTED, &all, exhausted),
            "deliveries_exhausted (endpoint=? AND id>?)",
        ),
        (statements::REDELIVER.to_owned(), "PRIMARY KEY"),
        (selecting(&statements::GIVE_UP, &all, waiting), "deliveries_by_state"),
        (selecting(&statements::GIVE_UP, &day, parked), "deliveries_by_state"),
        (selecting(&statements::HASTEN, &all, parked), "deliveries_due"),
        (statements::LOOK_KEYS.to_owned(), "(endpoint=? AND event_id=?)"),
        (statements::LOOK_LINES.to_owned(), "deliveries_parked (endpoint=? AND account=?)"),
        (statements::RECORD.to_owned(), "deliveries_parked (endpoint=? AND account=?)"),
        (statements::DUE.to_owned(), "deliveries_due"),
        (statements::SETTLE.to_owned(), "(endpoint=? AND event_id=?)"),
        (statements::RELEASE.to_owned(), "deliveries_waiting (endpoint=? AND account=?)"),
        (statements::TALLY.to_owned(), "deliveries_by_state"),
        (statements::REMOVE.to_owned(), "deliveries_by_state"),
        (statements::REMOVE_ATTEMPTS.to_owned(), "deliveries_by_state"),
        (statements::LOOK_AT_LINES.to_owned(), "(endpoint=? AND account>?)"),
        (statements::ENDPOINT_NAMES.to_owned(), "(endpoint>?)"),
    ] {
        let plan = plan(&mut file, &statement).await;
        let is_used = plan.iter().any(|line| line.contains(index));
        let reads_all = |line: &String| line.starts_with("SCAN d") && !line.contains("INDEX");
        // The lines of a slice, and what is recorded, are put in order: they are no more than was asked for.
        let is_bounded = [statements::LOOK_AT_LINES, statements::RECORD].contains(&statement.as_str());
        let sorts = |line: &String| line.contains("TEMP B-TREE FOR ORDER BY") && !is_bounded;
        assert!(is_used && !plan.iter().any(reads_all), "{statement}\n{plan:#?}");
        assert!(!plan.iter().any(sorts), "{statement}\n{plan:#?}");
    }
}
