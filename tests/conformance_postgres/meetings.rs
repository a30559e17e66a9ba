//! Sessions that meet on the same rows: nobody waits in a circle, and one of two moves a frontier.

use futures_util::future::{join, join_all};
use penstock::account::{FrontierMove, Offset, Plan};
use penstock::store::postgres::{PostgresStore, statements};
use penstock::store::{Applied, Store};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::accounts::{account, at, claim, log, write};
use super::rig::PostgresStoreRig;
use super::store::StoreRig;

const ROUNDS: u64 = 25;
const ROWS: u64 = 300;

/// Two processes on one database.
async fn two_stores(rig: &PostgresStoreRig) -> (PostgresStore, PostgresStore) {
    (rig.open().await, rig.open().await)
}

/// Claims the numbers of a round, and creates its accounts, in the order given.
fn creating(round: u64, partition: u32, rows: impl Iterator<Item = u64>) -> Plan {
    let accounts: Vec<_> = rows
        .map(|row| account(&format!("n-{round}-{row:05}"), &format!("a-{round}-{row:05}")))
        .collect();
    let places = || (0..).map(|offset| at(partition, offset));
    Plan {
        claims: accounts.iter().zip(places()).map(|(account, at)| claim(account, at)).collect(),
        accounts: accounts.iter().zip(places()).map(|(account, at)| write(account, None, at)).collect(),
        ..Plan::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_that_overlap_in_opposite_order_end_as_done_and_stale() {
    let rig = PostgresStoreRig::default();
    let (one, two) = two_stores(&rig).await;
    for round in 0..ROUNDS {
        let (upward, downward) = (creating(round, 0, 0..ROWS), creating(round, 1, (0..ROWS).rev()));
        let (first, second) = join(one.apply(&upward), two.apply(&downward)).await;
        let mut ends = [first.unwrap(), second.unwrap()];
        ends.sort_by_key(|end| *end == Applied::Stale);
        assert_eq!(ends, [Applied::Done, Applied::Stale], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_overlap_in_opposite_order_end_as_done_and_stale() {
    let rig = PostgresStoreRig::default();
    let (one, two) = two_stores(&rig).await;
    assert_eq!(one.apply(&creating(0, 0, 0..ROWS)).await.unwrap(), Applied::Done);
    let mut shown: Vec<_> = (0..ROWS).map(|offset| at(0, offset)).collect();
    for round in 1..=ROUNDS {
        let plan = |partition: u32| {
            let mut plan = Plan::default();
            for (row, shown) in (0..).zip(&shown) {
                let account = account("unused", &format!("a-0-{row:05}"));
                plan.accounts.push(write(&account, Some(*shown), at(partition, round * ROWS + row)));
            }
            plan
        };
        let (upward, mut downward) = (plan(0), plan(1));
        downward.accounts.reverse();
        let (first, second) = join(one.apply(&upward), two.apply(&downward)).await;
        let applied = match (first.unwrap(), second.unwrap()) {
            (Applied::Done, Applied::Stale) => upward,
            (Applied::Stale, Applied::Done) => downward,
            ends => panic!("round {round}: {ends:?}"),
        };
        let mut accounts = applied.accounts;
        accounts.sort_by(|a, b| a.key.cmp(&b.key));
        shown = accounts.iter().map(|account| account.version).collect();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sorting_the_same_claims_wait_in_a_circle() {
    let rig = PostgresStoreRig::default();
    rig.open().await.close().await;
    let unsorted = statements::INSERT_CLAIMS.replace("ORDER BY number COLLATE \"C\"", "");
    assert_ne!(unsorted, statements::INSERT_CLAIMS);
    let (mut one, mut two) = (rig.session().await, rig.session().await);
    for round in 0..10 * ROUNDS {
        let upward: Vec<_> = (0..10 * ROWS).map(|row| format!("n-{round}-{row:05}")).collect();
        let downward: Vec<_> = upward.iter().rev().cloned().collect();
        let (first, second) =
            join(insert(&mut one, &unsorted, upward), insert(&mut two, &unsorted, downward)).await;
        if let Err(failed) = first.and(second) {
            let code = failed.as_database_error().and_then(|error| error.code());
            assert_eq!(code.as_deref(), Some("40P01"), "{failed}");
            return;
        }
    }
    panic!("no deadlock: sorting is not what prevents them");
}

/// Claims numbers by a statement that takes them in the order given.
async fn insert(
    connection: &mut PgConnection,
    statement: &str,
    numbers: Vec<String>,
) -> Result<(), sqlx::Error> {
    let rows = numbers.len();
    let mut transaction = connection.begin().await?;
    sqlx::query(AssertSqlSafe(statement))
        .bind(numbers)
        .bind(vec![vec![0_u8; 32]; rows])
        .bind(vec![uuid::Uuid::nil(); rows])
        .bind(vec![1_i32; rows])
        .bind(vec![0_i32; rows])
        .bind(vec![0_i64; rows])
        .bind(vec![""; rows])
        .bind(vec!["a"; rows])
        .bind(vec!["e"; rows])
        .bind(vec!["r"; rows])
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_sessions_one_moves_a_frontier() {
    let rig = PostgresStoreRig::default();
    let (one, two) = two_stores(&rig).await;
    for step in 0..ROUNDS {
        let plan = |next: u64| {
            let expected = (step > 0).then_some(Offset(step));
            let frontiers = vec![FrontierMove { log: log(0), expected, next: Offset(next) }];
            Plan { frontiers, ..Plan::default() }
        };
        let plan = plan(step + 1);
        let ends = join_all([&one, &two, &one, &two].map(|store| store.apply(&plan))).await;
        let done = ends.into_iter().filter(|end| matches!(end, Ok(Applied::Done))).count();
        assert_eq!(done, 1, "step {step}");
    }
}
