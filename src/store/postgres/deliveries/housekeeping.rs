//! What is done from time to time, in bounded slices.

use crate::account::Timestamp;
use crate::store::decode_delivery as decode;
use crate::store::{DeliveryState, End, Line, Released};

use super::super::connections::Work;
use super::super::session::Session;
use super::super::statements::BEGIN;
use super::operating::{fit, names};
use super::work::release;
use super::{rows, statements};

/// Removes what ended long ago.
pub(super) struct RemoveEnded {
    pub(super) before: Timestamp,
    pub(super) limit: usize,
}

impl Work for RemoveEnded {
    type Output = u64;
    const ACTION: &'static str = "removing deliveries";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<u64>, sqlx::Error> {
        let mut removed = 0;
        for endpoint in names(transaction, None).await? {
            for state in DeliveryState::ENDED {
                let left = (self.limit as u64).saturating_sub(removed);
                if left == 0 {
                    return Ok(End::Commit(removed));
                }
                let arguments = fit(rows::ended((&endpoint, state), self.before, left))?;
                removed += transaction.write(statements::REMOVE, arguments).await?;
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

impl Work for ReleaseStranded {
    type Output = Released;
    const ACTION: &'static str = "releasing deliveries";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<Released>, sqlx::Error> {
        let arguments = fit(rows::lines_after(self.after.as_ref(), self.limit))?;
        let rows = transaction.read(statements::LOOK_AT_LINES, arguments).await?;
        let mut looked_at = 0;
        let (mut stranded, mut last) = (Vec::new(), None);
        for row in &rows {
            let (line, is_stranded) = decode::looked_at(row)?;
            looked_at = decode::count(row)?;
            if is_stranded {
                stranded.push(line.clone());
            }
            last = Some(line);
        }
        let count = release(transaction, &stranded, self.now).await?;
        Ok(End::Commit(Released { count, after: last.filter(|_| looked_at >= self.limit as u64) }))
    }
}
