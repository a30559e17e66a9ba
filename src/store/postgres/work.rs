//! What is done within one transaction.

use std::collections::HashMap;
use std::hash::Hash;
use std::marker::PhantomData;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row};

use crate::account::{CommunicationNumber, View};
use crate::store::stored::storable;
use crate::store::{Applied, Cause, End, PersistedOutcome, StoreError, decode};

use super::connections::Work;
use super::encoding_error;
use super::error::only_reads;
use super::rows::{Step, WantedRows};
use super::session::Session;
use super::statements;

/// Reads what is wanted, all of one moment.
pub(super) struct Load(pub(super) WantedRows);

impl Work for Load {
    type Output = View;
    const ACTION: &'static str = "loading a view";
    const BEGIN: &'static str = statements::BEGIN_SNAPSHOT;

    async fn run(self, snapshot: &mut Session) -> Result<End<View>, sqlx::Error> {
        let WantedRows { ledger, accounts, frontiers, rejections } = self.0;
        let ledger = collect(snapshot, statements::LOAD_LEDGER, ledger, decode::ledger_row).await?;
        let accounts =
            collect(snapshot, statements::LOAD_ACCOUNTS, accounts, decode::account_row).await?;
        let frontiers =
            collect(snapshot, statements::LOAD_FRONTIERS, frontiers, decode::frontier_row).await?;
        let rejections =
            collect(snapshot, statements::LOAD_REJECTIONS, rejections, decode::rejection_row).await?;
        Ok(End::Commit(View { frontiers, ledger, accounts, rejections }))
    }
}

async fn collect<K: Eq + Hash, V>(
    snapshot: &mut Session,
    statement: &'static str,
    wanted: Option<PgArguments>,
    decode: fn(&PgRow) -> Result<(K, V), sqlx::Error>,
) -> Result<HashMap<K, V>, sqlx::Error> {
    let Some(wanted) = wanted else { return Ok(HashMap::new()) };
    let rows = snapshot.read(statement, wanted).await?;
    rows.iter().map(decode).collect()
}

/// Writes a plan, or nothing of it when a statement writes fewer rows than planned: then something the
/// view showed has changed.
pub(super) struct Apply(pub(super) Vec<Step>);

impl Work for Apply {
    type Output = Applied;
    const ACTION: &'static str = "applying a plan";
    const BEGIN: &'static str = statements::BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<Applied>, sqlx::Error> {
        take_steps(transaction, self.0).await
    }
}

/// Takes all steps, or none when a statement writes fewer rows than planned.
pub(super) async fn take_steps(
    transaction: &mut Session,
    steps: Vec<Step>,
) -> Result<End<Applied>, sqlx::Error> {
    for Step { part, statement, rows, arguments } in steps {
        if transaction.write(statement, arguments).await? < rows {
            return Ok(End::Rollback(Applied::Stale(part)));
        }
    }
    Ok(End::Commit(Applied::Done))
}

/// Reads the outcomes of a number.
pub(super) struct Outcomes {
    pub(super) number: CommunicationNumber,
    pub(super) limit: usize,
}

impl Work for Outcomes {
    type Output = Vec<PersistedOutcome>;
    const ACTION: &'static str = "looking up outcomes";
    const BEGIN: &'static str = statements::BEGIN_SNAPSHOT;

    async fn run(self, snapshot: &mut Session) -> Result<End<Self::Output>, sqlx::Error> {
        let mut arguments = PgArguments::default();
        arguments.add(self.number.as_str()).map_err(sqlx::Error::Encode)?;
        arguments.add(storable(self.limit as u64)).map_err(sqlx::Error::Encode)?;
        let rows = snapshot.read(statements::OUTCOMES, arguments).await?;
        let decoded = rows.iter().map(|row| decode::persisted_outcome(&self.number, row));
        decoded.collect::<Result<_, _>>().map(End::Commit)
    }
}

/// Tells whether the server answers and writes. It takes no lock and needs no right.
pub(super) struct Probe;

impl Work for Probe {
    type Output = ();
    const ACTION: &'static str = "checking the store";
    const BEGIN: &'static str = statements::BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<()>, sqlx::Error> {
        let row = transaction.read_one(statements::ONLY_READS).await?;
        if row.try_get(0)? {
            return Err(only_reads());
        }
        Ok(End::Rollback(()))
    }
}

/// What simple statements are about, as errors say.
pub(super) trait Subject: Send + 'static {
    /// Reading of it.
    const READING: &'static str;
    /// Changing of it.
    const CHANGING: &'static str;
    /// Begins a transaction that reads.
    const BEGIN_READING: &'static str = statements::BEGIN_SNAPSHOT;
}

/// Reads rows by one statement.
pub(super) struct Read<S, T> {
    statement: &'static str,
    arguments: PgArguments,
    decode: fn(&PgRow) -> Result<T, sqlx::Error>,
    subject: PhantomData<fn() -> S>,
}

impl<S: Subject, T: Send + 'static> Read<S, T> {
    /// With the arguments that were added.
    pub(super) fn of(
        statement: &'static str,
        decode: fn(&PgRow) -> Result<T, sqlx::Error>,
        add: impl FnOnce(&mut PgArguments) -> Result<(), Cause>,
    ) -> Result<Self, StoreError> {
        let mut arguments = PgArguments::default();
        add(&mut arguments).map_err(encoding_error::<Self>)?;
        Ok(Self::with(statement, decode, arguments))
    }

    /// With these arguments.
    pub(super) fn with(
        statement: &'static str,
        decode: fn(&PgRow) -> Result<T, sqlx::Error>,
        arguments: PgArguments,
    ) -> Self {
        Self { statement, arguments, decode, subject: PhantomData }
    }
}

impl<S: Subject, T: Send + 'static> Work for Read<S, T> {
    type Output = Vec<T>;
    const ACTION: &'static str = S::READING;
    const BEGIN: &'static str = S::BEGIN_READING;

    async fn run(self, snapshot: &mut Session) -> Result<End<Vec<T>>, sqlx::Error> {
        let rows = snapshot.read(self.statement, self.arguments).await?;
        rows.iter().map(self.decode).collect::<Result<_, _>>().map(End::Commit)
    }
}

/// Changes rows by one statement; tells how many.
pub(super) struct Change<S> {
    statement: &'static str,
    arguments: PgArguments,
    subject: PhantomData<fn() -> S>,
}

impl<S: Subject> Change<S> {
    /// With the arguments that were added.
    pub(super) fn of(
        statement: &'static str,
        add: impl FnOnce(&mut PgArguments) -> Result<(), Cause>,
    ) -> Result<Self, StoreError> {
        let mut arguments = PgArguments::default();
        add(&mut arguments).map_err(encoding_error::<Self>)?;
        Ok(Self::with(statement, arguments))
    }

    /// With these arguments.
    pub(super) fn with(statement: &'static str, arguments: PgArguments) -> Self {
        Self { statement, arguments, subject: PhantomData }
    }
}

impl<S: Subject> Work for Change<S> {
    type Output = u64;
    const ACTION: &'static str = S::CHANGING;
    const BEGIN: &'static str = statements::BEGIN;

    async fn run(self, transaction: &mut Session) -> Result<End<u64>, sqlx::Error> {
        transaction.write(self.statement, self.arguments).await.map(End::Commit)
    }
}
