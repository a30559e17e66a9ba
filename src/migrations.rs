//! The migrations that are part of the program, as they stand in `migrations/`: every file there, and no other.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// What a file begins with whose statements must not be in a transaction.
const NO_TRANSACTION: &str = "-- no-transaction";

/// The table in which a database notes what was carried out.
pub(crate) const TABLE: &str = "_sqlx_migrations";

/// One file of migrations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MigrationFile {
    /// Its place in the order of all.
    pub(crate) version: i64,
    /// Its name, which begins with the version, without the extension.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) sql: &'static str,
}

/// The files of a directory below `migrations/`, each as `version "name"`.
macro_rules! migrations {
    ($directory:literal: $($version:literal $name:literal),+ $(,)?) => {
        &[$($crate::migrations::MigrationFile {
            version: $version,
            name: $name,
            sql: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/migrations/", $directory, "/", $name, ".sql"
            )),
        }),+]
    };
}

/// The store on PostgreSQL.
pub(crate) const POSTGRES_STORE: &[MigrationFile] = migrations!("postgres/store":
    1 "0001_store",
    2 "0002_deliveries",
    3 "0003_callbacks",
    4 "0004_deliveries_state_since",
    5 "0005_deliveries_by_state",
    6 "0006_deliveries_exhausted",
    7 "0007_deliveries_ended",
    8 "0008_deliveries_by_state_since",
    9 "0009_deliveries_by_state",
    10 "0010_endpoints_known_since",
    11 "0011_replays",
    12 "0012_dead_letter_cases",
    13 "0013_operations",
);
/// The queue on SQLite.
pub(crate) const SQLITE_QUEUE: &[MigrationFile] = migrations!("sqlite/queue": 1 "0001_queue");
/// The store on SQLite.
pub(crate) const SQLITE_STORE: &[MigrationFile] = migrations!("sqlite/store":
    1 "0001_store",
    2 "0002_deliveries",
    3 "0003_callbacks",
    4 "0004_deliveries_state_since",
    5 "0005_endpoints_known_since",
    6 "0006_replays",
    7 "0007_dead_letter_cases",
    8 "0008_operations",
);

/// The newest version of these.
pub(crate) fn newest(files: &[MigrationFile]) -> i64 {
    files.iter().map(|file| file.version).max().unwrap_or(0)
}

/// What carries these out.
pub(crate) fn migrator(files: &[MigrationFile]) -> Migrator {
    let migration = |file: &MigrationFile| {
        let description =
            file.name.trim_start_matches(|char: char| char.is_ascii_digit() || char == '_');
        let description = description.replace('_', " ").into();
        let is_alone = file.sql.starts_with(NO_TRANSACTION);
        Migration::new(
            file.version,
            description,
            MigrationType::Simple,
            file.sql.into_sql_str(),
            is_alone,
        )
    };
    Migrator::with_migrations(files.iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_must_not_be_in_a_transaction_is_not() {
        for migration in migrator(POSTGRES_STORE).iter() {
            let is_concurrent = migration.sql.as_str().contains("CONCURRENTLY");
            assert_eq!(migration.no_tx, is_concurrent, "{}", migration.description);
        }
    }

    #[test]
    fn what_was_carried_out_is_noted_where_it_is_looked_for() {
        assert_eq!(migrator(SQLITE_STORE).table_name, TABLE);
    }

    #[test]
    fn every_file_is_part_of_the_program() {
        let all = [
            ("postgres/store", POSTGRES_STORE),
            ("sqlite/queue", SQLITE_QUEUE),
            ("sqlite/store", SQLITE_STORE),
        ];
        for (directory, files) in all {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(directory);
            let entries = std::fs::read_dir(path).unwrap();
            let mut found: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            found.sort();
            let listed: Vec<_> = files.iter().map(|file| format!("{}.sql", file.name)).collect();
            assert_eq!(listed, found, "{directory}");
            for file in files {
                assert!(file.name.starts_with(&format!("{:04}_", file.version)), "{file:?}");
            }
        }
    }
}
