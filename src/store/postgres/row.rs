//! How PostgreSQL's columns hold what every store's do.

use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::account::Timestamp;
use crate::store::decode::{StoredRow, unreadable};

impl StoredRow for PgRow {
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
        self.try_get(column)
    }

    fn number(&self, column: &'static str) -> Result<u32, sqlx::Error> {
        let stored: i32 = self.try_get(column)?;
        u32::try_from(stored).map_err(|_| unreadable(column))
    }

    fn optional_number(&self, column: &'static str) -> Result<Option<u32>, sqlx::Error> {
        let stored: Option<i32> = self.try_get(column)?;
        stored.map(u32::try_from).transpose().map_err(|_| unreadable(column))
    }

    fn offset(&self, column: &'static str) -> Result<i64, sqlx::Error> {
        self.try_get(column)
    }

    fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, sqlx::Error> {
        let stored: Option<DateTime<Utc>> = self.try_get(column)?;
        Ok(stored.map(|time| Timestamp::from_unix_millis(time.timestamp_millis())))
    }

    fn optional_instant(&self, column: &'static str) -> Result<Option<Timestamp>, sqlx::Error> {
        let stored: Option<DateTime<Utc>> = self.try_get(column)?;
        Ok(stored.map(|time| Timestamp::from_unix_micros(time.timestamp_micros())))
    }
}
