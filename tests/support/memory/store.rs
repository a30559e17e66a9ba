//! The store port in memory, with guards that can be switched off to show that tests notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use penstock::account::{
    Account, AccountKey, AccountState, Claim, CommunicationNumber, Coordinates, LedgerEntry,
    LogPartition, Offset, Outcome, Plan, Rejection, RejectionNote, Verdict, View,
};
use penstock::store::{Applied, PersistedOutcome, StalePart, Store, StoreError, Wanted};

use super::cases::CaseTables;
use super::operations::OperationTables;
use super::point;
use super::replays::JobTables;

/// What keeps the store right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A frontier moves only from where the view showed it.
    FrontierCompareAndSet,
    /// An account is written only over the version the view showed.
    AccountCompareAndSet,
    /// A number is claimed once.
    UniqueNumbers,
    /// What was applied before is recognised as such.
    ReadBack,
    /// A dead letter is put back by one at a time.
    CaseLease,
}

/// Everything the store holds; cloning it is a backup.
#[derive(Clone, Default)]
pub struct Tables {
    pub ledger: Vec<Claim>,
    pub accounts: BTreeMap<AccountKey, (Coordinates, Arc<Account>)>,
    pub rejections: BTreeMap<Coordinates, RejectionNote>,
    /// In which order rejections were noted.
    noted: Vec<Coordinates>,
    pub frontiers: BTreeMap<LogPartition, Offset>,
    pub replays: JobTables,
    pub cases: CaseTables,
    pub operations: OperationTables,
}

#[derive(Default)]
struct State {
    tables: Tables,
    guard_off: Option<Guard>,
    outages: u32,
}

#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    pub fn without(guard: Guard) -> Self {
        let store = Self::default();
        store.lock().guard_off = Some(guard);
        store
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn tables(&self) -> Tables {
        self.lock().tables.clone()
    }

    pub fn restore(&self, backup: Tables) {
        self.lock().tables = backup;
    }

    /// Reads or changes cases.
    #[allow(dead_code, reason = "not every test has dead letters")]
    pub(super) fn with_cases<T>(
        &self,
        work: impl FnOnce(&mut CaseTables) -> T,
    ) -> Result<T, StoreError> {
        let mut state = self.lock();
        state.outage("cases")?;
        Ok(work(&mut state.tables.cases))
    }

    /// Reads or enters operations.
    #[allow(dead_code, reason = "not every test has operators")]
    pub(super) fn with_operations<T>(
        &self,
        work: impl FnOnce(&mut OperationTables) -> T,
    ) -> Result<T, StoreError> {
        let mut state = self.lock();
        state.outage("operations")?;
        Ok(work(&mut state.tables.operations))
    }

    /// Whether letters are leased.
    #[allow(dead_code, reason = "not every test has dead letters")]
    pub(super) fn leases_cases(&self) -> bool {
        self.lock().is_on(Guard::CaseLease)
    }

    /// Reads or changes jobs.
    #[allow(dead_code, reason = "not every test replays")]
    pub(super) fn with_jobs<T>(&self, work: impl FnOnce(&mut JobTables) -> T) -> Result<T, StoreError> {
        let mut state = self.lock();
        state.outage("jobs")?;
        Ok(work(&mut state.tables.replays))
    }

    /// Applies a plan together with something else, or fails after or before it.
    pub(super) fn write(
        &self,
        plan: &Plan,
        with: impl FnOnce(&mut JobTables) -> Result<(), StalePart>,
    ) -> Result<Applied, StoreError> {
        let mut state = self.lock();
        match state.outage("apply") {
            Err(error) if state.outages.is_multiple_of(2) => Err(error),
            Err(error) => state.apply_with(plan, with).and(Err(error)),
            Ok(()) => state.apply_with(plan, with),
        }
    }

    /// The next `operations` calls fail; half of the applies among them are carried out all the same.
    pub fn fail_next(&self, operations: u32) {
        self.lock().outages = operations;
    }
}

/// The text in an account that this store cannot hold.
pub const POISON: &str = "poison";

impl State {
    fn outage(&mut self, action: &'static str) -> Result<(), StoreError> {
        if self.outages == 0 {
            return Ok(());
        }
        self.outages -= 1;
        Err(StoreError::Unavailable { action, cause: "an outage of the test".into() })
    }

    fn is_on(&self, guard: Guard) -> bool {
        self.guard_off != Some(guard)
    }

