//! The store: how submissions ended, what accounts are, what is delivered, and what replays have changed.

use std::sync::Arc;

use crate::account::{Rejection, Timestamp};
use crate::audit::facts::{
    Accepted, AccountFact, AccountSays, Key, Noted, NotedAs, NumberFact, Origin, PlaceFact, PlaceSays,
    Recorded, Says, account_digest, event_digest, id, subject_digest,
};
use crate::audit::run::{AuditError, Stage, Telling};
use crate::events::CloudEvent;
use crate::store::{
    AccountRow, ChangeRow, DeliveryRow, EndpointName, JobState, Page, Replays, ScanPlace, Scans,
    StoreError,
};

use super::{Facts, Gathered, Kept, key_text};

/// Jobs of which is known whether they are done.
const JOBS: usize = 10_000;

/// Reads the rows of the store that say how submissions ended. What a replay changes meanwhile goes from the
/// rejections to the ledger, so these are read in that order, and it is met at least once.
pub(in crate::audit) async fn outcomes<S: Scans>(
    store: &S,
    kept: &Kept,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<(), AuditError> {
    let rejections = Pages::of(async |from| store.scan_rejections(from).await, Stage::Store, tell);
    gather(rejections, kept, into, |row| {
        let as_what = match &row.rejection {
            Some(Rejection::Decided(outcome)) => {
                NotedAs::Rejected(outcome.verdict, id(outcome.event_id))
            }
            Some(Rejection::DeadLettered) => NotedAs::DeadLettered,
            None => NotedAs::Unreadable,
        };
        let subject = subject_digest(&row.communication);
        let says = Says::Noted(Noted { at: row.coordinates, as_what, subject });
        NumberFact::new(&row.communication.number, says)
    })
    .await?;
    let ledger = Pages::of(async |from| store.scan_ledger(from).await, Stage::Store, tell);
    gather(ledger, kept, into, |row| {
        let accepted = Accepted {
            at: row.entry.coordinates,
            event: id(row.entry.event_id),
            fingerprint: *row.entry.fingerprint.as_bytes(),
            subject: subject_digest(&row.communication),
        };
        NumberFact::new(&row.communication.number, Says::Accepted(accepted))
    })
    .await
}

/// Reads the accounts.
pub(in crate::audit) async fn accounts<S: Scans>(
    store: &S,
    kept: &Kept,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<(), AuditError> {
    let mut pages = Pages::of(async |from| store.scan_accounts(from).await, Stage::Store, tell);
    let kept = kept.clone();
    let make = move |rows: Vec<AccountRow>, facts: &mut Facts| {
        for row in &rows {
            let key = Key::from(&row.key);
            if !kept.sieve.may_have(&key_text(&key)) && !kept.bounds.is_audited(row.version) {
                continue;
            }
            let content = row.account.as_deref().map(account_digest);
            let number =
                row.account.as_deref().map(|account| account.communication_number.as_str().into());
            let says = AccountSays::Row { version: row.version, content, number };
            facts.others.account(&AccountFact { key, says })?;
        }
        Ok(())
    };
    into.gather(async || pages.next().await, make).await
}

/// Reads the deliveries. Those of endpoints that are no longer configured have places of their own.
pub(in crate::audit) async fn deliveries<S: Scans>(
    store: &S,
    kept: &Kept,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<Vec<EndpointName>, AuditError> {
    let mut names: Arc<Vec<EndpointName>> =
        Arc::new(kept.scope.receivers.iter().map(|receiver| receiver.name.clone()).collect());
    let mut pages = Pages::of(async |from| store.scan_deliveries(from).await, Stage::Deliveries, tell);
    let next = async || {
        let Some(rows) = pages.next().await? else { return Ok(None) };
        for row in &rows {
            if !names.contains(&row.key.endpoint) {
                Arc::make_mut(&mut names).push(row.key.endpoint.clone());
            }
        }
        Ok(Some((rows, Arc::clone(&names))))
    };
    let kept = kept.clone();
    let make = move |(rows, names): (Vec<DeliveryRow>, Arc<Vec<EndpointName>>), facts: &mut Facts| {
        rows.iter().try_for_each(|row| {
            let place = names.iter().position(|name| *name == row.key.endpoint);
            kept.number(facts, &recorded(row, place))
        })
    };
    into.gather(next, make).await?;
    Ok(Arc::unwrap_or_clone(names))
}

fn recorded(row: &DeliveryRow, endpoint: Option<usize>) -> NumberFact {
    let says = Says::Recorded(Recorded {
        endpoint: endpoint.and_then(|place| u16::try_from(place).ok()).unwrap_or(u16::MAX),
        event: id(row.key.event),
        time_ms: row.event.as_ref().and_then(CloudEvent::time).map(Timestamp::unix_millis),
        content: row.event.as_ref().map(event_digest),
    });
    NumberFact { number: row.number.as_str().into(), says }
}

/// Reads what replays have changed. What a job does that was not done at `since` may be half of it.
pub(in crate::audit) async fn changes<S: Scans + Replays>(
    store: &S,
    since: Timestamp,
    into: &mut Gathered,
) -> Result<(), AuditError> {
    let jobs = store.jobs(JOBS).await?;
    let is_recent = |row: &ChangeRow| {
        let job = jobs.iter().find(|job| job.job.name == row.job);
        job.is_some_and(|job| job.state == JobState::Running || job.changed_at >= since)
    };
    let mut place = Some(ScanPlace::default());
    while let Some(from) = place {
        let page = store.scan_changes(from).await?;
        place = page.next;
        let mut facts = into.room();
        for row in &page.rows {
            let says = PlaceSays::Changed {
                before: row.event_before().map(id),
                after: id(row.change.after.event_id),
                is_recent: is_recent(row),
            };
            facts.others.place(&PlaceFact { at: Origin::Submitted(row.change.coordinates), says })?;
        }
        into.add(&facts)?;
    }
    Ok(())
}

/// The pages of a table, one after the other, each of which is told of.
struct Pages<'t, F, T> {
    scan: F,
    place: Option<ScanPlace>,
    stage: Stage,
    tell: &'t mut T,
}

impl<'t, F, T: Telling> Pages<'t, F, T> {
    fn of(scan: F, stage: Stage, tell: &'t mut T) -> Self {
        Self { scan, place: Some(ScanPlace::default()), stage, tell }
    }

    async fn next<R>(&mut self) -> Result<Option<Vec<R>>, AuditError>
    where
        F: AsyncFn(ScanPlace) -> Result<Page<R>, StoreError>,
    {
        let Some(from) = self.place.take() else { return Ok(None) };
        let page = (self.scan)(from).await?;
        self.place = page.next;
        self.tell.read(self.stage, page.rows.len() as u64);
        Ok(Some(page.rows))
    }
}

/// Adds what the rows of a table say of numbers.
async fn gather<R: Send + 'static, F, T: Telling>(
    mut pages: Pages<'_, F, T>,
    kept: &Kept,
    into: &mut Gathered,
    fact: impl Fn(&R) -> NumberFact + Clone + Send + 'static,
) -> Result<(), AuditError>
where
    F: AsyncFn(ScanPlace) -> Result<Page<R>, StoreError>,
{
    let kept = kept.clone();
    let make = move |rows: Vec<R>, facts: &mut Facts| {
        rows.iter().try_for_each(|row| kept.number(facts, &fact(row)))
    };
    into.gather(async || pages.next().await, make).await
}
