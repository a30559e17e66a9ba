//! One database file: checked before anything is written to it, then opened for one writer and some
//! readers.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrate;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlitePool};

use crate::migrations::{self, MigrationFile};

use super::error::{FailureClass, OpenError, classify};
use super::mark::{self, sync_directory_of};
use super::writing::checkpoint;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const APPLICATION_ID_AT: usize = 68;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How large the write-ahead log may stay.
pub(super) const WAL_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// What tells the files of one port from all others.
#[derive(Debug)]
pub(crate) struct FileKind {
    /// What messages call it.
    pub(crate) name: &'static str,
    /// Written into the file's header; see `PRAGMA application_id`.
    pub(crate) application_id: i32,
    /// Its schema.
    pub(crate) migrations: &'static [MigrationFile],
    /// Bytes a page has; fixed when the file is created.
    pub(crate) page_bytes: u32,
    /// Memory for pages of the writing connection, in KiB.
    pub(crate) cache_kib: u32,
    /// Pages the write-ahead log collects before they move to the file.
    pub(crate) checkpoint_pages: u32,
}

/// Who else has a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// Nobody: its directory is this process's.
    Alone,
    /// The process that has its directory, which sees to the write-ahead log.
    Beside,
}

/// A file that has passed every check and has the current schema.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    path: PathBuf,
    company: Company,
    writer: SqliteConnectOptions,
    reader: SqliteConnectOptions,
}

impl Database {
    /// Checks the file, or creates it when it is missing or empty, and brings its schema up to date.
    /// `max_bytes` bounds how far it may grow.
    pub(crate) async fn open(
        path: &Path,
        kind: &FileKind,
        max_bytes: Option<u64>,
    ) -> Result<Self, OpenError> {
        match inspect(path, kind)? {
            Found::Nothing => create(path, kind).await?,
            Found::Ours { bytes } => {
                tell_what_is_odd(path, kind);
                check_and_migrate(path, kind, bytes).await?;
            }
        }
        Ok(Self::of(path, kind, max_bytes, Company::Alone))
    }

