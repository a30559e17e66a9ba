//! Every statement about jobs. `?1` of one that writes many rows is a JSON array with one element a row.

/// Enters a job; a name that is taken inserts no row.
pub(super) const CREATE_JOB: &str = "
INSERT INTO replay_jobs (
    name, state, request, progress, policy_digest, operator, reason, created_at, changed_at)
VALUES (?1, 'running', ?2, ?3, ?4, ?5, ?6, ?7, ?7)
ON CONFLICT DO NOTHING";

/// A job.
pub(super) const JOB: &str = "SELECT * FROM replay_jobs WHERE name = ?1";

/// The newest jobs.
pub(super) const JOBS: &str = "SELECT * FROM replay_jobs ORDER BY id DESC LIMIT ?1";

/// Takes a job over: its name, the runner, now, and until when.
pub(super) const LEASE_JOB: &str = "
UPDATE replay_jobs SET runner = ?2, leased_until = ?4
WHERE name = ?1 AND state = 'running'
  AND (runner IS NULL OR runner = ?2 OR leased_until <= ?3)";

/// Has a job go from one of the states of a JSON array into another, and be nobody's: name, states, state, problem,
/// now.
pub(super) const MOVE_JOB: &str = "
UPDATE replay_jobs SET
    state = ?3, problem = ?4, changed_at = ?5, runner = NULL, leased_until = NULL
WHERE name = ?1 AND state IN (SELECT value FROM json_each(?2))";

/// Notes how far a job is: an array of `[name, runner, progress, now, until]`.
pub(super) const NOTE_PROGRESS: &str = "
UPDATE replay_jobs SET
    progress = step.value ->> 2, changed_at = step.value ->> 3, leased_until = step.value ->> 4
FROM json_each(?1) AS step
WHERE name = step.value ->> 0 AND runner = unhex(step.value ->> 1) AND state = 'running'";

/// Changed outcomes: an array of `[job, generation, partition, offset, verdict before, event id before, verdict,
/// event id, time]`.
pub(super) const INSERT_CHANGES: &str = "
WITH rows (value) AS MATERIALIZED (SELECT value FROM jsonb_each(?1))
INSERT INTO outcome_changes (
    job, generation, partition, log_offset, verdict_before, event_id_before, verdict, event_id, changed_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, unhex(value ->> 5), value ->> 6,
       unhex(value ->> 7), value ->> 8
FROM rows";

/// What the job `?2` changed within an array of `[generation, partition, from, to]`, `to` excluded.
pub(super) const CHANGES: &str = "
SELECT c.generation, c.partition, c.log_offset, c.verdict_before, c.event_id_before, c.verdict, c.event_id
FROM json_each(?1) AS wanted
CROSS JOIN outcome_changes AS c
    ON c.job = ?2 AND c.generation = wanted.value ->> 0 AND c.partition = wanted.value ->> 1
   AND c.log_offset >= wanted.value ->> 2 AND c.log_offset < wanted.value ->> 3";

/// What any job changed at the places of an array of `[generation, partition, offset]`. Jobs are few, and of each the
/// key tells at once whether it changed something there.
pub(super) const CHANGES_AT: &str = "
SELECT c.job, c.generation, c.partition, c.log_offset, c.verdict_before, c.event_id_before, c.verdict, c.event_id,
       c.changed_at
FROM json_each(?1) AS wanted
CROSS JOIN replay_jobs AS j
CROSS JOIN outcome_changes AS c
    ON c.job = j.name AND c.generation = wanted.value ->> 0 AND c.partition = wanted.value ->> 1
   AND c.log_offset = wanted.value ->> 2
ORDER BY c.generation, c.partition, c.log_offset, c.changed_at, c.job";
