//! How `SQLite`'s columns hold what every store's do.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::account::Timestamp;
use crate::store::decode::{StoredRow, unreadable};

impl StoredRow for SqliteRow {
    fn text(&self, column: &'static str) -> Result<&str, sqlx::Error> {
        self.try_get(column)
    }

    fn optional_text(&self, column: &'static str) -> Result<Option<&str>, sqlx::Error> {
        self.try_get(column)
    }

    fn flag(&self, column: &'static str) -> Result<bool, sqlx::Error> {
        self.try_get(column)
    }

    fn optional_flag(&self, column: &'static str) -> Result<Option<bool>, sqlx::Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: &'static str) -> Result<&[u8], sqlx::Error> {
        self.try_get(column)
    }

    fn uuid(&self, column: &'static str) -> Result<Option<Uuid>, sqlx::Error> {
        let stored: Option<&[u8]> = self.try_get(column)?;
        stored.map(Uuid::from_slice).transpose().map_err(|_| unreadable(column))
    }

    fn number(&self, column: &'static str) -> Result<u32, sqlx::Error> {
        self.try_get(column)
    }

    fn optional_number(&self, column: &'static str) -> Result<Option<u32>, sqlx::Error> {
        self.try_get(column)
    }

    fn offset(&self, column: &'static str) -> Result<i64, sqlx::Error> {
        self.try_get(column)
    }

    fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, sqlx::Error> {
        let stored: Option<i64> = self.try_get(column)?;
        Ok(stored.map(Timestamp::from_unix_millis))
    }

    fn optional_instant(&self, column: &'static str) -> Result<Option<Timestamp>, sqlx::Error> {
        let stored: Option<&str> = self.try_get(column)?;
        stored.map(|text| Timestamp::parse(text).map_err(|_| unreadable(column))).transpose()
    }
}
