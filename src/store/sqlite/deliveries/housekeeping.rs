//! What is done from time to time, in bounded slices.

use sqlx::sqlite::SqliteConnection;

use crate::account::Timestamp;
use crate::store::decode_delivery as decode;
use crate::store::stored::storable;
use crate::store::{DeliveryState, End, Line, Released};

use super::super::writer::Write;
use super::operating::names;
use super::statements;
use super::writes::release;

/// Removes what ended long ago.
pub(super) struct RemoveEnded {
    pub(super) before: Timestamp,
    pub(super) limit: usize,
}

impl Write for RemoveEnded {
    type Output = u64;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<u64>, sqlx::Error> {
        let mut removed = 0;
        for endpoint in names(transaction, None).await? {
            for state in DeliveryState::ENDED {
                let left = storable((self.limit as u64).saturating_sub(removed));
                let mut rows = 0;
                for statement in [statements::REMOVE_ATTEMPTS, statements::REMOVE] {
                    let result = sqlx::query(statement)
                        .bind(endpoint.as_str().to_owned())
                        .bind(state.as_str())
                        .bind(self.before.unix_millis())
                        .bind(left)
                        .execute(&mut *transaction)
                        .await?;
                    rows = result.rows_affected();
                }
                removed += rows;
            }
        }
        Ok(End::Commit(removed))
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
