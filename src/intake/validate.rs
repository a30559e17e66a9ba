//! Accounts checked as the worker would, against the store as it is now. Nothing is queued and the
//! plan of the decision is thrown away.

use tokio::time::Instant;

use crate::account::{Coordinates, Submission, decide};
use crate::queue::{Answer, Queue};
use crate::store::{Store, Wanted};

use super::Intake;
use super::answers::{Settled, Subject};
use super::auth::Token;
use super::errors::Refusal;
use super::receive::Received;

impl<Q: Queue, S: Store> Intake<Q, S> {
    /// The outcomes that `received` would have if it were submitted alone, now.
    pub(super) async fn validate(
        &self,
        received: Received,
        token: &Token,
    ) -> Result<Vec<Settled>, Refusal> {
        let started = Instant::now();
        let default_unit = token.business_units.default_unit();
        let submissions: Vec<_> = received
            .items
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                Submission::new(item.account, default_unit.cloned(), Coordinates::hypothetical(index))
            })
            .collect();
        let wanted = Wanted {
            numbers: submissions.iter().map(|item| item.account.communication_number.clone()).collect(),
            accounts: submissions.iter().map(|item| item.account.key()).collect(),
            ranges: Vec::new(),
        };
        let store = self.store()?;
        let view = self.ask(store, "load", store.load(&wanted)).await?;
        let decision = decide(&submissions, &[], &view, &self.shared.policy).map_err(|error| {
            tracing::error!(%error, "a validation could not be decided");
            Refusal::Internal
        })?;
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
