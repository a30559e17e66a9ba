//! What a plan holds back, laid over what the store shows.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::account::{AccountKey, AccountState, CommunicationNumber, LedgerEntry, Plan, View};
use crate::store::Wanted;

use super::effects::{Effects, Part, Taken};
use super::pass::ReplayError;

/// The rows that would have been written so far. They grow with what would change, not with what is read.
#[derive(Debug, Default)]
pub struct HeldBack {
    ledger: HashMap<CommunicationNumber, LedgerEntry, RandomState>,
    accounts: HashMap<AccountKey, AccountState, RandomState>,
}

impl HeldBack {
    /// Takes in what is not to be written. A rejection is looked at once, where it stands, so it need not be
    /// remembered.
    fn remember(&mut self, plan: &Plan) {
        for claim in &plan.claims {
            let entry = LedgerEntry {
                fingerprint: claim.fingerprint,
                event_id: claim.event_id,
                coordinates: claim.coordinates,
            };
            self.ledger.insert(claim.communication.number.clone(), entry);
        }
        for write in &plan.accounts {
            let business_entity_ext_id = write.account.business_entity_ext_id.clone();
            let state = AccountState { business_entity_ext_id, version: write.version };
            self.accounts.insert(write.key.clone(), state);
        }
    }
}

impl Effects for HeldBack {
    /// What has arrived in between stays as it is.
    fn lay_over(&self, wanted: &Wanted, view: &mut View) {
        for number in &wanted.numbers {
            if let Some(entry) = self.ledger.get(number) {
                view.ledger.entry(number.clone()).or_insert(*entry);
            }
        }
        for key in &wanted.accounts {
            if let Some(held) = self.accounts.get(key) {
                let shown = view.accounts.entry(key.clone()).or_insert_with(|| held.clone());
                if shown.version < held.version {
                    *shown = held.clone();
                }
            }
        }
    }

    async fn take(&mut self, part: &Part<'_>) -> Result<Taken, ReplayError> {
        self.remember(&part.redecision.plan);
        Ok(Taken::Yes)
    }
}
