//! What operators ask and change, endpoint by endpoint and state by state: each is a range of its own in an
//! index.

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqlitePool};

use crate::account::Timestamp;
use crate::store::decode_delivery as decode;
use crate::store::deliveries::{Listed, Tally};
use crate::store::stored::storable;
use crate::store::{
    Counted, DeliveryState, End, EndpointName, GivingUp, Line, Mark, Place, Redelivered, Selection,
};

use super::super::rows::Rows;
use super::super::writer::Write;
use super::statements::{self, About};
use super::writes::release;

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A statement about selected deliveries to an endpoint; what it takes beyond the selection is bound next, as
/// `?7`.
fn selected(
    about: &About,
    selection: &Selection,
    endpoint: &EndpointName,
    state: DeliveryState,
) -> Statement<'static> {
    sqlx::query(AssertSqlSafe(statements::selecting(about, selection, state)))
        .bind(endpoint.as_str().to_owned())
        .bind(state.as_str())
        .bind(selection.number.clone())
        .bind(selection.event.map(|event| event.0.as_bytes().to_vec()))
        .bind(selection.from.map(Timestamp::unix_millis))
        .bind(selection.to.map(Timestamp::unix_millis))
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
            let list = selected(&statements::LIST, &selection, &endpoint, state);
            let found = list.bind(storable(limit as u64)).fetch_all(&mut *snapshot).await?;
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
            let count = selected(&statements::COUNT, &selection, &endpoint, state);
            let found = count.bind(storable(bound)).fetch_one(&mut *snapshot).await?;
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

/// What of an endpoint comes after a place in the order in which it is delivered again.
fn ended_after(
    selection: &Selection,
    endpoint: &EndpointName,
    after: Place,
    limit: u64,
    began: Timestamp,
) -> Statement<'static> {
    match after {
        Place::Delivered(since, id) => {
            selected(&statements::DELIVERED, selection, endpoint, DeliveryState::Delivered)
                .bind(storable(limit))
                .bind(since.unix_millis())
                .bind(id)
                .bind(began.unix_millis())
        }
        Place::Exhausted(id) => {
            selected(&statements::EXHAUSTED, selection, endpoint, DeliveryState::Exhausted)
                .bind(storable(limit))
                .bind(id)
        }
    }
}

/// Makes ended deliveries due.
pub(super) struct Redeliver {
    pub(super) selection: Selection,
    pub(super) mark: Mark,
    pub(super) limit: usize,
    pub(super) now: Timestamp,
}

impl Write for Redeliver {
    type Output = Redelivered;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<Redelivered>, sqlx::Error> {
        let Self { selection, mark, limit, now } = self;
        // Whatever is made due ends after that, also if the clock was set back since the redelivery began.
        let now = now.max(mark.began());
        let mut done = Redelivered { count: 0, mark: mark.clone() };
        for endpoint in names(transaction, selection.endpoint.as_ref()).await? {
            for state in selection.states(&DeliveryState::ENDED) {
                let left = (limit as u64).saturating_sub(done.count);
                let Some(after) = mark.within(&endpoint, state).filter(|_| left > 0) else { continue };
                let choose = ended_after(&selection, &endpoint, after, left, mark.began());
                let rows = choose.fetch_all(&mut *transaction).await?;
                if rows.is_empty() {
                    continue;
                }
                let ids = rows.iter().map(|row| row.try_get("id")).collect::<Result<Vec<i64>, _>>()?;
                let ids = Rows::of(&ids).map_err(|cause| sqlx::Error::Encode(cause.into()))?;
                let redeliver = sqlx::query(statements::REDELIVER).bind(ids.json);
                redeliver.bind(now.unix_millis()).execute(&mut *transaction).await?;
                let chosen = rows.iter().map(|row| decode::redelivered(row, state));
                let chosen = chosen.collect::<Result<Vec<_>, _>>()?;
                release(transaction, &done.take(&endpoint, chosen), now).await?;
            }
        }
        Ok(End::Commit(done))
    }
}

/// Makes parked deliveries due earlier.
pub(super) struct Hasten {
    pub(super) selection: Selection,
    pub(super) due_after: Timestamp,
    pub(super) limit: usize,
    pub(super) now: Timestamp,
}

impl Write for Hasten {
    type Output = u64;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<u64>, sqlx::Error> {
        let Self { selection, due_after, limit, now } = self;
        let mut done = 0;
        for state in selection.states(&[DeliveryState::Parked]) {
            for endpoint in names(transaction, selection.endpoint.as_ref()).await? {
                let hasten = selected(&statements::HASTEN, &selection, &endpoint, state)
                    .bind(storable((limit as u64).saturating_sub(done)))
                    .bind(now.unix_millis())
                    .bind(due_after.unix_millis());
                done += hasten.execute(&mut *transaction).await?.rows_affected();
            }
        }
        Ok(End::Commit(done))
    }
}

/// Gives live deliveries up, those that wait before those they wait for.
pub(super) struct GiveUp {
    pub(super) selection: Selection,
    pub(super) giving_up: GivingUp,
    pub(super) limit: usize,
}

impl Write for GiveUp {
    type Output = u64;

    async fn run(self, transaction: &mut SqliteConnection) -> Result<End<u64>, sqlx::Error> {
        let Self { selection, giving_up, limit } = self;
        let mut done = 0;
        for endpoint in names(transaction, selection.endpoint.as_ref()).await? {
            for state in selection.states(&DeliveryState::LIVE) {
                let rows = selected(&statements::GIVE_UP, &selection, &endpoint, state)
                    .bind(storable((limit as u64).saturating_sub(done)))
                    .bind(giving_up.now.unix_millis())
                    .bind(giving_up.leases_end.unix_millis())
                    .bind(giving_up.reason.clone())
                    .fetch_all(&mut *transaction)
                    .await?;
                done += rows.len() as u64;
                let freed: Vec<Line> = rows.iter().map(decode::line).collect::<Result<_, _>>()?;
                release(transaction, &freed, giving_up.now).await?;
            }
        }
        Ok(End::Commit(done))
    }
}
