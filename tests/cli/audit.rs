//! The promises over the files that a stopped server has left.

use std::path::Path;
use std::time::Duration;

use penstock::account::Generation;
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Consumer, PollLimits, Polled, Queue, Received, Start, Topic};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use crate::checker::tables::{Rows, SQLITE};
use crate::checker::{DeadLetter, Event, Facts, Order, Submitted, World};
use crate::process::{Dev, run, text};

/// Reads what a stopped server has left and checks it; returns how many communications it accepted.
pub(crate) async fn audit(data: &Path) -> usize {
    let queue = SqliteQueue::open(data.join("queue.db"), SqliteQueueOptions::default()).await.unwrap();
    let submitted = read_topic(&queue, Topic::Submitted).await.into_iter();
    let facts = Facts {
        submitted: submitted.map(|record| Submitted::of(record, Generation(1))).collect(),
        stored: read_store(&data.join("store.db")).await.decode().unwrap(),
        events: read_topic(&queue, Topic::Results)
            .await
            .into_iter()
            .map(|r| Event::of(r).unwrap())
            .collect(),
        dead_letters: read_topic(&queue, Topic::DeadLetter)
            .await
            .into_iter()
            .map(|r| DeadLetter::of(r).unwrap())
            .collect(),
        ..Facts::default()
    };
    queue.close().await;
    let counts = World::of(&facts).and_then(|world| world.at_rest(Order::ByAccount)).unwrap();
    assert_eq!(counts.dead, 0, "load sends nothing that is no account");
    counts.accepted
}

async fn read_store(file: &Path) -> Rows {
    let mut store = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    Rows {
        ledger: rows(&mut store, SQLITE.ledger).await,
        rejections: rows(&mut store, SQLITE.rejections).await,
        accounts: rows(&mut store, SQLITE.accounts).await,
        frontiers: rows(&mut store, SQLITE.frontiers).await,
    }
}

async fn rows(store: &mut SqliteConnection, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(store).await.unwrap()
}

/// Every record of a topic.
async fn read_topic(queue: &SqliteQueue, topic: Topic) -> Vec<Received> {
    let limits =
        PollLimits { max_records: 10_000, max_bytes: 8 << 20, max_wait: Duration::from_millis(10) };
    let mut consumer = queue.subscribe(topic, "audit").await.unwrap();
    let mut records = Vec::new();
    loop {
        match consumer.poll(limits).await.unwrap() {
            Polled::Assigned(partitions) => {
                for assigned in partitions {
                    let start = Start::Offset(assigned.earliest);
                    consumer.seek(assigned.partition, start).await.unwrap();
                }
            }
            Polled::Records(more) => records.extend(more),
            Polled::Revoked(_) => panic!("nobody else reads"),
            Polled::Idle => return records,
        }
    }
}

/// A small store with outcomes of every kind, left by a stopped server.
async fn left_by_a_load(directory: &TempDir) {
    let dev = Dev::start(directory, &[]).await;
    let mut load = vec!["load", "--url", &dev.url, "--items", "400", "--batch-size", "20"];
    load.extend(["--connections", "1", "--invalid", "10%", "--repeat", "10%"]);
    load.extend(["--conflict", "10%", "--update", "10%", "--seed", "1"]);
    let output = run(&load).await;
    assert!(output.status.success(), "{}{}", text(&output.stderr), text(&output.stdout));
    dev.stop().await;
}

/// The audit is worth something only if it fails where something is wrong.
#[tokio::test]
async fn the_audit_finds_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    left_by_a_load(&directory).await;
    assert!(audit(&data).await > 200);
    let wrongs = [
        ("store.db", "DELETE FROM communications WHERE id = 7"),
        ("store.db", "DELETE FROM rejections WHERE id = 7"),
        ("store.db", "DELETE FROM accounts WHERE id = 7"),
        ("store.db", "UPDATE accounts SET log_offset = log_offset - 1 WHERE id = 7"),
        ("store.db", "UPDATE accounts SET account_number = 'another' WHERE id = 7"),
        ("store.db", "UPDATE communications SET fingerprint = zeroblob(32) WHERE id = 7"),
        ("store.db", "UPDATE communications SET event_id = zeroblob(16) WHERE id = 7"),
        ("store.db", "UPDATE communications SET partition = 4000 WHERE id = 7"),
        ("store.db", "UPDATE rejections SET number = 'another' WHERE id = 7"),
        ("queue.db", "DELETE FROM records WHERE position = (SELECT max(position) FROM records)"),
    ];
    for (index, (file, wrong)) in wrongs.into_iter().enumerate() {
        let copy = directory.path().join(format!("wrong-{index}"));
        std::fs::create_dir(&copy).unwrap();
        for name in ["store.db", "queue.db"] {
            std::fs::copy(data.join(name), copy.join(name)).unwrap();
        }
        let mut database =
            SqliteConnectOptions::new().filename(copy.join(file)).connect().await.unwrap();
        assert_eq!(sqlx::query(wrong).execute(&mut database).await.unwrap().rows_affected(), 1);
        database.close().await.unwrap();
        let found = tokio::spawn(async move { audit(&copy).await }).await;
        assert!(found.is_err(), "not found: {wrong}");
    }
}
