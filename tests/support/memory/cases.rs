//! The dead letters' port in memory.

use std::collections::BTreeMap;

use penstock::account::{Coordinates, Timestamp};
use penstock::store::{Case, CaseState, Cases, Decided, OffsetRange, RunnerId, SettledCase, StoreError};

use super::point;
use super::store::MemoryStore;

/// Cases, each with who puts its letter back and until when nobody else may.
#[derive(Clone, Default)]
pub struct CaseTables(pub BTreeMap<Coordinates, (Case, Option<(RunnerId, Timestamp)>)>);

impl Cases for MemoryStore {
    async fn decide(&self, letters: &[Coordinates], decided: &Decided) -> Result<u64, StoreError> {
        point().await;
        self.with_cases(|CaseTables(cases)| {
            let mut changed = 0;
            for letter in letters {
                let known = cases.get(letter).map(|(case, _)| case.state);
                if known.is_some_and(|state| !decided.decision.may_follow().contains(&state)) {
                    continue;
                }
                let case = Case {
                    letter: *letter,
                    state: decided.decision.state(),
                    operator: decided.operator.clone(),
                    reason: decided.reason.clone(),
                    problem: None,
                    decided_at: decided.now,
                    changed_at: decided.now,
                };
                cases.insert(*letter, (case, None));
                changed += 1;
            }
            changed
        })
    }

    async fn cases(&self, ranges: &[OffsetRange]) -> Result<Vec<Case>, StoreError> {
        point().await;
        self.with_cases(|CaseTables(cases)| {
            let is_within = |at: &Coordinates| {
                ranges.iter().any(|it| it.log == at.log && it.from <= at.offset && at.offset < it.to)
            };
            let found = cases.iter().filter(|(letter, _)| is_within(letter));
            found.map(|(_, (case, _))| case.clone()).collect()
        })
    }

    async fn lease_cases(
        &self,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Coordinates>, StoreError> {
        point().await;
        let are_leased = self.leases_cases();
        self.with_cases(|CaseTables(cases)| {
            let requested = || cases.iter().filter(|(_, (case, _))| case.state == CaseState::Requested);
            let is_another = |(by, until): &(RunnerId, Timestamp)| *by != runner && *until > now;
            if are_leased && requested().any(|(_, (_, held))| held.as_ref().is_some_and(is_another)) {
                return Vec::new();
            }
            let mut free: Vec<_> =
                requested().map(|(letter, (case, _))| (case.decided_at, *letter)).collect();
            free.sort_unstable();
            free.truncate(limit);
            let mut letters: Vec<_> = free.into_iter().map(|(_, letter)| letter).collect();
            letters.sort_unstable();
            for letter in &letters {
                if let Some((_, held)) = cases.get_mut(letter) {
                    *held = Some((runner, until));
                }
            }
            letters
        })
    }

    async fn settle_cases(
        &self,
        runner: RunnerId,
        settled: &[SettledCase],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        point().await;
        let are_leased = self.leases_cases();
        self.with_cases(|CaseTables(cases)| {
            for ending in settled {
                let Some((case, held)) = cases.get_mut(&ending.letter) else { continue };
                if (are_leased && held.is_none_or(|(by, _)| by != runner))
                    || case.state != CaseState::Requested
                {
                    continue;
                }
                (case.state, case.changed_at) = (ending.state(), now);
                case.problem.clone_from(&ending.problem);
                *held = None;
            }
        })
    }
}
