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
        let standby_url = script(directory.path(), "standby");
        Self { directory, url, standby_url }
    }

    /// The store, with whole tables read at `replica_url`.
    fn options(&self, replica_url: &str) -> PostgresStoreOptions {
        let replica_url = Some(replica_url.to_owned().into());
        PostgresStoreOptions { replica_url, ..PostgresStoreOptions::new(self.url.clone()) }
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

fn script(directory: &Path, command: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/postgres.sh");
    let output = Command::new(script)
        .arg(command)
        .env("PENSTOCK_POSTGRES_DIR", directory)
        .env_remove("PENSTOCK_POSTGRES_PORT")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_begins_once_the_standby_has_what_was_committed_before() {
    let followed = Followed::start();
    let options = followed.options(&followed.standby_url);
    migrate(&options).await.unwrap();
    let store = PostgresStore::open(options.clone()).await.unwrap();
    let mut standby = followed.standby().await;
    assert!(store.scan_ledger(ScanPlace::default()).await.unwrap().rows.is_empty());

    standby.execute("SELECT pg_wal_replay_pause()").await.unwrap();
    let claims = vec![claim(&account("n-1", "a-1"), at(0, 0))];
    let applied = store.apply(&Plan { claims, ..Plan::default() }).await.unwrap();
    assert_eq!(applied, Applied::Done);
    let scanning = store.clone();
    let mut scan = tokio::spawn(async move { scanning.scan_ledger(ScanPlace::default()).await });
    assert!(tokio::time::timeout(AT_ONCE, &mut scan).await.is_err(), "the standby lacks the row");
    let rest = tokio::time::timeout(PATIENCE, store.scan_ledger(ScanPlace::new(1))).await;
    assert!(rest.unwrap().unwrap().rows.is_empty(), "a scan that has begun goes on where it stands");
    let found = examine(&options).await.into_iter().find(|finding| finding.subject.contains("replica"));
    assert!(found.is_some_and(|it| it.verdict == Verdict::Fine && !it.told.contains("lacks 0 bytes")));

    standby.execute("SELECT pg_wal_replay_resume()").await.unwrap();
    let page = tokio::time::timeout(PATIENCE, scan).await.unwrap().unwrap().unwrap();
    assert_eq!(page.rows.len(), 1);
    store.close().await;
    what_is_no_standby_of_the_server_is_not_read(&followed).await;
}

/// Here for the server that is there already.
async fn what_is_no_standby_of_the_server_is_not_read(followed: &Followed) {
    let rig = PostgresStoreRig::default();
    let other = rig.options_of_empty_database().await.url;
    for (replica_url, told) in
        [(followed.url.as_str(), "is no standby"), (other.expose_secret(), "of another server")]
    {
        let options = followed.options(replica_url);
        let store = PostgresStore::open(options.clone()).await.unwrap();
        let refused = store.scan_ledger(ScanPlace::default()).await.unwrap_err();
        let causes = with_causes(&refused).to_string();
        assert!(causes.contains(told), "{causes}");
        let findings = examine(&options).await;
        let wrong = findings.iter().find(|finding| finding.verdict == Verdict::Wrong).unwrap();
        assert!(wrong.told.contains(told), "{wrong:?}");
        store.close().await;
    }
}
