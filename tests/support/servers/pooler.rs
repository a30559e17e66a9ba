//! A real `PgBouncer` in transaction mode between a test and the server of `PENSTOCK_TEST_POSTGRES`.

use std::ffi::OsStr;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::named_by;

/// Longest wait for it to listen; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// A pooler that has few sessions for many clients, so that nobody has one for itself. It goes with this.
pub struct Pooler {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Pooler {
    /// Starts one that has so many sessions of each database.
    pub fn start(sessions: u32) -> Self {
        let program = installed();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let directory = tempfile::tempdir().unwrap();
            let log = directory.path().join("pgbouncer.log");
            let port = free_port();
            let config = configure(directory.path(), &log, port, sessions);
            let process = command(&program, &config).spawn().unwrap();
            let mut pooler = Self { process, port, _directory: directory };
            if pooler.answers_before(deadline) {
                return pooler;
            }
            // Somebody else may have taken the port.
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < deadline, "PgBouncer does not start: {said}");
        }
    }

    fn answers_before(&mut self, deadline: Instant) -> bool {
        while Instant::now() < deadline && self.process.try_wait().unwrap().is_none() {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    /// The URL of a database behind it. It logs in to the server itself.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://penstock@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A port nobody listens on now.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn configure(directory: &Path, log: &Path, port: u16, sessions: u32) -> PathBuf {
    let server = url::Url::parse(&named_by("PENSTOCK_TEST_POSTGRES", "postgres.sh")).unwrap();
    let (host, server_port) = (server.host_str().unwrap(), server.port().unwrap_or(5432));
    let (user, password) = (server.username(), server.password().unwrap_or_default());
    let settings = format!(
        "[databases]\n\
         * = host={host} port={server_port} user={user} password='{password}'\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         default_pool_size = {sessions}\n\
         max_client_conn = 200\n\
         server_lifetime = 600\n\
         logfile = {}\n",
        log.display()
    );
    let path = directory.join("pgbouncer.ini");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(settings.as_bytes()).unwrap();
    for (path, mode) in [(directory, 0o777), (&path, 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    path
}

/// Ends it when nobody holds the other end of stdin any more, however that came.
const UNTIL_LET_GO: &str = r#"exec 3<&0
"$@" & pooler=$!
(read -r _ <&3; kill "$pooler") &
wait "$pooler""#;

/// It refuses to run as root.
fn command(program: &Path, config: &Path) -> Command {
    let mut words: Vec<&OsStr> = if is_root() {
        ["runuser", "-u", "postgres", "--"].map(OsStr::new).to_vec()
    } else {
        Vec::new()
    };
    words.extend(["sh", "-c", UNTIL_LET_GO, "sh"].map(OsStr::new));
    words.extend([program.as_os_str(), OsStr::new("-q"), config.as_os_str()]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Where it is. When it is missing, root gets the distribution's package.
fn installed() -> PathBuf {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        if found().is_none() && is_root() {
            let install = "apt-get update -q && \
                 DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends pgbouncer";
            let _ = Command::new("sh").args(["-c", install]).stdout(Stdio::null()).status();
        }
    });
    found().expect(
        "PgBouncer is missing: install the distribution's package pgbouncer; these tests are about it",
    )
}

fn found() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    directories.map(|directory| directory.join("pgbouncer")).find(|program| program.is_file())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
