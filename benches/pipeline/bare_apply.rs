//! The drain's floor: the rows that a worker has left, written again by the store's own statements
//! into an empty database. What is sent to the server is prepared before; only sending is timed.

use std::time::Instant;

use penstock::store::postgres::statements as sql;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnectOptions, PgConnection, PgRow, PgTypeInfo, Postgres,
};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection, Encode, Executor, Row, Type};

/// Rows of one batch.
const BATCH: u64 = 1_000;

/// What one transaction is given.
struct Batch {
    ledger: PgArguments,
    accounts: PgArguments,
    frontiers: PgArguments,
    moves: PgArguments,
    claims: PgArguments,
    rows: PgArguments,
}

/// What is to be written, by connection.
pub(crate) struct Work {
    items: u64,
    connections: Vec<(PgConnection, Vec<Batch>)>,
}

/// Reads the rows found in `from`, to be written into `to`, an empty database of the same schema.
pub(crate) async fn prepare(from: &PgConnectOptions, to: &PgConnectOptions, connections: u32) -> Work {
    let mut work = Work { items: 0, connections: Vec::new() };
    for number in 0..connections {
        let (batches, items) = read(from, number, connections).await;
        let mut connection = to.clone().disable_statement_logging().connect().await.unwrap();
        start_frontiers(&mut connection, number, connections).await;
        work.connections.push((connection, batches));
        work.items += items;
    }
    work
}

/// Writes everything; items per second.
#[allow(clippy::cast_precision_loss, reason = "a rate")]
pub(crate) async fn run(work: Work) -> f64 {
    let start = Instant::now();
    let connections = work.connections.into_iter();
    let tasks: Vec<_> =
        connections.map(|(connection, batches)| tokio::spawn(write(connection, batches))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    work.items as f64 / start.elapsed().as_secs_f64()
}

async fn write(mut connection: PgConnection, batches: Vec<Batch>) {
    for batch in batches {
        let mut transaction = connection.begin_with(sql::BEGIN).await.unwrap();
        for (statement, wanted) in [
            (sql::LOAD_LEDGER, batch.ledger),
            (sql::LOAD_ACCOUNTS, batch.accounts),
            (sql::LOAD_FRONTIERS, batch.frontiers),
        ] {
            sqlx::query_with(statement, wanted).fetch_all(&mut *transaction).await.unwrap();
        }
        for (statement, rows) in [
            (sql::MOVE_FRONTIERS, batch.moves),
            (sql::INSERT_CLAIMS, batch.claims),
            (sql::INSERT_ACCOUNTS, batch.rows),
        ] {
            let done = sqlx::query_with(statement, rows).execute(&mut *transaction).await.unwrap();
            assert!(done.rows_affected() > 0, "nothing was written");
        }
        transaction.commit().await.unwrap();
    }
}

/// Frontiers at their start.
async fn start_frontiers(connection: &mut PgConnection, number: u32, connections: u32) {
    let insert = format!(
        "INSERT INTO frontiers (generation, partition, next_offset)
         SELECT 1, partition, 0 FROM generate_series(0, 255) AS partition
         WHERE partition % {connections} = {number}"
    );
    connection.execute(AssertSqlSafe(insert)).await.unwrap();
}

/// The batches of one connection, whose partitions no other one has, and how many items they hold.
async fn read(from: &PgConnectOptions, number: u32, connections: u32) -> (Vec<Batch>, u64) {
    let mut connection = from.clone().disable_statement_logging().connect().await.unwrap();
    let placed = format!(
        "CREATE TEMP TABLE placed AS SELECT *, (row_number() OVER (ORDER BY log_offset, partition) - 1)
             / {BATCH} AS batch
         FROM communications WHERE partition % {connections} = {number}"
    );
    connection.execute(AssertSqlSafe(placed)).await.unwrap();
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM placed").fetch_one(&mut connection).await.unwrap();
    let claims = sqlx::query(CLAIMS).fetch_all(&mut connection).await.unwrap();
    let accounts = sqlx::query(ACCOUNTS).fetch_all(&mut connection).await.unwrap();
    let moves = sqlx::query(MOVES).fetch_all(&mut connection).await.unwrap();
    let batches = claims.iter().zip(&accounts).zip(&moves).map(|((claims, accounts), moves)| Batch {
        ledger: arguments(claims, 1),
        accounts: arguments(accounts, 2),
        frontiers: arguments(moves, 2),
        moves: arguments(moves, 4),
        claims: arguments(claims, 10),
        rows: arguments(accounts, 20),
    });
    (batches.collect(), u64::try_from(count).unwrap())
}

/// The first columns of a row as arguments.
fn arguments(row: &PgRow, columns: usize) -> PgArguments {
    let mut arguments = PgArguments::default();
    for column in 0..columns {
        arguments.add(AsSent::of(row, column)).unwrap();
    }
    arguments
}

/// A value in the form in which the server sent it, which is the form in which it takes it.
struct AsSent {
    bytes: Vec<u8>,
    form: PgTypeInfo,
}

impl AsSent {
    fn of(row: &PgRow, column: usize) -> Self {
        let value = row.try_get_raw(column).unwrap();
        let form = sqlx::ValueRef::type_info(&value).into_owned();
        Self { bytes: value.as_bytes().unwrap().to_vec(), form }
    }
}

impl Type<Postgres> for AsSent {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, Postgres> for AsSent {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.form.clone())
    }
}

const CLAIMS: &str = "
SELECT array_agg(number), array_agg(fingerprint), array_agg(event_id),
       array_agg(generation), array_agg(partition), array_agg(log_offset),
       array_agg(business_unit), array_agg(account_ext_id), array_agg(business_entity_ext_id),
       array_agg(requester)
FROM (SELECT * FROM placed ORDER BY batch, number COLLATE \"C\") AS p
GROUP BY batch ORDER BY batch";

const ACCOUNTS: &str = "
SELECT array_agg(business_unit), array_agg(account_ext_id), array_agg(business_entity_ext_id),
       array_agg(generation), array_agg(partition), array_agg(log_offset),
       array_agg(communication_number), array_agg(requester), array_agg(action),
       array_agg(account_number), array_agg(account_status), array_agg(account_type),
       array_agg(account_purpose), array_agg(bank_title), array_agg(bic), array_agg(currency_code),
       array_agg(is_other_fin_inst_account), array_agg(opening_date), array_agg(closing_date),
       array_agg(suspension_reasons)
FROM (
    SELECT a.*, p.batch FROM placed AS p JOIN accounts AS a USING (business_unit, account_ext_id)
    ORDER BY p.batch, a.business_unit COLLATE \"C\", a.account_ext_id COLLATE \"C\"
) AS p
GROUP BY batch ORDER BY batch";

/// Generations, partitions, next offsets and expected offsets.
const MOVES: &str = "
SELECT array_agg(generation), array_agg(partition), array_agg(next), array_agg(expected)
FROM (
    SELECT batch, generation, partition, max(log_offset) + 1 AS next, min(log_offset) AS expected
    FROM placed GROUP BY batch, generation, partition ORDER BY batch, generation, partition
) AS moves
GROUP BY batch ORDER BY batch";
