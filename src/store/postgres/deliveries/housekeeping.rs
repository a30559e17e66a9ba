//! What is done from time to time, in bounded slices.

use crate::account::Timestamp;
use crate::store::decode_delivery as decode;
use crate::store::deliveries::RemoveEnded;
use crate::store::{End, Line, Released};

use super::super::connections::Work;
use super::super::session::Session;
use super::super::statements::BEGIN;
use super::operating::fit;
use super::work::release;
use super::{rows, statements};

impl Work for RemoveEnded {
    type Output = u64;
    const ACTION: &'static str = "removing deliveries";
    const BEGIN: &'static str = BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<u64>, sqlx::Error> {
        self.carry_out(transaction).await.map(End::Commit)
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
