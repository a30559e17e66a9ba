//! The embedded files in bad hands: a second process, foreign and damaged files, another release's
//! schema, a full disk. What is refused stays as it was, byte for byte.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::future::join_all;
use penstock::account::{
    Account, AccountWrite, Claim, EventId, Fingerprint, FrontierMove, Generation, LogPartition, Offset,
    Partition, Plan, Verdict,
};
use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions};
use penstock::queue::{Consumer, Headers, PollLimits, Polled, Queue, QueueError, Record, Start, Topic};
use penstock::sqlite::{DataDir, DataDirError, OpenError};
use penstock::store::sqlite::{SqliteStore, SqliteStoreOptions};
use penstock::store::{Applied, Store, StoreError, Wanted};
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};
use tempfile::TempDir;

fn temp() -> (TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (queue, store) = (directory.path().join("queue.db"), directory.path().join("store.db"));
    (directory, queue, store)
}

async fn open_queue(path: &Path) -> Result<SqliteQueue, OpenError> {
    SqliteQueue::open(path, SqliteQueueOptions::default()).await
}

fn records(count: usize, value_bytes: usize) -> Vec<Record> {
    let record = |n: usize| Record {
        key: format!("key-{n}").into(),
        value: vec![b'x'; value_bytes].into(),
        headers: Headers::default(),
    };
    (0..count).map(record).collect()
}

/// A queue file and a store file with some content, closed.
async fn filled(queue: &Path, store: &Path) {
    let opened = open_queue(queue).await.unwrap();
    opened.publish(Topic::Submitted, records(2_000, 500)).await.unwrap();
    opened.close().await;
    let opened = SqliteStore::open(store).await.unwrap();
    assert_eq!(opened.apply(&plan(0, 2_000)).await.unwrap(), Applied::Done);
    opened.close().await;
}

/// Accepts accounts `from` to before `to`.
fn plan(from: u64, to: u64) -> Plan {
    let log = LogPartition { generation: Generation(1), partition: Partition(0) };
    let expected = (from > 0).then_some(Offset(from));
    let mut plan =
        Plan { frontiers: vec![FrontierMove { log, expected, next: Offset(to) }], ..Plan::default() };
    for n in from..to {
        let account = Account::parse(&format!(
            r#"{{"communicationNumber":"n-{n:06}","requester":"test","businessEntityExtId":"c",
                "accountExtId":"a-{n:06}","accountNumber":"1","accountStatus":"ACTIVE",
                "currencyCode":"CHF","openingDate":"2023-09-05T08:07:34Z"}}"#
        ))
        .unwrap();
        let fingerprint = Fingerprint::of(&account);
        plan.claims.push(Claim {
            communication: account.communication(),
            fingerprint,
            event_id: EventId::of(&account.communication_number, &fingerprint, Verdict::Accepted),
            coordinates: log.at(Offset(n)),
        });
        plan.accounts.push(AccountWrite {
            key: account.key(),
            expected: None,
            account: account.into(),
            version: log.at(Offset(n)),
        });
    }
    plan
}

/// Opens both files, expects both to be refused and unchanged, and returns the refusals.
async fn refused(queue: &Path, store: &Path) -> [OpenError; 2] {
    let before = [fs::read(queue).unwrap(), fs::read(store).unwrap()];
    let errors = [open_queue(queue).await.unwrap_err(), SqliteStore::open(store).await.unwrap_err()];
    assert!(
        before == [fs::read(queue).unwrap(), fs::read(store).unwrap()],
        "a refused file has changed"
    );
    for (error, path) in errors.iter().zip([queue, store]) {
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error} names the file");
    }
    errors
}

#[test]
fn a_directory_is_created_and_belongs_to_one_holder() {
    let (directory, ..) = temp();
    let path = directory.path().join("a/b");
    let held = DataDir::open(&path).unwrap();
    let error = DataDir::open(&path).unwrap_err();
    assert!(matches!(error, DataDirError::InUse { .. }));
    assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(held);
    DataDir::open(&path).unwrap();
}

#[test]
fn another_process_is_refused_until_the_holder_is_gone() {
    let (directory, ..) = temp();
    let path = directory.path().join("data");
    DataDir::open(&path).unwrap();
    // `flock` takes the same lock the standard library does.
    let mut holder = Command::new("flock").arg(path.join("LOCK")).args(["sleep", "60"]).spawn().unwrap();
    let start = std::time::Instant::now();
    while DataDir::open(&path).is_ok() {
        assert!(start.elapsed().as_secs() < 30, "the other process takes the lock in time");
        std::thread::yield_now();
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_to_is_named() {
    let (directory, ..) = temp();
    let file = directory.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, DataDirError::NotWritable { .. }));
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"not a directory");
}

