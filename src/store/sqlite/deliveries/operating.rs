//! What operators ask and change, endpoint by endpoint and state by state: each is a range of its own in an
//! index.

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqlitePool};

use crate::account::Timestamp;
use crate::store::decode_delivery as decode;
use crate::store::deliveries::{Changing, GiveUp, Hasten, Listed, Redeliver, Slice, Tally};
use crate::store::stored::storable;
use crate::store::{
    Counted, DeliveryState, End, EndpointName, GivingUp, Line, Place, Redelivered, Selection,
};

use super::super::rows::Rows;
use super::super::writer::Write;
use super::statements::{self, About};
use super::writes::release;

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A statement about selected deliveries; their number is bound last.
fn selected(about: &About, slice: &Slice<'_>) -> Statement<'static> {
    let Slice { selection, endpoint, state, limit } = slice;
    sqlx::query(AssertSqlSafe(statements::selecting(about, selection, *state)))
        .bind(endpoint.as_str().to_owned())
        .bind(state.as_str())
        .bind(selection.number.clone())
        .bind(selection.event.map(|event| event.0.as_bytes().to_vec()))
        .bind(selection.from.map(Timestamp::unix_millis))
        .bind(selection.to.map(Timestamp::unix_millis))
        .bind(storable(*limit))
}

/// The endpoints that a selection may be about.
pub(super) async fn names(
    connection: &mut SqliteConnection,
    selected: Option<&EndpointName>,
) -> Result<Vec<EndpointName>, sqlx::Error> {
    if let Some(name) = selected {
        return Ok(vec![name.clone()]);
    }
    let rows = sqlx::query(statements::ENDPOINT_NAMES).fetch_all(connection).await?;
    rows.iter().map(decode::endpoint).collect()
}

/// The newest of each endpoint and state.
pub(super) async fn list(
    readers: SqlitePool,
    selection: Selection,
    limit: usize,
) -> Result<Vec<Listed>, sqlx::Error> {
    let mut snapshot = readers.begin().await?;
    let mut listed = Vec::new();
    for endpoint in names(&mut snapshot, selection.endpoint.as_ref()).await? {
        for state in selection.states(&DeliveryState::ALL) {
            let slice = Slice { selection: &selection, endpoint: &endpoint, state, limit: limit as u64 };
            let found = selected(&statements::LIST, &slice).fetch_all(&mut *snapshot).await?;
            let found: Result<Vec<_>, _> = found.iter().map(decode::listed).collect();
            listed.append(&mut found?);
        }
    }
    snapshot.commit().await?;
    Ok(listed)
}

/// How many are selected.
pub(super) async fn count(
    readers: SqlitePool,
    selection: Selection,
    limit: Option<u64>,
) -> Result<Counted, sqlx::Error> {
    let mut snapshot = readers.begin().await?;
    let mut counted = Counted::default();
    for endpoint in names(&mut snapshot, selection.endpoint.as_ref()).await? {
        for state in selection.states(&DeliveryState::ALL) {
            let Some(bound) = counted.next_bound(state.most_counted(), limit) else {
                return Ok(counted);
            };
            let slice = Slice { selection: &selection, endpoint: &endpoint, state, limit: bound };
            let found = selected(&statements::COUNT, &slice).fetch_one(&mut *snapshot).await?;
            counted = counted.and(Counted::up_to(bound, decode::count(&found)?));
        }
    }
    snapshot.commit().await?;
    Ok(counted)
}

/// What the deliveries in some states come to.
pub(super) async fn tallies(
    readers: SqlitePool,
    states: &'static [DeliveryState],
) -> Result<Vec<(EndpointName, DeliveryState, Tally)>, sqlx::Error> {
    let mut snapshot = readers.begin().await?;
    let mut tallies = Vec::new();
    for endpoint in names(&mut snapshot, None).await? {
        for state in states {
            let row = sqlx::query(statements::TALLY)
                .bind(endpoint.as_str().to_owned())
                .bind(state.as_str())
                .bind(storable(state.most_counted()))
                .fetch_one(&mut *snapshot)
                .await?;
            let tally = decode::tally(&row)?;
            tallies.extend(tally.map(|tally| (endpoint.clone(), *state, tally)));
        }
    }
    snapshot.commit().await?;
    Ok(tallies)
}

/// What of a slice comes after a place in the order in which it is delivered again.
fn ended_after(slice: &Slice<'_>, after: Place, began: Timestamp) -> Statement<'static> {
    match after {
        Place::Delivered(since, id) => selected(&statements::DELIVERED, slice)
            .bind(since.unix_millis())
            .bind(id)
            .bind(began.unix_millis()),
        Place::Exhausted(id) => selected(&statements::EXHAUSTED, slice).bind(id),
    }
}

impl Changing for SqliteConnection {
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
        let rows = ended_after(slice, after, began).fetch_all(&mut *self).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids = rows.iter().map(|row| row.try_get("id")).collect::<Result<Vec<i64>, _>>()?;
        let ids = Rows::of(&ids).map_err(|cause| sqlx::Error::Encode(cause.into()))?;
        let redeliver = sqlx::query(statements::REDELIVER).bind(ids.json);
        redeliver.bind(now.unix_millis()).execute(self).await?;
        rows.iter().map(|row| decode::redelivered(row, slice.state)).collect()
    }

    async fn hasten(
        &mut self,
        slice: &Slice<'_>,
        due_after: Timestamp,
        now: Timestamp,
    ) -> Result<u64, sqlx::Error> {
        let hasten =
            selected(&statements::HASTEN, slice).bind(now.unix_millis()).bind(due_after.unix_millis());
        Ok(hasten.execute(self).await?.rows_affected())
    }

    async fn give_up(
        &mut self,
        slice: &Slice<'_>,
        giving_up: &GivingUp,
    ) -> Result<Vec<Line>, sqlx::Error> {
        let freed = selected(&statements::GIVE_UP, slice)
            .bind(giving_up.now.unix_millis())
            .bind(giving_up.leases_end.unix_millis())
            .bind(giving_up.reason.clone())
            .fetch_all(self)
            .await?;
        freed.iter().map(decode::line).collect()
    }

    async fn remove(&mut self, slice: &Slice<'_>, before: Timestamp) -> Result<u64, sqlx::Error> {
        let mut removed = 0;
        for statement in [statements::REMOVE_ATTEMPTS, statements::REMOVE] {
            let remove = sqlx::query(statement)
                .bind(slice.endpoint.as_str().to_owned())
                .bind(slice.state.as_str())
                .bind(before.unix_millis())
                .bind(storable(slice.limit));
            removed = remove.execute(&mut *self).await?.rows_affected();
        }
        Ok(removed)
    }

    async fn release(&mut self, lines: &[Line], now: Timestamp) -> Result<u64, sqlx::Error> {
        release(self, lines, now).await
    }
}

impl Write for Redeliver {
    type Output = Redelivered;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Redelivered>, sqlx::Error> {
        self.carry_out(transaction).await.map(End::Commit)
    }
}

impl Write for Hasten {
    type Output = u64;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<u64>, sqlx::Error> {
        self.carry_out(transaction).await.map(End::Commit)
    }
}

impl Write for GiveUp {
    type Output = u64;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<u64>, sqlx::Error> {
        self.carry_out(transaction).await.map(End::Commit)
    }
}
