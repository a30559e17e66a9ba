//! Sessions that meet on the same rows: nobody waits in a circle, one of two moves a frontier, and no line
//! of deliveries is left without a head.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use penstock::account::{FrontierMove, Offset, Plan};
use penstock::store::postgres::{PostgresStore, statements};
use penstock::store::{Applied, Deliveries, Ending, StalePart, Store};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::accounts::{account, at, claim, log, write};
use super::deliveries::{self, in_line, numbers, settled};
use super::rig::PostgresStoreRig;
use super::store::StoreRig;

/// Longest wait for a session; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(30);
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
        ends.sort_by_key(|end| *end != Applied::Done);
        assert_eq!(ends, [Applied::Done, Applied::Stale(StalePart::Claim)], "round {round}");
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
            (Applied::Done, Applied::Stale(StalePart::Account)) => upward,
            (Applied::Stale(StalePart::Account), Applied::Done) => downward,
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

/// Waits until so many sessions of this database wait for another one.
async fn until_waiting(watcher: &mut PgConnection, sessions: i64) {
    let started = Instant::now();
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *watcher)
        .await
        .unwrap();
        if waiting == sessions {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "{waiting} sessions wait, not {sessions}");
        tokio::task::yield_now().await;
    }
}

/// Waits until a session waits for this one. That any session waits is not enough: one whose turn has come
/// looks for a moment as if it still did.
async fn until_waited_for(watcher: &mut PgConnection, session: i32) {
    let started = Instant::now();
    loop {
        let is_waited_for: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))",
        )
        .bind(session)
        .fetch_one(&mut *watcher)
        .await
        .unwrap();
        if is_waited_for {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "no session waits for this one");
        tokio::task::yield_now().await;
    }
}

/// The head of a line ends while something is put behind it, and the next head ends before that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_while_its_line_moves_on_has_its_turn() {
    let rig = PostgresStoreRig::default();
    let store = rig.open().await;
    let (mut holder, mut rival, mut watcher) =
        (rig.session().await, rig.session().await, rig.session().await);
    let now = deliveries::at(1);
    store.record(&[in_line(1, "acc"), in_line(2, "acc")], &[], now).await.unwrap();
    let head = deliveries::claim(&store, "risk", 9, 1).await;
    let end = |leased: &_| [settled(leased, Ending::Delivered)];

    // Somebody holds the head, so that its end waits, and somebody is about to record the third.
    let mut lock = holder.begin().await.unwrap();
    lock.execute("SELECT FROM deliveries WHERE state = 'parked' FOR UPDATE").await.unwrap();
    let ending = tokio::spawn({
        let (store, head) = (store.clone(), end(&head[0]));
        async move { store.settle(&head, now).await }
    });
    until_waiting(&mut watcher, 1).await;
    let mut recording_too = rival.begin().await.unwrap();
    let recording_pid: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *recording_too).await.unwrap();
    recording_too
        .execute(AssertSqlSafe(format!(
            "INSERT INTO deliveries (endpoint, event_id, account, number, is_ordered, state, recorded_at,
                 failures, attempts, attributes, data)
             VALUES ('risk', '{}', 'other', 'n-3', true, 'delivered', now(), 0, 0, '', '')",
            in_line(3, "acc").key.event
        )))
        .await
        .unwrap();
    let recording = tokio::spawn({
        let store = store.clone();
        async move { store.record(&[in_line(3, "acc")], &[], now).await }
    });
    until_waiting(&mut watcher, 2).await;
    lock.rollback().await.unwrap();
    ending.await.unwrap().unwrap();
    until_waited_for(&mut watcher, recording_pid).await;

    // The second is the head now. Whoever can take it ends it before the third is there.
    let mut taken = deliveries::claim(&store, "risk", 9, 2).await;
    for leased in &taken {
        store.settle(&end(leased), now).await.unwrap();
    }
    recording_too.rollback().await.unwrap();
    recording.await.unwrap().unwrap();
    while taken.len() < 2 {
        let next = deliveries::claim(&store, "risk", 9, 3).await;
        assert!(!next.is_empty(), "nothing is due after {:?}", numbers(&taken));
        for leased in &next {
            store.settle(&end(leased), now).await.unwrap();
        }
        taken.extend(next);
    }
    assert_eq!(numbers(&taken), ["n-2", "n-3"]);
}
