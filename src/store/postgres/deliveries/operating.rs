//! What operators ask and change, within one transaction each. It goes endpoint by endpoint and state by state:
//! each is a range of its own in an index.

use sqlx::postgres::PgArguments;

use crate::account::Timestamp;
use crate::store::decode_delivery as decode;
use crate::store::deliveries::{Changing, GiveUp, Hasten, Listed, Redeliver, Slice, Tally};
use crate::store::{
    Cause, Counted, DeliveryState, End, EndpointName, GivingUp, Line, Place, Redelivered, Selection,
};

use super::super::connections::Work;
use super::super::session::Session;
use super::super::statements::{BEGIN_SELECTION, BEGIN_SELECTION_SNAPSHOT};
use super::super::work::Subject;
use super::work::release;
use super::{rows, statements};

/// The endpoints that a selection may be about.
pub(super) async fn names(
    session: &mut Session,
    selected: Option<&EndpointName>,
) -> Result<Vec<EndpointName>, sqlx::Error> {
    if let Some(name) = selected {
        return Ok(vec![name.clone()]);
    }
    let rows = session.read(statements::ENDPOINT_NAMES, PgArguments::default()).await?;
    rows.iter().map(decode::endpoint).collect()
}

/// Lists the newest of each endpoint and state.
pub(super) struct List {
    pub(super) selection: Selection,
    pub(super) limit: usize,
}

impl Work for List {
    type Output = Vec<Listed>;
    const ACTION: &'static str = "listing deliveries";
    const BEGIN: &'static str = BEGIN_SELECTION_SNAPSHOT;

    async fn run(self, snapshot: &mut Session) -> Result<End<Self::Output>, sqlx::Error> {
        let mut listed = Vec::new();
        for endpoint in names(snapshot, self.selection.endpoint.as_ref()).await? {
            for state in self.selection.states(&DeliveryState::ALL) {
                let arguments =
                    rows::selection(&self.selection, &endpoint, Some(state), self.limit as u64);
                let found = snapshot.read(statements::LIST, fit(arguments)?).await?;
                let found: Result<Vec<_>, _> = found.iter().map(decode::listed).collect();
                listed.append(&mut found?);
            }
        }
        Ok(End::Commit(listed))
    }
}

/// Counts what is selected.
pub(super) struct Count {
    pub(super) selection: Selection,
    pub(super) limit: Option<u64>,
}

impl Work for Count {
    type Output = Counted;
    const ACTION: &'static str = "counting deliveries";
    const BEGIN: &'static str = BEGIN_SELECTION_SNAPSHOT;

    async fn run(self, snapshot: &mut Session) -> Result<End<Counted>, sqlx::Error> {
        let Self { selection, limit } = self;
        let mut counted = Counted::default();
        for endpoint in names(snapshot, selection.endpoint.as_ref()).await? {
            for state in selection.states(&DeliveryState::ALL) {
                let Some(bound) = counted.next_bound(state.most_counted(), limit) else {
                    return Ok(End::Commit(counted));
                };
                let arguments = fit(rows::selection(&selection, &endpoint, Some(state), bound))?;
                let found = snapshot.read(statements::COUNT, arguments).await?;
                let found = found.iter().map(decode::count).sum::<Result<u64, _>>()?;
                counted = counted.and(Counted::up_to(bound, found));
            }
        }
        Ok(End::Commit(counted))
    }
}

/// Tells what the deliveries in some states come to.
pub(super) struct Tallies(pub(super) &'static [DeliveryState]);

impl Work for Tallies {
    type Output = Vec<(EndpointName, DeliveryState, Tally)>;
    const ACTION: &'static str = "counting deliveries";
    const BEGIN: &'static str = BEGIN_SELECTION_SNAPSHOT;

    async fn run(self, snapshot: &mut Session) -> Result<End<Self::Output>, sqlx::Error> {
        let mut tallies = Vec::new();
        for endpoint in names(snapshot, None).await? {
            for state in self.0 {
                let arguments = fit(rows::tally(&endpoint, *state))?;
                for row in snapshot.read(statements::TALLY, arguments).await? {
                    let tally = decode::tally(&row)?;
                    tallies.extend(tally.map(|tally| (endpoint.clone(), *state, tally)));
                }
            }
        }
        Ok(End::Commit(tallies))
    }
}

impl Changing for Session {
    type Error = sqlx::Error;

    async fn names(
        &mut self,
        selected: Option<&EndpointName>,
    ) -> Result<Vec<EndpointName>, sqlx::Error> {
        names(self, selected).await
    }

    async fn redeliver(
        &mut self,
        slice: &Slice<'_>,
        after: Place,
        began: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<(Place, Line)>, sqlx::Error> {
        let (statement, arguments) = fit(rows::redeliver(slice, (began, after), now))?;
        let chosen = self.read(statement, arguments).await?;
        chosen.iter().map(|row| decode::redelivered(row, slice.state)).collect()
    }

    async fn hasten(
        &mut self,
        slice: &Slice<'_>,
        due_after: Timestamp,
        now: Timestamp,
    ) -> Result<u64, sqlx::Error> {
        self.write(statements::HASTEN, fit(rows::hasten(slice, due_after, now))?).await
    }

    async fn give_up(
        &mut self,
        slice: &Slice<'_>,
        giving_up: &GivingUp,
    ) -> Result<Vec<Line>, sqlx::Error> {
        let freed = self.read(statements::GIVE_UP, fit(rows::give_up(slice, giving_up))?).await?;
        freed.iter().map(decode::line).collect()
    }

    async fn remove(&mut self, slice: &Slice<'_>, before: Timestamp) -> Result<u64, sqlx::Error> {
        self.write(statements::REMOVE, fit(rows::ended(slice, before))?).await
    }

    async fn release(&mut self, lines: &[Line], now: Timestamp) -> Result<u64, sqlx::Error> {
        release(self, lines, now).await
    }
}

impl Work for Redeliver {
    type Output = Redelivered;
    const ACTION: &'static str = "making deliveries due again";
    const BEGIN: &'static str = BEGIN_SELECTION;

    async fn run(self, transaction: &mut Session) -> Result<End<Redelivered>, sqlx::Error> {
        self.carry_out(transaction).await.map(End::Commit)
    }
}

impl Work for Hasten {
    type Output = u64;
    const ACTION: &'static str = "making deliveries due earlier";
    const BEGIN: &'static str = BEGIN_SELECTION;

    async fn run(self, transaction: &mut Session) -> Result<End<u64>, sqlx::Error> {
        self.carry_out(transaction).await.map(End::Commit)
    }
}

impl Work for GiveUp {
    type Output = u64;
    const ACTION: &'static str = "giving deliveries up";
    const BEGIN: &'static str = BEGIN_SELECTION;

    async fn run(self, transaction: &mut Session) -> Result<End<u64>, sqlx::Error> {
        self.carry_out(transaction).await.map(End::Commit)
    }
}

/// What operators read of deliveries.
pub(super) enum Operating {}

impl Subject for Operating {
    const READING: &'static str = "reading deliveries";
    const CHANGING: &'static str = "changing deliveries";
    const BEGIN_READING: &'static str = BEGIN_SELECTION_SNAPSHOT;
}

/// What cannot be sent to the server is a fault of the row.
pub(super) fn fit<T>(arguments: Result<T, Cause>) -> Result<T, sqlx::Error> {
    arguments.map_err(sqlx::Error::Encode)
}
