//! Accounts checked as the worker would, against the store as it is now. Nothing is queued and the
//! plan of the decision is thrown away.

use std::sync::Arc;

use tokio::time::Instant;

use crate::account::{BatchItem, Coordinates, Submission, decide};
use crate::queue::{Answer, Queue};
use crate::store::{Store, Wanted};

use super::Intake;
use super::answers::{Settled, Subject};
use super::auth::Token;
use super::errors::Refusal;
use super::receive::Received;

/// More items than these are worked on off the threads that serve requests.
const INLINE_ITEMS: usize = 200;

/// Does work on `items` where it holds nobody up.
async fn aside<T: Send + 'static>(
    items: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if items <= INLINE_ITEMS {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Internal)
}

impl<Q: Queue, S: Store> Intake<Q, S> {
    /// The outcomes that `received` would have if it were submitted alone, now.
    pub(super) async fn validate(
        &self,
        received: Received,
        token: &Token,
    ) -> Result<Vec<Settled>, Refusal> {
        let started = Instant::now();
        let default_unit = token.business_units.default_unit();
        let default_unit = default_unit.cloned();
        let Received { items, reservation } = received;
        let submissions = aside(items.len(), move || {
            let submission = |(index, item): (usize, BatchItem)| {
                Submission::new(item.account, default_unit.clone(), Coordinates::hypothetical(index))
            };
            items.into_iter().enumerate().map(submission).collect::<Vec<_>>()
        })
        .await?;
        let wanted = Wanted {
            numbers: submissions.iter().map(|item| item.account.communication_number.clone()).collect(),
            accounts: submissions.iter().map(|item| item.account.key()).collect(),
            ranges: Vec::new(),
        };
        let store = self.store()?;
        let view = self.ask(store, "load", store.load(&wanted)).await?;
        let policy = Arc::clone(&self.shared.policy);
        let (submissions, decision) = aside(submissions.len(), move || {
            let decision = decide(&submissions, &[], &view, &policy);
            (submissions, decision)
        })
        .await?;
        let decision = decision.map_err(|error| {
            tracing::error!(%error, "a validation could not be decided");
            Refusal::Internal
        })?;
        drop(reservation);
        let settle = |(submission, decided): (&Submission, crate::account::Decided)| Settled {
            subject: Subject {
                number: submission.account.communication_number.clone(),
                account_ext_id: submission.account.account_ext_id.clone(),
                business_unit: submission.account.business_unit.clone(),
            },
            answer: decided.outcome().map(Answer::Decided),
            elapsed: started.elapsed(),
        };
        Ok(submissions.iter().zip(decision.decided).map(settle).collect())
    }
}