    fn view(&self, wanted: &Wanted) -> View {
        let tables = &self.tables;
        let mut view = View::default();
        for number in &wanted.numbers {
            if let Some(claim) = tables.ledger.iter().find(|claim| claim.communication.number == *number)
            {
                let Claim { fingerprint, event_id, coordinates, .. } = *claim;
                view.ledger.insert(number.clone(), LedgerEntry { fingerprint, event_id, coordinates });
            }
        }
        for key in &wanted.accounts {
            if let Some((version, account)) = tables.accounts.get(key) {
                let business_entity_ext_id = account.business_entity_ext_id.clone();
                view.accounts
                    .insert(key.clone(), AccountState { business_entity_ext_id, version: *version });
            }
        }
        for range in &wanted.ranges {
            if let Some(frontier) = tables.frontiers.get(&range.log) {
                let shown = if self.is_on(Guard::ReadBack) || range.to == Offset(0) {
                    *frontier
                } else {
                    (*frontier).min(range.from)
                };
                view.frontiers.insert(range.log, shown);
            }
            if self.is_on(Guard::ReadBack) {
                let within = range.log.at(range.from)..range.log.at(range.to.max(range.from));
                let rejections = tables.rejections.range(within);
                view.rejections
                    .extend(rejections.map(|(coordinates, note)| (*coordinates, note.rejection)));
            }
        }
        view
    }

    /// Applies a plan together with something else that may not fit.
    fn apply_with(
        &mut self,
        plan: &Plan,
        with: impl FnOnce(&mut JobTables) -> Result<(), StalePart>,
    ) -> Result<Applied, StoreError> {
        let is_poison =
            |write: &Account| write.account_purpose.as_ref().is_some_and(|text| text.as_str() == POISON);
        if plan.accounts.iter().any(|write| is_poison(&write.account)) {
            return Err(StoreError::Poison { action: "apply", cause: "poison of the test".into() });
        }
        let mut tables = self.tables.clone();
        if let Err(part) = with(&mut tables.replays) {
            return Ok(Applied::Stale(part));
        }
        for step in &plan.frontiers {
            let current = tables.frontiers.get(&step.log).copied();
            let is_compared = self.is_on(Guard::FrontierCompareAndSet) && self.is_on(Guard::ReadBack);
            if is_compared && current != step.expected {
                return Ok(Applied::Stale(StalePart::Frontier));
            }
            tables
                .frontiers
                .insert(step.log, current.map_or(step.next, |current| current.max(step.next)));
        }
        for claim in &plan.claims {
            let is_known = tables
                .ledger
                .iter()
                .any(|known| known.communication.number == claim.communication.number);
            if self.is_on(Guard::UniqueNumbers) && is_known {
                return Ok(Applied::Stale(StalePart::Claim));
            }
            tables.ledger.push(claim.clone());
        }
        for write in &plan.accounts {
            let current = tables.accounts.get(&write.key).map(|(version, _)| *version);
            if self.is_on(Guard::AccountCompareAndSet) && current != write.expected {
                return Ok(Applied::Stale(StalePart::Account));
            }
            tables.accounts.insert(write.key.clone(), (write.version, Arc::clone(&write.account)));
        }
        for withdrawal in &plan.withdrawals {
            let is_it = |note: &RejectionNote| matches!(note.rejection, Rejection::Decided(it) if it.event_id == withdrawal.event_id);
            if !tables.rejections.get(&withdrawal.coordinates).is_some_and(is_it) {
                return Ok(Applied::Stale(StalePart::Withdrawal));
            }
            tables.rejections.remove(&withdrawal.coordinates);
            tables.noted.retain(|noted| *noted != withdrawal.coordinates);
        }
        for note in &plan.rejections {
            let before = tables.rejections.insert(note.coordinates, note.clone());
            if before.is_some() && self.is_on(Guard::ReadBack) {
                return Ok(Applied::Stale(StalePart::Rejection));
            }
            tables.noted.push(note.coordinates);
        }
        self.tables = tables;
        Ok(Applied::Done)
    }
}

impl Store for MemoryStore {
    fn system(&self) -> &'static str {
        "memory"
    }

    async fn load(&self, wanted: &Wanted) -> Result<View, StoreError> {
        point().await;
        let view = {
            let mut state = self.lock();
            state.outage("load").map(|()| state.view(wanted))
        };
        point().await;
        view
    }

    async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError> {
        point().await;
        let applied = self.write(plan, |_| Ok(()));
        point().await;
        applied
    }

    async fn outcomes(
        &self,
        number: &CommunicationNumber,
        limit: usize,
    ) -> Result<Vec<PersistedOutcome>, StoreError> {
        let tables = self.tables();
        let accepted = tables.ledger.into_iter().map(|claim| PersistedOutcome {
            communication: claim.communication,
            coordinates: claim.coordinates,
            outcome: Some(Outcome { verdict: Verdict::Accepted, event_id: claim.event_id }),
        });
        let newest_first = tables.noted.iter().rev().map(|noted| &tables.rejections[noted]);
        let rejected = newest_first.map(|note| PersistedOutcome {
            communication: note.communication.clone(),
            coordinates: note.coordinates,
            outcome: match note.rejection {
                Rejection::Decided(outcome) => Some(outcome),
                Rejection::DeadLettered => None,
            },
        });
        let of_number = |outcome: &PersistedOutcome| outcome.communication.number == *number;
        Ok(accepted.chain(rejected).filter(of_number).take(limit).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
