//! Where the server is, as whom to connect, and what a transaction may take.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use super::address;
use super::connections::timed_out;
use super::schema::PostgresOpenError;

/// What may be set of the store.
#[derive(Clone, Debug)]
pub struct PostgresStoreOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`, as libpq reads it. Without `sslmode`
    /// the server's certificate is verified fully, unless the server is on this machine.
    pub url: SecretString,
    /// A standby of that server, on which whole tables are read. All that is set here holds there too.
    pub replica_url: Option<SecretString>,
    /// File with the password, read anew for every connection. Takes the place of the URL's.
    pub password_file: Option<PathBuf>,
    /// Certificates of authorities that are trusted besides the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Sessions at a time. Each lane needs one; look-ups and validations share what is left.
    pub max_connections: usize,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How long the server may work on one statement.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How long a transaction may be idle before the server ends it, as when this process is paused.
    pub idle_timeout: Duration,
    /// Prepared statements kept per session; 0 behind a pooler that hands out sessions by transaction
    /// and does not follow prepared statements.
    pub statement_cache: usize,
}

impl PostgresStoreOptions {
    /// The defaults, for the server of a URL.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            replica_url: None,
            password_file: None,
            ca_file: None,
            max_connections: 8,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            statement_cache: 100,
        }
    }

    /// How its replica is reached, if it has one.
    pub(super) fn replica(&self) -> Option<Self> {
        let url = self.replica_url.clone()?;
        Some(Self { url, replica_url: None, ..self.clone() })
    }

    /// Checks what can be checked without the server.
    pub(super) async fn check(&self) -> Result<(), PostgresOpenError> {
        let files = [
            ("store.postgres.ca_file", &self.ca_file),
            ("store.postgres.password_file", &self.password_file),
        ];
        for (setting, path) in files {
            let Some(path) = path else { continue };
            if let Err(cause) = tokio::fs::read(path).await {
                return Err(PostgresOpenError::File { setting, path: path.clone(), cause });
            }
        }
        if let Some(replica) = self.replica() {
            let refused = |cause| PostgresOpenError::Replica { cause: Box::new(cause) };
            replica.connect_options().map_err(refused)?;
        }
        self.connect_options().map(drop)
    }

    /// Bound of one transaction. The server's own limits end most earlier; this side ends it too, as the
    /// network may swallow what either says.
    pub(super) fn transaction_timeout(&self) -> Duration {
        self.statement_timeout * 2 + self.connect_timeout
    }

    /// Sets the server's limits for the current transaction alone. A server before 17 knows no bound of the
    /// whole transaction.
    pub(super) fn transaction_limits(&self, server_bounds_transactions: bool) -> String {
        let whole = if server_bounds_transactions {
            format!("; SET LOCAL transaction_timeout = {}", self.transaction_timeout().as_millis())
        } else {
            String::new()
        };
        format!(
            "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}{whole}",
            self.statement_timeout.as_millis(),
            self.lock_timeout.as_millis(),
            self.idle_timeout.as_millis(),
        )
    }

    /// A new session.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut options =
            self.connect_options().map_err(|error| sqlx::Error::Configuration(error.into()))?;
        if let Some(path) = &self.password_file {
            // A missing file is a secret that is being replaced, or a mistake; the log tells which.
            let password = tokio::fs::read_to_string(path).await?;
            options = options.password(password.trim_end_matches(['\r', '\n']));
        }
        let connecting = tokio::time::timeout(self.connect_timeout, options.connect());
        connecting.await.unwrap_or_else(|_| Err(timed_out("connecting took too long")))
    }

    fn connect_options(&self) -> Result<PgConnectOptions, PostgresOpenError> {
        let url = self.url.expose_secret();
        let checked = address::check(url)?;
        let mut options = PgConnectOptions::from_str(url).map_err(|_| PostgresOpenError::BadUrl)?;
        if !checked.names_sslmode && !is_local(&options) {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        if let Some(path) = &self.ca_file {
            options = options.ssl_root_cert(path);
        }
        if options.get_application_name().is_none() {
            options = options.application_name("penstock");
        }
        // Start-up parameters a pooler may refuse are left out: no float is ever sent.
        Ok(options
            .extra_float_digits(None)
            .statement_cache_capacity(self.statement_cache)
            .disable_statement_logging())
    }
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> PgSslMode {
        PostgresStoreOptions::new(url).connect_options().unwrap().get_ssl_mode()
    }

    #[test]
    fn another_machine_is_verified_fully_unless_the_url_says_otherwise() {
        assert!(matches!(mode("postgres://db.bank.example/penstock"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://10.0.0.7/penstock?user=u"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://db/penstock?sslmode=require"), PgSslMode::Require));
        assert!(matches!(mode("postgres://db/penstock?sslmode=disable"), PgSslMode::Disable));
    }

    #[test]
    fn this_machine_needs_no_certificate() {
        for url in ["postgres://localhost/p", "postgres://127.0.0.1:5433/p", "postgres://[::1]/p"] {
            assert!(matches!(mode(url), PgSslMode::Prefer), "{url}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_being_shown() {
        let options = PostgresStoreOptions::new("postgres//user:secret@db");
        let error = options.connect_options().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn options_hide_the_url() {
        let options = PostgresStoreOptions::new("postgres://user:secret@db/penstock");
        assert!(!format!("{options:?}").contains("secret"));
    }
}
