//! Promises 1 to 3 by counting: what is on the log has exactly one outcome in the store and one event
//! id on the results topic, and nothing else is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use penstock::account::{Account, Fingerprint};
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Consumer, PollLimits, Polled, Queue, Received, Start, Topic};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};
use tempfile::TempDir;

use crate::process::{Dev, run, text};

/// Where a submission stands: partition and offset.
type Place = (u32, u64);

/// A row of the ledger.
struct Accepted {
    place: Place,
    fingerprint: Vec<u8>,
    event_id: Vec<u8>,
    account: (String, String),
}

/// All that the store says.
struct Stored {
    ledger: BTreeMap<String, Accepted>,
    rejections: BTreeMap<Place, (String, Vec<u8>)>,
    accounts: BTreeMap<(String, String), Place>,
}

/// Reads what a stopped server has left and checks it; returns how many communications it accepted.
pub(crate) async fn audit(data: &Path) -> u64 {
    let stored = read_store(&data.join("store.db")).await;
    let queue = SqliteQueue::open(data.join("queue.db"), SqliteQueueOptions::default()).await.unwrap();
    let submitted = read_topic(&queue, Topic::Submitted).await;
    let results = read_topic(&queue, Topic::Results).await;
    assert!(read_topic(&queue, Topic::DeadLetter).await.is_empty());
    queue.close().await;

    audit_submissions(&stored, &submitted);
    audit_accounts(&stored);
    audit_events(&stored, &results);
    stored.ledger.len() as u64
}

/// Every submission was accepted, rejected or repeats an accepted one, and no row has none.
fn audit_submissions(stored: &Stored, submitted: &[Received]) {
    let accepted: HashMap<Place, &String> =
        stored.ledger.iter().map(|(number, row)| (row.place, number)).collect();
    assert_eq!(accepted.len(), stored.ledger.len(), "two numbers of one submission");
    let (mut accepted_seen, mut rejected_seen) = (0, 0);
    for record in submitted {
        let place = (record.partition.0, record.offset.0);
        let account = Account::parse(std::str::from_utf8(&record.record.value).unwrap()).unwrap();
        let number = account.communication_number.as_str();
        let content = Fingerprint::of(&account);
        match (accepted.get(&place), stored.rejections.get(&place)) {
            (Some(claimed), None) => {
                accepted_seen += 1;
                assert_eq!(claimed.as_str(), number);
                assert_eq!(stored.ledger[number].fingerprint, content.as_bytes());
            }
            (None, Some((rejected, _))) => {
                rejected_seen += 1;
                assert_eq!(rejected, number);
            }
            (None, None) => {
                let first = stored.ledger.get(number);
                let repeats = first.is_some_and(|row| row.fingerprint == content.as_bytes());
                assert!(repeats, "the submission at {place:?} has no outcome");
            }
            (Some(_), Some(_)) => panic!("the submission at {place:?} has two outcomes"),
        }
    }
    assert_eq!(accepted_seen, stored.ledger.len(), "ledger rows without a submission");
    assert_eq!(rejected_seen, stored.rejections.len(), "rejections without a submission");
}

/// Every account is as its last accepted submission left it.
fn audit_accounts(stored: &Stored) {
    let mut last: BTreeMap<(String, String), Place> = BTreeMap::new();
    for row in stored.ledger.values() {
        let place = last.entry(row.account.clone()).or_insert(row.place);
        assert_eq!(place.0, row.place.0, "one account on two partitions");
        *place = (*place).max(row.place);
    }
    assert_eq!(stored.accounts, last);
}

/// Every outcome has its event, no other event is there, and copies do not differ.
fn audit_events(stored: &Stored, results: &[Received]) {
    let mut events: BTreeMap<Vec<u8>, &Bytes> = BTreeMap::new();
    for event in results {
        let id = uuid::Uuid::parse_str(event.record.headers.text("ce_id").unwrap()).unwrap();
        let body = *events.entry(id.as_bytes().to_vec()).or_insert(&event.record.value);
        assert_eq!(body, &event.record.value, "two bodies of one event");
    }
    let accepted = stored.ledger.values().map(|row| &row.event_id);
    let outcomes: BTreeSet<&Vec<u8>> =
        accepted.chain(stored.rejections.values().map(|(_, event_id)| event_id)).collect();
    assert!(events.keys().eq(outcomes), "events and outcomes differ");
}

async fn read_store(file: &Path) -> Stored {
    let options = SqliteConnectOptions::new().filename(file);
    let mut store = options.connect().await.unwrap();
    let account = |row: &SqliteRow| (row.get("business_unit"), row.get("account_ext_id"));
    let place = |row: &SqliteRow| -> Place {
        (row.get("partition"), u64::try_from(row.get::<i64, _>("log_offset")).unwrap())
    };
    let ledger = rows(&mut store, "SELECT * FROM communications").await;
    let rejections = rows(&mut store, "SELECT * FROM rejections").await;
    let accounts = rows(&mut store, "SELECT * FROM accounts").await;
    let accepted = |row: &SqliteRow| Accepted {
        place: place(row),
        fingerprint: row.get("fingerprint"),
        event_id: row.get("event_id"),
        account: account(row),
    };
    let stored = Stored {
        ledger: ledger.iter().map(|row| (row.get("number"), accepted(row))).collect(),
        rejections: rejections
            .iter()
            .map(|row| (place(row), (row.get("number"), row.get("event_id"))))
            .collect(),
        accounts: accounts.iter().map(|row| (account(row), place(row))).collect(),
    };
    assert_eq!(stored.ledger.len(), ledger.len(), "a number is in the ledger twice");
    stored
}

async fn rows(store: &mut SqliteConnection, query: &'static str) -> Vec<SqliteRow> {
    sqlx::query(query).fetch_all(store).await.unwrap()
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
