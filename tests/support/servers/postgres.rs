//! A database of its own on the server of `PENSTOCK_TEST_POSTGRES`.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use super::{clean_up, named_by};

/// An empty database, dropped with this.
pub struct Database {
    server: PgConnectOptions,
    name: String,
}

impl Database {
    /// Creates one.
    pub async fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server: PgConnectOptions =
            named_by("PENSTOCK_TEST_POSTGRES", "postgres.sh").parse().unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("penstock_test_{}_{number}", std::process::id());
        let mut session = server.connect().await.unwrap();
        session.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        session.close().await.unwrap();
        Self { server, name }
    }

    /// How a test itself connects.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name).application_name("test")
    }

    /// A session of the test's own.
    pub async fn session(&self) -> PgConnection {
        self.connect_options().connect().await.unwrap()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL for penstock.
    pub fn url(&self) -> String {
        self.connect_options().to_url_lossy().to_string()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let server = self.server.clone();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        clean_up(move || async move {
            if let Ok(mut session) = server.connect().await {
                let _ = session.execute(AssertSqlSafe(drop)).await;
            }
        });
    }
}
