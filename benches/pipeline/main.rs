//! The production pair under load: `penstock intake` and `penstock worker` as processes over one real
//! Apache Kafka and one real PostgreSQL, which are started for it, beside floors measured in the same
//! run: the Kafka client alone with the same records, and the store's statements alone with the same
//! rows.
//!
//! ```text
//! cargo bench --bench pipeline --features production-tests
//! cargo bench --bench pipeline --features production-tests -- --quick
//! cargo bench --bench pipeline --features production-tests -- --backlog 5000000
//! ```
//!
//! The result is printed and written to `target/pipeline.json`. Everything shares the machine; with
//! other work on it no figure means much, the ratios more than the rates.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to tell")]

mod bare_apply;
mod bare_producer;
mod figures;
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod installation;
mod meter;
#[path = "../../tests/support/pair.rs"]
mod pair;
mod phases;
mod report;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod topic;

use std::path::Path;

use clap::Parser;
use penstock::store::postgres::{PostgresStoreOptions, migrate};
use sqlx::ConnectOptions;

use figures::{Applied, Drain, Figures, Produced};
use installation::Installation;
use report::Result;
use servers::Servers;
use support::run::Run;
use support::{say, write_result};
use topic::Topic;

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    run: Run,
    /// Items at the door, in batches of 1,000 and again of 100, and of the whole way [default: 200000, or
    /// 100000 with --quick].
    #[arg(long)]
    items: Option<u64>,
    /// Also drains a backlog of so many items, for the worker's memory: 5000000 takes minutes and 10 GB
    /// of disk.
    #[arg(long, value_name = "ITEMS")]
    backlog: Option<u64>,
    /// Connections of the load that sends batches of 1,000.
    #[arg(long, default_value_t = 8)]
    connections_1000: u64,
    /// Connections of the load that sends batches of 100.
    #[arg(long, default_value_t = 32)]
    connections_100: u64,
    /// First port of the servers, which take three.
    #[arg(long, default_value_t = 29_192)]
    port: u16,
}

/// How much is sent.
#[derive(Clone, Copy)]
struct Sizes {
    /// Items at the door, in batches of 1,000 and again of 100, and of the whole way.
    items: u64,
    /// Records that warm the broker up: its rate rises for so long.
    warm_up: u64,
    /// How long half of the rate is kept up.
    half_rate_seconds: f64,
}

impl Sizes {
    fn of(args: &Args) -> Self {
        let (items, half_rate_seconds) = if args.run.quick { (100_000, 5.0) } else { (200_000, 8.0) };
        let items = args.items.unwrap_or(items);
        Self { items, warm_up: items * 15, half_rate_seconds }
    }
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let sizes = Sizes::of(&args);
    let folder = args.run.folder("pipeline");
    let bench = Bench {
        servers: Servers::start(folder.path(), args.port),
        folder: folder.path(),
        args: &args,
        sizes,
    };
    say("warming up");
    bench.warm_up().await;
    let mut repeats = Vec::new();
    for number in 1..=args.run.repeats() {
        repeats.push(bench.repeat(number).await);
        say(&report::repeat(number, &repeats[number - 1]));
    }
    let backlog = match args.backlog {
        Some(items) => Some(bench.backlog(items).await),
        None => None,
    };
    let result = Result::new(repeats, backlog);
    say(&result.tables());
    write_result("pipeline", &result);
    say("also written to target/pipeline.json");
}

/// A run.
struct Bench<'a> {
    // Before the folder: it is stopped first.
    servers: Servers,
    folder: &'a Path,
    args: &'a Args,
    sizes: Sizes,
}

impl Bench<'_> {
    /// The broker compiles itself while it works, and is several times faster after that.
    async fn warm_up(&self) {
        let installation = Installation::create(&self.servers, self.folder, "warmup").await;
        let items = self.sizes.items / 4;
        let door = self.door_1000(&installation, items);
        let records = installation.topic("accounts.submitted").read();
        let topic = Topic::create(self.servers.brokers(), "warmup.bare").await;
        let mut rates = vec![door.items_per_second];
        for _ in 0..self.sizes.warm_up / items {
            rates.push(bare_producer::run(&self.servers, &topic, &records).items_per_second);
        }
        say(&report::warm_up(&rates));
        let (worker, _) = phases::drain(&self.servers, &installation, items);
        let intake = installation.intake();
        let connections = self.args.connections_100;
        phases::end_to_end(&self.servers, [&intake, &worker], self.sizes.items, connections, None);
        intake.stop();
        worker.stop();
        installation.remove(&self.servers).await;
    }

    async fn repeat(&self, number: usize) -> Figures {
        let (servers, sizes) = (&self.servers, self.sizes);
        let name = format!("repeat{number}");
        let installation = Installation::create(servers, self.folder, &name).await;
        let door_1000 = self.door_1000(&installation, sizes.items);
        let door_100 = phases::door(servers, &installation, sizes.items, 100, self.args.connections_100);
        let bare_producer = self.bare_producer(&installation, &name).await;
        servers.settle().await;
        let (worker, drain) = phases::drain(servers, &installation, sizes.items * 2);
        let bare_apply = Applied {
            on_one_connection: self.bare_apply(&installation, &name, 1).await,
            on_two_connections: self.bare_apply(&installation, &name, 2).await,
        };
        servers.settle().await;
        let intake = installation.intake();
        let roles = [&intake, &worker];
        let whole =
            |items, rate| phases::end_to_end(servers, roles, items, self.args.connections_100, rate);
        let end_to_end = whole(sizes.items, None);
        let half_rate = end_to_end.items_per_second / 2.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of items")]
        let half_rate = whole((half_rate * sizes.half_rate_seconds) as u64, Some(half_rate));
        intake.stop();
        worker.stop();
        installation.remove(servers).await;
        Figures { door_1000, door_100, bare_producer, drain, bare_apply, end_to_end, half_rate }
    }

    fn door_1000(&self, installation: &Installation, items: u64) -> figures::Door {
        phases::door(&self.servers, installation, items, 1_000, self.args.connections_1000)
    }

    /// The client alone with what the intake has left.
    async fn bare_producer(&self, installation: &Installation, name: &str) -> Produced {
        let records = installation.topic("accounts.submitted").read();
        let topic = Topic::create(self.servers.brokers(), &format!("{name}.bare")).await;
        bare_producer::run(&self.servers, &topic, &records)
    }

    /// The statements alone with what the worker has left.
    async fn bare_apply(&self, installation: &Installation, name: &str, connections: u32) -> f64 {
        let name = format!("{name}_bare");
        let database = self.servers.create_database(&name).await;
        migrate(&PostgresStoreOptions::new(database.to_url_lossy().to_string())).await.unwrap();
        let work = bare_apply::prepare(installation.database(), &database, connections).await;
        self.servers.settle().await;
        let rate = bare_apply::run(work).await;
        self.servers.drop_database(&name).await;
        rate
    }

    /// Drains a long backlog.
    async fn backlog(&self, items: u64) -> Drain {
        let installation = Installation::create(&self.servers, self.folder, "backlog").await;
        self.door_1000(&installation, items);
        self.servers.settle().await;
        let (worker, drain) = phases::drain(&self.servers, &installation, items);
        worker.stop();
        installation.remove(&self.servers).await;
        drain
    }
}