    /// Opens the file beside the process that has the directory, for a few short statements. Creates
    /// and migrates nothing, and looks at the schema's version only: that process has checked the rest.
    pub(crate) async fn open_beside(path: &Path, kind: &FileKind) -> Result<Self, OpenError> {
        if let Found::Nothing = inspect(path, kind)? {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let database = |cause| database_error(path, "reading its version", cause);
        let mut connection = options(path).read_only(true).connect().await.map_err(database)?;
        let versions = versions(&mut connection, path, kind).await;
        connection.close().await.map_err(database)?;
        let Versions { found, known } = versions?;
        if found < known {
            return Err(OpenError::Older { path: path.to_owned(), found, known });
        }
        Ok(Self::of(path, kind, None, Company::Beside))
    }

    fn of(path: &Path, kind: &FileKind, max_bytes: Option<u64>, company: Company) -> Self {
        let mut writer = options(path)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", format!("-{}", kind.cache_kib))
            .pragma("wal_autocheckpoint", kind.checkpoint_pages.to_string())
            .pragma("journal_size_limit", WAL_LIMIT_BYTES.to_string());
        if let Some(max_bytes) = max_bytes {
            writer =
                writer.pragma("max_page_count", (max_bytes / u64::from(kind.page_bytes)).to_string());
        }
        Self { path: path.to_owned(), company, writer, reader: options(path).read_only(true) }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Who else has it.
    pub(super) fn company(&self) -> Company {
        self.company
    }

    /// How large the write-ahead log is.
    pub(super) fn wal_bytes(&self) -> u64 {
        wal_bytes(&self.path)
    }

    /// A connection that writes. There is to be one at a time.
    pub(crate) async fn connect_writer(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.writer.connect().await
    }

    /// Connections that only read.
    pub(crate) fn readers(&self, connections: u32) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A ping tells nothing about a local file.
            .test_before_acquire(false)
            .connect_lazy_with(self.reader.clone())
    }

    /// Wraps an error of a statement that belongs to opening.
    pub(crate) fn open_error(&self, action: &'static str, cause: sqlx::Error) -> OpenError {
        database_error(&self.path, action, cause)
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// What stands under the file's name.
enum Found {
    Nothing,
    Ours { bytes: u64 },
}

/// Looks at the file without `SQLite`, which might write to it.
fn inspect(path: &Path, kind: &FileKind) -> Result<Found, OpenError> {
    let io_error = |cause| OpenError::Io { path: path.to_owned(), cause };
    let bytes = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err(foreign(path, kind)),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => 0,
        Err(cause) => return Err(io_error(cause)),
    };
    let damaged =
        |reason: &str| Err(OpenError::Damaged { path: path.to_owned(), reason: reason.to_owned() });
    let wal_bytes = wal_bytes(path);
    if bytes == 0 {
        return match wal_bytes {
            0 => Ok(Found::Nothing),
            _ => damaged("it is gone, but its -wal file is not"),
        };
    }
    let mut header = [0; HEADER_BYTES];
    match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        // SQLite takes what is missing of the last page for zeros. With a write-ahead log that is no
        // damage: the page was on its way from there when the process ended.
        Ok(()) if is_ours(&header, kind) && wal_bytes == 0 && bytes % page_bytes(&header) != 0 => {
            damaged("its end is missing")
        }
        Ok(()) if is_ours(&header, kind) => Ok(Found::Ours { bytes }),
        Ok(()) => Err(foreign(path, kind)),
        Err(short) if short.kind() == io::ErrorKind::UnexpectedEof => Err(foreign(path, kind)),
        Err(cause) => Err(io_error(cause)),
    }
}

/// Tells what is no reason to refuse the file, and that an operator should know.
fn tell_what_is_odd(path: &Path, kind: &FileKind) {
    if mark::lacks_wal(path) {
        tracing::warn!(
            file = %path.display(),
            "the {} file was not closed, and its -wal file is gone: what was committed last is lost, unless \
             another program, such as sqlite3, has opened and closed the file since. If the -wal file is \
             elsewhere, stop, put it back, and start again",
            kind.name
        );
    }
    if others_may_read(path) {
        tracing::warn!(
            file = %path.display(),
            "other users of this machine may read the {} file, accounts and all; chmod 600 takes that away",
            kind.name
        );
    }
}

fn is_ours(header: &[u8; HEADER_BYTES], kind: &FileKind) -> bool {
    let id = &header[APPLICATION_ID_AT..APPLICATION_ID_AT + 4];
    header.starts_with(MAGIC) && id == kind.application_id.to_be_bytes()
}

/// The header's page size; 1 stands for 65536, which does not fit its two bytes.
fn page_bytes(header: &[u8; HEADER_BYTES]) -> u64 {
    match u16::from_be_bytes([header[16], header[17]]) {
        0 | 1 => 65_536,
        bytes => u64::from(bytes),
    }
}

fn foreign(path: &Path, kind: &FileKind) -> OpenError {
    OpenError::Foreign { path: path.to_owned(), kind: kind.name }
}

#[cfg(unix)]
fn keep_to_this_user(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn keep_to_this_user(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether the file's mode lets others read it. Its directory may forbid that still.
#[cfg(unix)]
fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.permissions().mode());
    let directory = path.parent().filter(|directory| *directory != Path::new(""));
    mode(path) & 0o044 != 0 && mode(directory.unwrap_or(Path::new("."))) & 0o011 != 0
}

#[cfg(not(unix))]
fn others_may_read(_: &Path) -> bool {
    false
}

/// The file's name with something added.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether there is a write-ahead log, whatever is in it.
pub(super) fn has_wal(path: &Path) -> bool {
    sibling(path, "-wal").exists()
}

fn wal_bytes(path: &Path) -> u64 {
    std::fs::metadata(sibling(path, "-wal")).map_or(0, |found| found.len())
}

/// Makes the file under another name, complete with its schema, and renames it.
async fn create(path: &Path, kind: &FileKind) -> Result<(), OpenError> {
    let io_error = |cause| OpenError::Io { path: path.to_owned(), cause };
    let draft = sibling(path, ".new");
    for leftover in
        [draft.clone(), sibling(&draft, "-journal"), sibling(&draft, "-wal"), sibling(&draft, "-shm")]
    {
        match std::fs::remove_file(leftover) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(io_error(cause)),
            _ => {}
        }
    }
    let database = |cause| database_error(path, "creating it", cause);
    let mut connection = options(&draft)
        .create_if_missing(true)
        .page_size(kind.page_bytes)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
        .map_err(database)?;
    sqlx::query(AssertSqlSafe(format!("PRAGMA application_id = {}", kind.application_id)))
        .execute(&mut connection)
        .await
        .map_err(database)?;
    migrate(&mut connection, path, kind).await?;
    checkpoint(&mut connection).await.map_err(database)?;
    connection.close().await.map_err(database)?;
    // Those beside it take after it.
    keep_to_this_user(&draft).map_err(io_error)?;
    std::fs::rename(&draft, path).and_then(|()| sync_directory_of(path)).map_err(io_error)?;
    tracing::info!(file = %path.display(), "created the {} file", kind.name);
    Ok(())
}

