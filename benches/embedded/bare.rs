//! The bare side: takes the rows that a run has left and writes them again, batch by batch, into
//! empty files of the same schema. Only the writing is timed; everything is prepared before.

use std::path::Path;
use std::time::{Duration, Instant};

use penstock::queue::sqlite::{SqliteQueue, SqliteQueueOptions, statements as queue_sql};
use penstock::store::sqlite::{SqliteStore, statements as store_sql};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};

/// Topic numbers of the submissions and of the results in the queue's file.
const SUBMITTED: i64 = 0;
const RESULTS: i64 = 1;

/// What one batch writes.
#[derive(Default)]
struct Batch {
    submitted: Records,
    claims: String,
    new_accounts: String,
    changed_accounts: String,
    rejections: String,
    results: Records,
}

/// Records as [`queue_sql::APPEND`] takes them.
#[derive(Default)]
struct Records {
    count: usize,
    rows: String,
    blob: Vec<u8>,
}

/// Writes the rows found in `from` into empty files in `to`; items per second.
#[allow(clippy::cast_precision_loss, reason = "a rate")]
pub(crate) fn run(from: &Path, to: &Path, batch_size: u64) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let batches = read(from, batch_size).await;
        let items: usize = batches.iter().map(|batch| batch.submitted.count).sum();
        items as f64 / write(to, &batches).await.as_secs_f64()
    })
}

async fn write(folder: &Path, batches: &[Batch]) -> Duration {
    std::fs::create_dir(folder).unwrap();
    let (store, queue) = (folder.join("store.db"), folder.join("queue.db"));
    SqliteStore::open(&store).await.unwrap().close().await;
    SqliteQueue::open(&queue, SqliteQueueOptions::default()).await.unwrap().close().await;
    // As the implementations open their writing connections.
    let mut store = writer(&store, "65536").await;
    let mut queue = writer(&queue, "8192").await;
    let start = Instant::now();
    for (number, batch) in batches.iter().enumerate() {
        append(&mut queue, &batch.submitted, None).await;
        apply(&mut store, batch, number).await;
        append(&mut queue, &batch.results, Some(number)).await;
    }
    start.elapsed()
}

async fn writer(file: &Path, cache_kib: &str) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", format!("-{cache_kib}"))
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging()
        .connect()
        .await
        .unwrap()
}

