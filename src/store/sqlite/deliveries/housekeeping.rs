//! What is done from time to time, in bounded slices.

use sqlx::sqlite::SqliteConnection;

use crate::account::Timestamp;
use crate::store::decode_delivery as decode;
use crate::store::deliveries::RemoveEnded;
use crate::store::stored::storable;
use crate::store::{End, Line, Released};

use super::super::writer::Write;
use super::statements;
use super::writes::release;

impl Write for RemoveEnded {
    type Output = u64;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<u64>, sqlx::Error> {
        self.carry_out(transaction).await.map(End::Commit)
    }
}

/// Releases what waits for nothing.
pub(super) struct ReleaseStranded {
    pub(super) after: Option<Line>,
    pub(super) limit: usize,
    pub(super) now: Timestamp,
}

impl Write for ReleaseStranded {
    type Output = Released;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Released>, sqlx::Error> {
        let after = self.after.as_ref();
        let rows = sqlx::query(statements::LOOK_AT_LINES)
            .bind(after.map_or("", |line| line.endpoint.as_str()).to_owned())
            .bind(after.map_or("", |line| &*line.account).to_owned())
            .bind(storable(self.limit as u64))
            .fetch_all(&mut *transaction)
            .await?;
        let (mut stranded, mut last) = (Vec::new(), None);
        for row in &rows {
            let (line, is_stranded) = decode::looked_at(row)?;
            if is_stranded {
                stranded.push(line.clone());
            }
            last = Some(line);
        }
        let count = release(transaction, &stranded, self.now).await?;
        Ok(End::Commit(Released { count, after: last.filter(|_| rows.len() >= self.limit) }))
    }
}