async fn check_and_migrate(path: &Path, kind: &FileKind, bytes: u64) -> Result<(), OpenError> {
    tracing::info!(file = %path.display(), bytes, "checking the {} file", kind.name);
    // Read-only, so that an unsound file stays as it is.
    let database = |cause| database_error(path, "checking it", cause);
    let mut connection = options(path).read_only(true).connect().await.map_err(database)?;
    let pending = check(&mut connection, path, kind).await;
    connection.close().await.map_err(database)?;
    if pending? {
        let database = |cause| database_error(path, "opening it to write", cause);
        let writer = options(path).synchronous(SqliteSynchronous::Full);
        let mut connection = writer.connect().await.map_err(database)?;
        migrate(&mut connection, path, kind).await?;
        connection.close().await.map_err(database)?;
    }
    Ok(())
}

/// Tells whether migrations are pending in a sound file.
async fn check(
    connection: &mut SqliteConnection,
    path: &Path,
    kind: &FileKind,
) -> Result<bool, OpenError> {
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut *connection)
        .await
        .map_err(|cause| database_error(path, "checking it", cause))?;
    if verdict != "ok" {
        return Err(OpenError::Damaged { path: path.to_owned(), reason: verdict });
    }
    let Versions { found, known } = versions(connection, path, kind).await?;
    Ok(found < known)
}

/// Versions of a schema: the file's, and the last one this release knows.
struct Versions {
    found: i64,
    known: i64,
}

/// A file of a later release is an error.
async fn versions(
    connection: &mut SqliteConnection,
    path: &Path,
    kind: &FileKind,
) -> Result<Versions, OpenError> {
    let applied = connection
        .list_applied_migrations(migrations::TABLE)
        .await
        .map_err(|cause| OpenError::Migration { path: path.to_owned(), cause })?;
    let found = applied.iter().map(|migration| migration.version).max().unwrap_or(0);
    let known = migrations::newest(kind.migrations);
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    Ok(Versions { found, known })
}

async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    kind: &FileKind,
) -> Result<(), OpenError> {
    migrations::migrator(kind.migrations)
        // `run` itself makes the future of every caller not `Send`.
        .run_direct(None, connection, false)
        .await
        .map_err(|cause| OpenError::Migration { path: path.to_owned(), cause })
}

fn database_error(path: &Path, action: &'static str, cause: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match classify(&cause) {
        FailureClass::Fatal if cause.as_database_error().is_some() => {
            OpenError::Damaged { path, reason: cause.to_string() }
        }
        FailureClass::Fatal | FailureClass::Row | FailureClass::Transient => {
            OpenError::Database { path, action, cause }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::SQLITE_QUEUE;

    const KIND: FileKind = FileKind {
        name: "test",
        application_id: 7,
        migrations: SQLITE_QUEUE,
        page_bytes: 4096,
        cache_kib: 64,
        checkpoint_pages: 100,
    };
    /// `PRAGMA synchronous`: every commit waits for the disk.
    const FULL: i64 = 2;

    async fn synchronous(mut connection: SqliteConnection) -> i64 {
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await.unwrap()
    }

    /// What a process that is killed leaves behind says nothing about it: the kernel still has its pages.
    #[tokio::test]
    async fn a_commit_waits_for_the_disk_whoever_opens_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let alone = Database::open(&path, &KIND, None).await.unwrap();
        let again = Database::open(&path, &KIND, Some(1 << 30)).await.unwrap();
        let beside = Database::open_beside(&path, &KIND).await.unwrap();
        for database in [alone, again, beside] {
            assert_eq!(synchronous(database.connect_writer().await.unwrap()).await, FULL);
        }
    }

    #[tokio::test]
    async fn who_only_reads_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("test.db"), &KIND, None).await.unwrap();
        let readers = database.readers(1);
        let written = sqlx::query("CREATE TABLE other (id INTEGER)").execute(&readers).await;
        assert!(written.unwrap_err().to_string().contains("readonly"));
    }
}