#[tokio::test]
async fn an_empty_file_is_a_new_one() {
    let (_directory, queue, store) = temp();
    fs::write(&queue, "").unwrap();
    fs::write(&store, "").unwrap();
    filled(&queue, &store).await;
}

#[tokio::test]
async fn what_a_killed_creation_left_is_no_hindrance() {
    let (_directory, queue, store) = temp();
    for leftover in ["queue.db.new", "queue.db.new-wal", "store.db.new", "store.db.new-journal"] {
        fs::write(queue.with_file_name(leftover), "half").unwrap();
    }
    filled(&queue, &store).await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    for content in [&b"x"[..], &[0; 4096], b"SQLite format 3\0 and then nothing of it"] {
        let (_directory, queue, store) = temp();
        fs::write(&queue, content).unwrap();
        fs::write(&store, content).unwrap();
        for error in refused(&queue, &store).await {
            assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a_database_of_another_application_is_refused() {
    let (_directory, queue, store) = temp();
    for path in [&queue, &store] {
        let mut other = new_database(path).await;
        other.execute("CREATE TABLE records (id INTEGER)").await.unwrap();
        other.close().await.unwrap();
    }
    for error in refused(&queue, &store).await {
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    }
}

async fn new_database(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    options.create_if_missing(true).connect().await.unwrap()
}

#[tokio::test]
async fn queue_and_store_are_not_taken_for_each_other() {
    let (_directory, queue, store) = temp();
    filled(&queue, &store).await;
    for error in refused(&store, &queue).await {
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 3] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(bytes.len() - 100),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 8192].iter_mut().for_each(|byte| *byte ^= 0xff);
        },
    ];
    for damage in damages {
        let (_directory, queue, store) = temp();
        filled(&queue, &store).await;
        for path in [&queue, &store] {
            let mut bytes = fs::read(path).unwrap();
            damage(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
        for error in refused(&queue, &store).await {
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a_file_whose_main_part_is_gone_is_refused() {
    let (_directory, queue, _) = temp();
    let wal = queue.with_file_name("queue.db-wal");
    fs::write(&wal, "what was written last").unwrap();
    let error = open_queue(&queue).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&wal).unwrap(), b"what was written last");
    assert!(!queue.exists());
}

#[tokio::test]
async fn a_file_of_a_later_release_is_refused() {
    let (_directory, queue, store) = temp();
    filled(&queue, &store).await;
    for path in [&queue, &store] {
        let mut later = new_database(path).await;
        let migration = "INSERT INTO _sqlx_migrations
            (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'', 0)";
        later.execute(migration).await.unwrap();
        later.close().await.unwrap();
    }
    for error in refused(&queue, &store).await {
        assert!(matches!(error, OpenError::Newer { found: 9999, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_store_opened_beside_another_process_is_shared_with_it() {
    let (_directory, queue, store) = temp();
    filled(&queue, &store).await;
    let holder = SqliteStore::open(&store).await.unwrap();
    let beside = SqliteStore::open_beside(&store).await.unwrap();
    for (writer, reader, from) in [(&holder, &beside, 2_000), (&beside, &holder, 2_001)] {
        assert_eq!(writer.apply(&plan(from, from + 1)).await.unwrap(), Applied::Done);
        assert_eq!(ledger_rows(reader, from + 1).await, usize::try_from(from + 1).unwrap());
    }
    beside.close().await;
    assert_eq!(holder.apply(&plan(2_002, 2_003)).await.unwrap(), Applied::Done, "it goes on");
    holder.close().await;
}

#[tokio::test]
async fn what_is_opened_beside_another_process_is_neither_made_nor_migrated() {
    let (directory, queue, store) = temp();
    let missing = SqliteStore::open_beside(&store).await.unwrap_err();
    assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    filled(&queue, &store).await;
    let foreign = SqliteStore::open_beside(&queue).await.unwrap_err();
    assert!(matches!(foreign, OpenError::Foreign { .. }), "{foreign}");
    let change = async |statement: &'static str| {
        let mut database = new_database(&store).await;
        database.execute(statement).await.unwrap();
        database.close().await.unwrap();
        SqliteStore::open_beside(&store).await.unwrap_err()
    };
    let older = change("DELETE FROM _sqlx_migrations WHERE version > 1").await;
    assert!(matches!(older, OpenError::Older { found: 1, .. }), "{older}");
    let later = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'', 0)";
    let newer = change(later).await;
    assert!(matches!(newer, OpenError::Newer { found: 9999, .. }), "{newer}");
}

#[tokio::test]
async fn another_partition_count_is_refused() {
    let (_directory, queue, _) = temp();
    open_queue(&queue).await.unwrap().close().await;
    let options = SqliteQueueOptions { partitions: 13, ..SqliteQueueOptions::default() };
    let error = SqliteQueue::open(&queue, options).await.unwrap_err();
    assert!(matches!(error, OpenError::OtherSetting { stored: 12, configured: 13, .. }), "{error}");
    open_queue(&queue).await.unwrap();
    for partitions in [0, 2_049] {
        let options = SqliteQueueOptions { partitions, ..SqliteQueueOptions::default() };
        let error = SqliteQueue::open(queue.with_file_name("other.db"), options).await.unwrap_err();
        assert!(matches!(error, OpenError::BadSetting { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_full_queue_file_refuses_and_goes_on_once_there_is_room() {
    let (_directory, path, _) = temp();
    let small = SqliteQueueOptions { max_file_bytes: Some(400_000), ..SqliteQueueOptions::default() };
    let queue = SqliteQueue::open(&path, small).await.unwrap();
    let mut published = 0;
    let error = loop {
        match queue.publish(Topic::Submitted, records(50, 500)).await {
            Ok(()) => published += 50,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, QueueError::Unavailable { .. }), "{error:?}");
    assert!(published > 0);
    let again = queue.publish(Topic::Submitted, records(500, 500)).await.unwrap_err();
    assert!(matches!(again, QueueError::Unavailable { .. }), "{again:?}");
    assert_eq!(read_all(&queue).await, published, "what was refused is not there");
    queue.close().await;

    let queue = open_queue(&path).await.unwrap();
    queue.publish(Topic::Submitted, records(50, 500)).await.unwrap();
    assert_eq!(read_all(&queue).await, published + 50);
}

#[tokio::test]
async fn records_that_follow_a_failure_are_read_by_a_consumer_that_was_there_before() {
    let (_directory, path, _) = temp();
    let small = SqliteQueueOptions { max_file_bytes: Some(400_000), ..SqliteQueueOptions::default() };
    let queue = SqliteQueue::open(&path, small).await.unwrap();
    let mut consumer = consumer_from_start(&queue).await;
    queue.publish(Topic::Submitted, records(50, 500)).await.unwrap();
    queue.publish(Topic::Submitted, records(5_000, 500)).await.unwrap_err();
    queue.publish(Topic::Submitted, records(50, 500)).await.unwrap();
    assert_eq!(poll_to_end(&mut consumer).await, 100);
}

async fn consumer_from_start(queue: &SqliteQueue) -> penstock::queue::sqlite::SqliteConsumer {
    let mut consumer = queue.subscribe(Topic::Submitted, "test").await.unwrap();
    let limits = PollLimits { max_records: 1, max_bytes: 1, max_wait: std::time::Duration::ZERO };
    let Polled::Assigned(assignments) = consumer.poll(limits).await.unwrap() else {
        panic!("the only member gets every partition at once")
    };
    for assignment in assignments {
        consumer.seek(assignment.partition, Start::Offset(Offset(0))).await.unwrap();
    }
    consumer
}

async fn poll_to_end(consumer: &mut impl Consumer) -> usize {
    let limits =
        PollLimits { max_records: 1_000, max_bytes: 1 << 20, max_wait: std::time::Duration::ZERO };
    let mut count = 0;
    while let Polled::Records(received) = consumer.poll(limits).await.unwrap() {
        count += received.len();
    }
    count
}

async fn read_all(queue: &SqliteQueue) -> usize {
    poll_to_end(&mut consumer_from_start(queue).await).await
}

#[tokio::test]
async fn a_full_store_file_refuses_and_goes_on_once_there_is_room() {
    let (_directory, _, path) = temp();
    let small = SqliteStoreOptions { max_file_bytes: Some(600_000) };
    let store = SqliteStore::open_with(&path, small).await.unwrap();
    assert_eq!(store.apply(&plan(0, 500)).await.unwrap(), Applied::Done);
    let error = store.apply(&plan(500, 3_000)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(ledger_rows(&store, 3_000).await, 500);
    store.close().await;
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.apply(&plan(500, 3_000)).await.unwrap(), Applied::Done);
    assert_eq!(ledger_rows(&store, 3_000).await, 3_000);
}

async fn ledger_rows(store: &SqliteStore, upto: u64) -> usize {
    let numbers = plan(0, upto).claims.into_iter().map(|claim| claim.communication.number).collect();
    store.load(&Wanted { numbers, ..Wanted::default() }).await.unwrap().ledger.len()
}

/// One thread: all publish before the writer has its turn.
#[tokio::test(flavor = "current_thread")]
async fn publishing_is_refused_while_too_much_waits() {
    let (_directory, path, _) = temp();
    let options = SqliteQueueOptions { max_pending_bytes: 10_000, ..SqliteQueueOptions::default() };
    let queue = SqliteQueue::open(&path, options).await.unwrap();
    let publishing = (0..20).map(|_| queue.publish(Topic::Submitted, records(1, 1_500)));
    let (done, refused): (Vec<_>, Vec<_>) =
        join_all(publishing).await.into_iter().partition(Result::is_ok);
    assert!((1..=6).contains(&done.len()), "{} were taken", done.len());
    assert!(refused.iter().all(|result| matches!(result, Err(QueueError::Overloaded))));
    queue.publish(Topic::Submitted, records(1, 1_500)).await.unwrap();
    assert_eq!(read_all(&queue).await, done.len() + 1);
}

/// What tells the outcomes of what was taken in must not wait for room: it makes it.
#[tokio::test(flavor = "current_thread")]
async fn results_and_dead_letters_are_taken_while_too_much_waits() {
    let (_directory, path, _) = temp();
    let options = SqliteQueueOptions { max_pending_bytes: 10_000, ..SqliteQueueOptions::default() };
    let queue = SqliteQueue::open(&path, options).await.unwrap();
    let topics = [Topic::Submitted, Topic::Submitted, Topic::Results, Topic::DeadLetter];
    let publishing = topics.map(|topic| queue.publish(topic, records(1, 9_000)));
    let results = join_all(publishing).await;
    assert!(matches!(results[..], [Ok(()), Err(QueueError::Overloaded), Ok(()), Ok(())]), "{results:?}");
}

#[tokio::test]
async fn a_dead_letter_is_taken_whatever_its_size() {
    let (_directory, path, _) = temp();
    let queue = open_queue(&path).await.unwrap();
    queue.publish(Topic::DeadLetter, records(1, queue.max_record_bytes() + 1)).await.unwrap();
}

#[tokio::test]
async fn a_value_beyond_the_limit_is_refused() {
    let (_directory, path, _) = temp();
    let queue = open_queue(&path).await.unwrap();
    let error =
        queue.publish(Topic::Submitted, records(1, queue.max_record_bytes() + 1)).await.unwrap_err();
    assert!(matches!(error, QueueError::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn a_closed_file_is_unavailable() {
    let (_directory, queue, store) = temp();
    let queue = open_queue(&queue).await.unwrap();
    queue.close().await;
    queue.close().await;
    let error = queue.publish(Topic::Submitted, records(1, 1)).await.unwrap_err();
    assert!(matches!(error, QueueError::Unavailable { .. }), "{error:?}");
    let store = SqliteStore::open(&store).await.unwrap();
    store.close().await;
    let error = store.apply(&plan(0, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let error = store.load(&Wanted::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn closing_leaves_one_file_each() {
    let (directory, queue, store) = temp();
    filled(&queue, &store).await;
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["queue.db", "store.db"]);
}

/// What is beside a file after it was closed.
fn marks(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let mut marks: Vec<String> = names.filter(|name| name.ends_with("-open")).collect();
    marks.sort();
    marks
}

#[tokio::test]
async fn a_file_is_marked_for_as_long_as_it_is_open() {
    let (directory, queue, store) = temp();
    filled(&queue, &store).await;
    assert_eq!(marks(directory.path()), [""; 0]);
    let opened = SqliteStore::open(&store).await.unwrap();
    assert_eq!(opened.apply(&plan(2_000, 2_001)).await.unwrap(), Applied::Done);
    assert_eq!(marks(directory.path()), ["store.db-open"]);
    // A command beside it is not the one to take the mark off.
    let beside = SqliteStore::open_beside(&store).await.unwrap();
    beside.check().await.unwrap();
    beside.close().await;
    assert_eq!(marks(directory.path()), ["store.db-open"]);
    opened.close().await;
    assert_eq!(marks(directory.path()), [""; 0]);
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_made_here_is_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = DataDir::open(parent.path().join("made/here")).unwrap();
    filled(&directory.queue_file(), &directory.store_file()).await;
    let opened = SqliteStore::open(directory.store_file()).await.unwrap();
    assert_eq!(opened.apply(&plan(2_000, 2_001)).await.unwrap(), Applied::Done);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.path()), 0o700);
    for name in ["queue.db", "store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(&directory.path().join(name)), 0o600, "{name}");
    }
    opened.close().await;
}
