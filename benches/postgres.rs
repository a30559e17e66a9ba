//! Loads views and applies plans on the PostgreSQL server that `PENSTOCK_TEST_POSTGRES` names: what the
//! production store takes at most, on one connection and on several.
//!
//! `cargo bench --bench postgres --features production-tests -- --batches 200 --connections 1,2`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use penstock::account::{
    Account, AccountWrite, Claim, EventId, Fingerprint, FrontierMove, Generation, LogPartition, Offset,
    Partition, Plan, Verdict,
};
use penstock::store::postgres::{PostgresStore, PostgresStoreOptions, migrate};
use penstock::store::{Applied, OffsetRange, Store, Wanted};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

#[derive(Parser)]
struct Options {
    /// Items of one plan.
    #[arg(long, default_value_t = 1_000)]
    items: u32,
    /// Plans per connection.
    #[arg(long, default_value_t = 100)]
    batches: u32,
    /// Connections at a time, one measurement each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    connections: Vec<u32>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one connection took.
#[derive(Clone, Copy, Default)]
struct Taken {
    loading: Duration,
    applying: Duration,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let options = Options::parse();
    let server: PgConnectOptions = std::env::var("PENSTOCK_TEST_POSTGRES")
        .expect("PENSTOCK_TEST_POSTGRES must name a PostgreSQL server")
        .parse()
        .unwrap();
    let mut admin = server.connect().await.unwrap();
    for &connections in &options.connections {
        let name = format!("penstock_bench_{}", std::process::id());
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        measure(&options, connections, &server.clone().database(&name)).await;
        drop_database(&mut admin, &name).await;
    }
}

async fn drop_database(admin: &mut PgConnection, name: &str) {
    admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
}

async fn measure(options: &Options, connections: u32, server: &PgConnectOptions) {
    let store = PostgresStoreOptions::new(server.to_url_lossy().to_string());
    migrate(&store).await.unwrap();
    let store = PostgresStore::open(store).await.unwrap();
    let work: Vec<Vec<_>> = (0..connections)
        .map(|lane| {
            (0..options.batches)
                .map(|number| batch(lane, u64::from(number), u64::from(options.items)))
                .collect()
        })
        .collect();
    let started = Instant::now();
    let lanes: Vec<_> =
        work.into_iter().map(|batches| tokio::spawn(run(store.clone(), batches))).collect();
    let mut taken = Taken::default();
    for lane in lanes {
        let lane = lane.await.unwrap();
        taken.loading += lane.loading;
        taken.applying += lane.applying;
    }
    let elapsed = started.elapsed();
    let plans = f64::from(options.batches) * f64::from(connections);
    let each = |total: Duration| total.as_secs_f64() * 1_000.0 / plans;
    println!(
        "{connections} connection(s): {:.0} items/s; load {:.1} ms, apply {:.1} ms a plan of {} items",
        plans * f64::from(options.items) / elapsed.as_secs_f64(),
        each(taken.loading),
        each(taken.applying),
        options.items,
    );
    store.close().await;
}

async fn run(store: PostgresStore, batches: Vec<(Wanted, Plan)>) -> Taken {
    let mut taken = Taken::default();
    for (wanted, plan) in &batches {
        let started = Instant::now();
        store.load(wanted).await.unwrap();
        let loaded = Instant::now();
        assert_eq!(store.apply(plan).await.unwrap(), Applied::Done);
        taken.loading += loaded - started;
        taken.applying += loaded.elapsed();
    }
    taken
}

/// New accounts whose keys are in no order, as clients choose them; the plan's rows are sorted.
fn batch(lane: u32, number: u64, items: u64) -> (Wanted, Plan) {
    let log = LogPartition { generation: Generation(1), partition: Partition(lane) };
    let (from, to) = (Offset(number * items), Offset((number + 1) * items));
    let mut plan = Plan {
        frontiers: vec![FrontierMove { log, expected: (number > 0).then_some(from), next: to }],
        ..Plan::default()
    };
    for offset in from.0..to.0 {
        let account = Arc::new(account(u64::from(lane) << 40 | offset));
        let (key, version) = (account.key(), log.at(Offset(offset)));
        let fingerprint = Fingerprint::of(&account);
        let event_id = EventId::of(&account.communication_number, &fingerprint, Verdict::Accepted);
        plan.claims.push(Claim {
            communication: account.communication(),
            fingerprint,
            event_id,
            coordinates: version,
        });
        plan.accounts.push(AccountWrite { key, expected: None, account, version });
    }
    plan.claims.sort_by(|a, b| a.communication.number.cmp(&b.communication.number));
    plan.accounts.sort_by(|a, b| a.key.cmp(&b.key));
    let wanted = Wanted {
        numbers: plan.claims.iter().map(|claim| claim.communication.number.clone()).collect(),
        accounts: plan.accounts.iter().map(|write| write.key.clone()).collect(),
        ranges: vec![OffsetRange { log, from, to: from }],
    };
    (wanted, plan)
}

fn account(id: u64) -> Account {
    let scattered = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let account = json!({
        "communicationNumber": format!("{scattered:016x}-{id}"),
        "requester": "core-banking",
        "businessUnit": "LT",
        "businessEntityExtId": format!("customer-{}", id / 3),
        "accountExtId": format!("{:016x}", scattered.rotate_left(32)),
        "accountNumber": "LI9208800274335945522",
        "accountStatus": "ACTIVE",
        "accountType": "CURRENT",
        "accountPurpose": "salary and household payments",
        "bankTitle": "A Bank of Some Name AG",
        "bic": "AABBCC22XXX",
        "currencyCode": "CHF",
        "openingDate": "2023-09-05T10:07:34.605+02:00",
    });
    Account::parse(&account.to_string()).unwrap()
}
