//! The dead letters' port on PostgreSQL.

mod statements;

use sqlx::Arguments;
use sqlx::postgres::PgArguments;

use crate::account::{Coordinates, Timestamp};
use crate::store::decode_case as decode;
use crate::store::stored::storable;
use crate::store::{Case, Cases, Cause, Decided, OffsetRange, RunnerId, SettledCase, StoreError};

use super::rows::{columns, range_columns, time};
use super::statements::BEGIN;
use super::work::{Change, Read, Subject};
use super::{PostgresStore, encoding_error};

impl Cases for PostgresStore {
    async fn decide(&self, letters: &[Coordinates], decided: &Decided) -> Result<u64, StoreError> {
        let arguments = decisions(letters, decided).map_err(encoding_error::<Change<Letters>>)?;
        let Some(arguments) = arguments else { return Ok(0) };
        self.sessions.run(Change::<Letters>::with(statements::DECIDE, arguments)).await
    }

    async fn cases(&self, ranges: &[OffsetRange]) -> Result<Vec<Case>, StoreError> {
        type Found = Read<Letters, Case>;
        let arguments = columns(ranges, range_columns).map_err(encoding_error::<Found>)?;
        let Some(arguments) = arguments else { return Ok(Vec::new()) };
        self.sessions.run(Found::with(statements::CASES, decode::case, arguments)).await
    }

    async fn lease_cases(
        &self,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Coordinates>, StoreError> {
        let lease = Read::<Leases, _>::of(statements::LEASE, decode::letter, |arguments| {
            arguments.add(runner.0)?;
            arguments.add(time(now))?;
            arguments.add(time(until))?;
            arguments.add(storable(limit as u64))
        });
        let mut letters = self.sessions.run(lease?).await?;
        letters.sort_unstable();
        Ok(letters)
    }

    async fn settle_cases(
        &self,
        runner: RunnerId,
        settled: &[SettledCase],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let arguments = endings(runner, settled, now).map_err(encoding_error::<Change<Letters>>)?;
        let Some(arguments) = arguments else { return Ok(()) };
        self.sessions.run(Change::<Letters>::with(statements::SETTLE, arguments)).await.map(|_| ())
    }
}

fn decisions(letters: &[Coordinates], decided: &Decided) -> Result<Option<PgArguments>, Cause> {
    let Decided { decision, operator, reason, now } = decided;
    let arguments = columns(letters, |letters, columns| columns.coordinates(letters.iter().copied()))?;
    let Some(mut arguments) = arguments else { return Ok(None) };
    arguments.add(decision.state().as_str())?;
    arguments.add(operator.as_str())?;
    arguments.add(reason.as_str())?;
    arguments.add(time(*now))?;
    let before: Vec<&str> = decision.may_follow().iter().map(|state| state.as_str()).collect();
    arguments.add(before)?;
    Ok(Some(arguments))
}

fn endings(
    runner: RunnerId,
    settled: &[SettledCase],
    now: Timestamp,
) -> Result<Option<PgArguments>, Cause> {
    let arguments = columns(settled, |settled, columns| {
        columns.coordinates(settled.iter().map(|settled| settled.letter))?;
        columns.add(settled.iter().map(|settled| settled.state().as_str()))?;
        columns.add(settled.iter().map(|settled| settled.problem.as_deref()))
    })?;
    let Some(mut arguments) = arguments else { return Ok(None) };
    arguments.add(runner.0)?;
    arguments.add(time(now))?;
    Ok(Some(arguments))
}

/// What is read and changed of cases.
enum Letters {}

impl Subject for Letters {
    const READING: &'static str = "reading what was decided of dead letters";
    const CHANGING: &'static str = "noting what is decided of dead letters";
}

/// Rows that are changed as they are read.
enum Leases {}

impl Subject for Leases {
    const READING: &'static str = "taking dead letters over";
    const CHANGING: &'static str = Self::READING;
    const BEGIN_READING: &'static str = BEGIN;
}
