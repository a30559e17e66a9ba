//! Stored jobs as typed data.

use crate::account::{EventId, Outcome, Rejection};

use super::decode::{Decoded, StoredRow, coordinates, event_id, unreadable};
use super::stored::rejection_of;
use super::{Job, JobChange, JobName, JobState, NewJob, OutcomeChange, RunnerId};

pub(super) fn job(row: &impl StoredRow) -> Decoded<Job> {
    let text = |column| row.text(column).map(str::to_owned);
    let time = |column| row.optional_time(column)?.ok_or_else(|| unreadable(column));
    let job = NewJob {
        name: JobName::parse(row.text("name")?).map_err(|_| unreadable("name"))?,
        request: text("request")?,
        progress: text("progress")?,
        policy_digest: text("policy_digest")?,
        operator: text("operator")?,
        reason: text("reason")?,
    };
    Ok(Job {
        job,
        state: JobState::parse(row.text("state")?).ok_or_else(|| unreadable("state"))?,
        problem: row.optional_text("problem")?.map(str::to_owned),
        created_at: time("created_at")?,
        changed_at: time("changed_at")?,
        runner: row.uuid("runner")?.map(RunnerId).zip(row.optional_time("leased_until")?),
    })
}

pub(super) fn outcome_change(row: &impl StoredRow) -> Decoded<OutcomeChange> {
    let before = match row.optional_text("verdict_before")? {
        Some(verdict) => {
            let event_id = row.uuid("event_id_before")?.map(EventId);
            Some(outcome(verdict, event_id).ok_or_else(|| unreadable("verdict_before"))?)
        }
        None => None,
    };
    let after = outcome(row.text("verdict")?, event_id(row)?).ok_or_else(|| unreadable("verdict"))?;
    Ok(OutcomeChange { coordinates: coordinates(row)?, before, after })
}

pub(super) fn job_change(row: &impl StoredRow) -> Decoded<JobChange> {
    Ok(JobChange {
        job: JobName::parse(row.text("job")?).map_err(|_| unreadable("job"))?,
        change: outcome_change(row)?,
        changed_at: row.optional_time("changed_at")?.ok_or_else(|| unreadable("changed_at"))?,
    })
}

fn outcome(verdict: &str, event_id: Option<EventId>) -> Option<Outcome> {
    match rejection_of(verdict, event_id)? {
        Rejection::Decided(outcome) => Some(outcome),
        Rejection::DeadLettered => None,
    }
}