/// Appends records, and commits offsets with the results as the worker does.
async fn append(queue: &mut SqliteConnection, records: &Records, commit: Option<usize>) {
    let mut transaction = queue.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query(queue_sql::APPEND)
        .bind(&records.rows)
        .bind(&records.blob)
        .execute(&mut *transaction)
        .await
        .unwrap();
    if let Some(batch) = commit {
        sqlx::query(queue_sql::COMMIT_OFFSETS)
            .bind("bare")
            .bind(SUBMITTED)
            .bind(format!("[[0,{batch}]]"))
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}

async fn apply(store: &mut SqliteConnection, batch: &Batch, number: usize) {
    let mut transaction = store.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let frontier = match number {
        0 => (store_sql::INSERT_FRONTIERS, "[[1,0,1]]".to_owned()),
        _ => (store_sql::MOVE_FRONTIERS, format!("[[1,0,{},{number}]]", number + 1)),
    };
    let steps = [
        (frontier.0, &frontier.1),
        (store_sql::INSERT_CLAIMS, &batch.claims),
        (store_sql::INSERT_ACCOUNTS, &batch.new_accounts),
        (store_sql::UPDATE_ACCOUNTS, &batch.changed_accounts),
        (store_sql::INSERT_REJECTIONS, &batch.rejections),
    ];
    for (statement, rows) in steps.into_iter().filter(|(_, rows)| *rows != "[]") {
        sqlx::query(statement).bind(rows).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

/// Reads everything a run has left, cut into batches. `SQLite` itself puts the rows into the form the
/// statements take.
async fn read(folder: &Path, batch_size: u64) -> Vec<Batch> {
    let mut queue = reader(&folder.join("queue.db")).await;
    let mut store = reader(&folder.join("store.db")).await;
    let submitted = rows_of(&mut queue, SUBMITTED).await;
    let count = submitted.len().div_ceil(usize::try_from(batch_size).unwrap());
    let results = rows_of(&mut queue, RESULTS).await;
    sqlx::query(ACCOUNT_WRITES).execute(&mut store).await.unwrap();
    let claims = arrays(&mut store, CLAIMS, count).await;
    let new_accounts = arrays(&mut store, NEW_ACCOUNTS, count).await;
    let changed_accounts = arrays(&mut store, CHANGED_ACCOUNTS, count).await;
    let rejections = arrays(&mut store, REJECTIONS, count).await;
    let (submitted, results) = (records(&submitted, count), records(&results, count));
    let mut rest = (
        results.into_iter(),
        claims.into_iter(),
        new_accounts.into_iter(),
        changed_accounts.into_iter(),
        rejections.into_iter(),
    );
    let rows = |next: Option<String>| next.unwrap_or_else(|| "[]".to_owned());
    submitted
        .into_iter()
        .map(|submitted| Batch {
            submitted,
            results: rest.0.next().unwrap_or_default(),
            claims: rows(rest.1.next()),
            new_accounts: rows(rest.2.next()),
            changed_accounts: rows(rest.3.next()),
            rejections: rows(rest.4.next()),
        })
        .collect()
}

async fn reader(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).disable_statement_logging().connect().await.unwrap()
}

/// A topic's rows in about the order they were appended.
async fn rows_of(queue: &mut SqliteConnection, topic: i64) -> Vec<SqliteRow> {
    sqlx::query(
        "SELECT position, appended_at_ms, key, value, headers FROM records
         WHERE position BETWEEN ?1 << 55 AND ((?1 + 1) << 55) - 1 ORDER BY appended_at_ms, position",
    )
    .bind(topic)
    .fetch_all(queue)
    .await
    .unwrap()
}

/// Shares rows out evenly over `count` batches.
fn records(rows: &[SqliteRow], count: usize) -> Vec<Records> {
    rows.chunks(rows.len().div_ceil(count).max(1)).map(records_of).collect()
}

fn records_of(rows: &[SqliteRow]) -> Records {
    let mut blob = Vec::new();
    let mut places = Vec::with_capacity(rows.len());
    for row in rows {
        let start = blob.len() + 1;
        let parts: [&[u8]; 3] = [row.get("key"), row.get("value"), row.get("headers")];
        blob.extend_from_slice(&parts.concat());
        let [key, value, headers] = parts.map(<[u8]>::len);
        let (position, time): (i64, i64) = (row.get(0), row.get(1));
        places.push((position, time, start, key, value, headers));
    }
    Records { count: rows.len(), rows: serde_json::to_string(&places).unwrap(), blob }
}

/// The arrays that a query makes for each of `count` batches.
async fn arrays(store: &mut SqliteConnection, query: &'static str, count: usize) -> Vec<String> {
    sqlx::query_scalar(query).bind(i64::try_from(count).unwrap()).fetch_all(store).await.unwrap()
}

/// Every write of an account: the claim it comes from, and the version it found.
const ACCOUNT_WRITES: &str = "
CREATE TEMP TABLE writes AS
SELECT id, generation, partition, log_offset, business_unit, account_ext_id,
       lag(log_offset) OVER (
           PARTITION BY business_unit, account_ext_id ORDER BY log_offset) AS expected
FROM communications ORDER BY id";

const CLAIMS: &str = "
SELECT json_group_array(json_array(
    number, hex(fingerprint), hex(event_id), generation, partition, log_offset,
    business_unit, account_ext_id, business_entity_ext_id, requester))
FROM communications GROUP BY (id - 1) * ?1 / (SELECT max(id) FROM communications) ORDER BY min(id)";

const NEW_ACCOUNTS: &str = "
SELECT json_group_array(json_array(
    a.business_unit, a.account_ext_id, a.business_entity_ext_id,
    w.generation, w.partition, w.log_offset, a.communication_number, a.requester, a.action,
    a.account_number, a.account_status, a.account_type, a.account_purpose, a.bank_title, a.bic,
    a.currency_code, a.is_other_fin_inst_account, a.opening_date, a.closing_date,
    a.suspension_reasons)) FILTER (WHERE w.expected IS NULL)
FROM writes AS w JOIN accounts AS a USING (business_unit, account_ext_id)
GROUP BY (w.id - 1) * ?1 / (SELECT max(id) FROM writes) ORDER BY min(w.id)";

const CHANGED_ACCOUNTS: &str = "
SELECT json_group_array(json_array(
    a.business_unit, a.account_ext_id, a.business_entity_ext_id,
    w.generation, w.partition, w.log_offset, a.communication_number, a.requester, a.action,
    a.account_number, a.account_status, a.account_type, a.account_purpose, a.bank_title, a.bic,
    a.currency_code, a.is_other_fin_inst_account, a.opening_date, a.closing_date,
    a.suspension_reasons, w.generation, w.partition, w.expected)) FILTER (WHERE w.expected NOT NULL)
FROM writes AS w JOIN accounts AS a USING (business_unit, account_ext_id)
GROUP BY (w.id - 1) * ?1 / (SELECT max(id) FROM writes) ORDER BY min(w.id)";

const REJECTIONS: &str = "
SELECT json_group_array(json_array(
    generation, partition, log_offset, verdict, hex(event_id),
    number, business_unit, account_ext_id, business_entity_ext_id, requester))
FROM rejections GROUP BY (id - 1) * ?1 / (SELECT max(id) FROM rejections) ORDER BY min(id)";
