//! Scans on a standby of the server.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use penstock::account::Plan;
use penstock::store::postgres::{PostgresStore, PostgresStoreOptions, examine, migrate};
use penstock::store::{Applied, ScanPlace, Scans, Store};
use penstock::telemetry::{Verdict, with_causes};
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Executor};
use tempfile::TempDir;

use super::accounts::{account, at, claim};
use super::rig::PostgresStoreRig;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a scan of one row takes that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A server of the test's own, with a standby.
struct Followed {
    directory: TempDir,
    url: String,
    standby_url: String,
}

impl Followed {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let url = script(directory.path(), "start");
        let mut followed = Self { directory, url, standby_url: String::new() };
        followed.standby_url = script(followed.directory.path(), "standby");
        followed
    }

    /// The store, with whole tables read at `replica_url`.
    fn options(&self, replica_url: &str) -> PostgresStoreOptions {
        let replica_url = Some(replica_url.to_owned().into());
        PostgresStoreOptions { replica_url, ..PostgresStoreOptions::new(self.url.clone()) }
    }

    /// Kills the standby and starts it again.
    fn restart_standby(&self) {
        let standby = self.directory.path().join("standby");
        script(&standby, "crash");
        let port = self.standby_url.parse::<PgConnectOptions>().unwrap().get_port().to_string();
        run(command(&standby, "start").env("PENSTOCK_POSTGRES_PORT", port));
    }

    async fn standby(&self) -> PgConnection {
        self.standby_url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        script(self.directory.path(), "stop");
    }
}

fn script(directory: &Path, action: &str) -> String {
    run(&mut command(directory, action))
}

fn command(directory: &Path, action: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/postgres.sh");
    let mut command = Command::new(script);
    command.arg(action).env("PENSTOCK_POSTGRES_DIR", directory).env_remove("PENSTOCK_POSTGRES_PORT");
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_begins_once_the_standby_has_what_was_committed_before() {
    let followed = Followed::start();
    let options = followed.options(&followed.standby_url);
    migrate(&options).await.unwrap();
    let store = PostgresStore::open(options.clone()).await.unwrap();
    let store = store.with_tables_on_standby().await.unwrap();
    let mut standby = followed.standby().await;
    assert!(store.scan_ledger(ScanPlace::default()).await.unwrap().rows.is_empty());

    standby.execute("SELECT pg_wal_replay_pause()").await.unwrap();
    let claims = vec![claim(&account("n-1", "a-1"), at(0, 0))];
    let applied = store.apply(&Plan { claims, ..Plan::default() }).await.unwrap();
    assert_eq!(applied, Applied::Done);
    let rest = tokio::time::timeout(PATIENCE, store.scan_ledger(ScanPlace::new(1))).await;
    assert!(rest.unwrap().unwrap().rows.is_empty(), "a scan that has begun goes on where it stands");
    let scanning = store.clone();
    let mut scan = tokio::spawn(async move { scanning.scan_ledger(ScanPlace::default()).await });
    assert!(tokio::time::timeout(AT_ONCE, &mut scan).await.is_err(), "the standby lacks the row");
    let found = examine(&options).await.into_iter().find(|finding| finding.subject.contains("replica"));
    assert!(found.is_some_and(|it| it.verdict == Verdict::Fine && !it.told.contains("lacks 0 bytes")));

    standby.execute("SELECT pg_wal_replay_resume()").await.unwrap();
    let page = tokio::time::timeout(PATIENCE, scan).await.unwrap().unwrap().unwrap();
    assert_eq!(page.rows.len(), 1);

    // One that is started anew is waited for, wherever it begins.
    followed.restart_standby();
    let page = store.scan_ledger(ScanPlace::default()).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    store.close().await;
    what_is_no_standby_of_the_server_is_not_read(&followed).await;
}

/// Here for the servers that are there already.
async fn what_is_no_standby_of_the_server_is_not_read(followed: &Followed) {
    let rig = PostgresStoreRig::default();
    let of_another_server = rig.options_of_empty_database().await.url;
    let mut server = followed.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    server.execute("CREATE DATABASE beside").await.unwrap();
    let of_another_database = followed.standby_url.replace("/postgres", "/beside");
    for (replica_url, told) in [
        (followed.url.as_str(), "is no standby"),
        (of_another_server.expose_secret(), "of another server"),
        (&of_another_database, "another database or schema"),
    ] {
        let options = followed.options(replica_url);
        let store = PostgresStore::open(options.clone()).await.unwrap();
        assert!(store.scan_ledger(ScanPlace::default()).await.is_ok(), "nobody asked for the standby");
        until_told(&store, told).await;
        let findings = examine(&options).await;
        let wrong = findings.iter().find(|finding| finding.verdict == Verdict::Wrong).unwrap();
        assert!(wrong.told.contains(told), "{wrong:?}");
        store.close().await;
    }
    let refused = PostgresStore::open(followed.options("postgres://db/p?target_session_attrs=standby"));
    let causes = with_causes(&refused.await.err().unwrap()).to_string();
    assert!(causes.contains("store.postgres.replica_url is refused"), "{causes}");
}

/// A standby follows a new database a moment later.
async fn until_told(store: &PostgresStore, told: &str) {
    let waiting = async {
        loop {
            let refused = store.clone().with_tables_on_standby().await.err().unwrap();
            let causes = with_causes(&refused).to_string();
            if causes.contains(told) {
                return;
            }
            assert!(causes.contains("3D000"), "{causes}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}
