//! The store: how submissions ended, what accounts are, what is delivered, and what replays have changed.

use crate::account::{Rejection, Timestamp};
use crate::audit::bounds::Bounds;
use crate::audit::facts::{
    Accepted, AccountFact, AccountSays, Key, Noted, NotedAs, NumberFact, Origin, PlaceFact, PlaceSays,
    Recorded, Says, account_digest, event_digest, id, subject_digest,
};
use crate::audit::run::{AuditError, Stage, Telling};
use crate::events::CloudEvent;
use crate::store::{ChangeRow, EndpointName, JobState, Page, Replays, ScanPlace, Scans, StoreError};

use super::{Gathered, Scope, key_text, push, push_account, push_place};

/// Jobs of which is known whether they are done.
const JOBS: usize = 10_000;

/// Reads the rows of the store that say how submissions ended. What a replay changes meanwhile goes from the
/// rejections to the ledger, so these are read in that order, and it is met at least once.
pub(in crate::audit) async fn outcomes<S: Scans>(
    store: &S,
    scope: &Scope,
    bounds: &Bounds,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<(), AuditError> {
    let rejections = async |from| store.scan_rejections(from).await;
    each_page(rejections, |page| {
        gather(into, (scope, bounds), &page, Stage::Store, tell, |row| {
            let as_what = match row.rejection {
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
    })
    .await?;
    let ledger = async |from| store.scan_ledger(from).await;
    each_page(ledger, |page| {
        gather(into, (scope, bounds), &page, Stage::Store, tell, |row| {
            let accepted = Accepted {
                at: row.entry.coordinates,
                event: id(row.entry.event_id),
                fingerprint: *row.entry.fingerprint.as_bytes(),
                subject: subject_digest(&row.communication),
            };
            NumberFact::new(&row.communication.number, Says::Accepted(accepted))
        })
    })
    .await
}

/// Reads the accounts.
pub(in crate::audit) async fn accounts<S: Scans>(
    store: &S,
    bounds: &Bounds,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<(), AuditError> {
    let accounts = async |from| store.scan_accounts(from).await;
    each_page(accounts, |page| {
        tell.read(Stage::Store, page.rows.len() as u64);
        for row in &page.rows {
            let key = Key::from(&row.key);
            if !into.sieve.may_have(&key_text(&key)) && !bounds.is_audited(row.version) {
                continue;
            }
            let content = row.account.as_deref().map(account_digest);
            let number =
                row.account.as_deref().map(|account| account.communication_number.as_str().into());
            let says = AccountSays::Row { version: row.version, content, number };
            push_account(&mut into.accounts, &AccountFact { key, says })?;
        }
        Ok(())
    })
    .await
}

/// Reads the deliveries. Those of endpoints that are no longer configured have places of their own.
pub(in crate::audit) async fn deliveries<S: Scans>(
    store: &S,
    scope: &Scope,
    bounds: &Bounds,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<Vec<EndpointName>, AuditError> {
    let mut names: Vec<EndpointName> =
        scope.receivers.iter().map(|receiver| receiver.name.clone()).collect();
    let deliveries = async |from| store.scan_deliveries(from).await;
    each_page(deliveries, |page| {
        gather(into, (scope, bounds), &page, Stage::Deliveries, tell, |row| {
            let known = names.iter().position(|name| *name == row.key.endpoint);
            let known = known.unwrap_or_else(|| {
                names.push(row.key.endpoint.clone());
                names.len() - 1
            });
            let says = Says::Recorded(Recorded {
                endpoint: u16::try_from(known).unwrap_or(u16::MAX),
                event: id(row.key.event),
                time_ms: row.event.as_ref().and_then(CloudEvent::time).map(Timestamp::unix_millis),
                content: row.event.as_ref().map(event_digest),
            });
            NumberFact { number: row.number.as_str().into(), says }
        })
    })
    .await?;
    Ok(names)
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
    let changes = async |from| store.scan_changes(from).await;
    each_page(changes, |page| {
        for row in &page.rows {
            let says = PlaceSays::Changed {
                before: row.event_before().map(id),
                after: id(row.change.after.event_id),
                is_recent: is_recent(row),
            };
            push_place(
                &mut into.places,
                &PlaceFact { at: Origin::Submitted(row.change.coordinates), says },
            )?;
        }
        Ok(())
    })
    .await
}

/// Has every page of a table worked on.
async fn each_page<T>(
    scan: impl AsyncFn(ScanPlace) -> Result<Page<T>, StoreError>,
    mut work: impl FnMut(Page<T>) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let mut place = Some(ScanPlace::default());
    while let Some(from) = place {
        let page = scan(from).await?;
        place = page.next;
        work(page)?;
    }
    Ok(())
}

fn gather<T>(
    into: &mut Gathered,
    within: (&Scope, &Bounds),
    page: &Page<T>,
    stage: Stage,
    tell: &mut impl Telling,
    mut fact: impl FnMut(&T) -> NumberFact,
) -> Result<(), AuditError> {
    tell.read(stage, page.rows.len() as u64);
    let mut numbers = into.numbers.encoder();
    for row in &page.rows {
        push(&mut numbers, &into.sieve, within, &fact(row))?;
    }
    Ok(into.numbers.add(&numbers)?)
}
