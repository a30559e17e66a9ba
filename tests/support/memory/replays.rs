//! The replays port in memory.

use std::collections::BTreeMap;

use penstock::account::{Coordinates, Plan, Timestamp};
use penstock::store::{
    Applied, Job, JobChange, JobName, JobState, JobStep, NewJob, OffsetRange, OutcomeChange, Replays,
    RunnerId, StalePart, StoreError,
};

use super::point;
use super::store::MemoryStore;

/// Jobs, in the order in which they were entered, and what they changed.
#[derive(Clone, Default)]
pub struct JobTables {
    pub jobs: Vec<Job>,
    pub changes: BTreeMap<(JobName, Coordinates), OutcomeChange>,
    changed_at: BTreeMap<(JobName, Coordinates), Timestamp>,
}

impl JobTables {
    fn job(&mut self, name: &JobName) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.job.name == *name)
    }
}

impl Replays for MemoryStore {
    async fn create_job(&self, job: &NewJob, now: Timestamp) -> Result<bool, StoreError> {
        point().await;
        self.with_jobs(|tables| {
            if tables.job(&job.name).is_some() {
                return false;
            }
            tables.jobs.push(Job {
                job: job.clone(),
                state: JobState::Running,
                problem: None,
                created_at: now,
                changed_at: now,
                runner: None,
            });
            true
        })
    }

    async fn job(&self, name: &JobName) -> Result<Option<Job>, StoreError> {
        point().await;
        self.with_jobs(|tables| tables.job(name).cloned())
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        point().await;
        self.with_jobs(|tables| tables.jobs.iter().rev().take(limit).cloned().collect())
    }

    async fn lease_job(
        &self,
        name: &JobName,
        runner: RunnerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        point().await;
        self.with_jobs(|tables| {
            let Some(job) = tables.job(name) else { return false };
            let is_free = job.runner.is_none_or(|(held, until)| held == runner || until <= now);
            let is_leased = is_free && job.state == JobState::Running;
            if is_leased {
                job.runner = Some((runner, until));
            }
            is_leased
        })
    }

    async fn move_job(
        &self,
        name: &JobName,
        from: &[JobState],
        to: JobState,
        problem: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        point().await;
        self.with_jobs(|tables| {
            let Some(job) = tables.job(name).filter(|job| from.contains(&job.state)) else {
                return false;
            };
            (job.state, job.problem, job.changed_at) = (to, problem.map(str::to_owned), now);
            job.runner = None;
            true
        })
    }

    async fn take_step(
        &self,
        step: &JobStep,
        plan: &Plan,
        changes: &[OutcomeChange],
    ) -> Result<Applied, StoreError> {
        point().await;
        let applied = self.write(plan, |tables| {
            let Some(job) = tables.job(&step.name) else { return Err(StalePart::Job) };
            let is_ours = job.runner.is_some_and(|(runner, _)| runner == step.runner);
            if !is_ours || job.state != JobState::Running {
                return Err(StalePart::Job);
            }
            job.job.progress.clone_from(&step.progress);
            (job.changed_at, job.runner) = (step.now, Some((step.runner, step.until)));
            for change in changes {
                let place = (step.name.clone(), change.coordinates);
                tables.changed_at.insert(place.clone(), step.now);
                tables.changes.insert(place, *change);
            }
            Ok(())
        });
        point().await;
        applied
    }

    async fn outcome_changes(
        &self,
        name: &JobName,
        ranges: &[OffsetRange],
    ) -> Result<Vec<OutcomeChange>, StoreError> {
        point().await;
        self.with_jobs(|tables| {
            let is_within = |at: &Coordinates| {
                ranges.iter().any(|it| it.log == at.log && it.from <= at.offset && at.offset < it.to)
            };
            let of_job = tables.changes.iter().filter(|((job, at), _)| job == name && is_within(at));
            of_job.map(|(_, change)| *change).collect()
        })
    }

    async fn changes_at(&self, places: &[Coordinates]) -> Result<Vec<JobChange>, StoreError> {
        point().await;
        self.with_jobs(|tables| {
            let there = tables.changes.iter().filter(|((_, at), _)| places.contains(at));
            let mut changes: Vec<_> = there
                .map(|(place, change)| JobChange {
                    job: place.0.clone(),
                    change: *change,
                    changed_at: tables.changed_at[place],
                })
                .collect();
            changes.sort_by_key(|it| (it.change.coordinates, it.changed_at, it.job.clone()));
            changes
        })
    }
}
