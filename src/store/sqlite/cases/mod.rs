//! The dead letters' port on `SQLite`.

mod statements;

use sqlx::sqlite::SqliteConnection;

use crate::account::{Coordinates, Timestamp};
use crate::store::decode_case as decode;
use crate::store::stored::storable;
use crate::store::{Case, Cases, Decided, End, OffsetRange, RunnerId, SettledCase, StoreError};

use super::rows::{Rows, WantedRows};
use super::writer::{Change, Write};
use super::{SqliteStore, Statement, encoding_error};

impl Cases for SqliteStore {
    async fn decide(&self, letters: &[Coordinates], decided: &Decided) -> Result<u64, StoreError> {
        let action = "noting what is decided of dead letters";
        let places: Vec<_> = letters.iter().map(|letter| place(*letter)).collect();
        let places = Rows::of(&places).map_err(|cause| encoding_error(action, cause))?;
        if places.count == 0 {
            return Ok(0);
        }
        let Decided { decision, operator, reason, now } = decided.clone();
        let before: Vec<_> = decision.may_follow().iter().map(|state| state.as_str()).collect();
        let before = Rows::of(&before).map_err(|cause| encoding_error(action, cause))?;
        let decide = sqlx::query(statements::DECIDE)
            .bind(places.json)
            .bind(decision.state().as_str())
            .bind(operator)
            .bind(reason)
            .bind(now.unix_millis())
            .bind(before.json);
        self.run(action, Change(decide)).await
    }

    async fn cases(&self, ranges: &[OffsetRange]) -> Result<Vec<Case>, StoreError> {
        let action = "reading what was decided of dead letters";
        let ranges = WantedRows::ranges(ranges).map_err(|cause| encoding_error(action, cause))?;
        if ranges.count == 0 {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(statements::CASES).bind(ranges.json), decode::case).await
    }

    async fn lease_cases(
        &self,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Coordinates>, StoreError> {
        let lease = sqlx::query(statements::LEASE)
            .bind(runner.0.as_bytes().to_vec())
            .bind(now.unix_millis())
            .bind(until.unix_millis())
            .bind(storable(limit as u64));
        self.run("taking dead letters over", Lease(lease)).await
    }

    async fn settle_cases(
        &self,
        runner: RunnerId,
        settled: &[SettledCase],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let action = "noting what became of dead letters";
        let ending = |settled: &SettledCase| {
            let (generation, partition, offset) = place(settled.letter);
            (generation, partition, offset, settled.state().as_str(), settled.problem.clone())
        };
        let endings: Vec<_> = settled.iter().map(ending).collect();
        let endings = Rows::of(&endings).map_err(|cause| encoding_error(action, cause))?;
        if endings.count == 0 {
            return Ok(());
        }
        let settle = sqlx::query(statements::SETTLE)
            .bind(endings.json)
            .bind(runner.0.as_bytes().to_vec())
            .bind(now.unix_millis());
        self.run(action, Change(settle)).await.map(|_| ())
    }
}

/// A place, as statements take it.
fn place(letter: Coordinates) -> (u32, u32, i64) {
    (letter.log.generation.0, letter.log.partition.0, storable(letter.offset.0))
}

/// Takes letters over.
struct Lease(Statement<'static>);

impl Write for Lease {
    type Output = Vec<Coordinates>;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Self::Output>, sqlx::Error> {
        let rows = self.0.fetch_all(transaction).await?;
        let mut letters: Vec<_> = rows.iter().map(decode::letter).collect::<Result<_, _>>()?;
        letters.sort_unstable();
        Ok(End::Commit(letters))
    }
}
