//! Every statement about jobs. Each parameter of one that writes many rows is an array with one element a row.

/// Enters a job; a name that is taken inserts no row.
pub(super) const CREATE_JOB: &str = "
INSERT INTO replay_jobs (
    name, state, request, progress, policy_digest, operator, reason, created_at, changed_at)
VALUES ($1, 'running', $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT DO NOTHING";

/// A job.
pub(super) const JOB: &str = "SELECT * FROM replay_jobs WHERE name = $1";

/// The newest jobs.
pub(super) const JOBS: &str = "SELECT * FROM replay_jobs ORDER BY created_at DESC, name LIMIT $1";

/// Takes a job over: its name, the runner, now, and until when.
pub(super) const LEASE_JOB: &str = "
UPDATE replay_jobs SET runner = $2, leased_until = $4
WHERE name = $1 AND state = 'running'
  AND (runner IS NULL OR runner = $2 OR leased_until <= $3)";

/// Has a job go from one of some states into another, and be nobody's: name, states, state, problem, now.
pub(super) const MOVE_JOB: &str = "
UPDATE replay_jobs SET
    state = $3, problem = $4, changed_at = $5, runner = NULL, leased_until = NULL
WHERE name = $1 AND state = ANY ($2)";

/// Notes how far a job is: names, runners, progress, now, until.
pub(super) const NOTE_PROGRESS: &str = "
UPDATE replay_jobs AS j SET
    progress = step.progress, changed_at = step.now, leased_until = step.until
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[])
     AS step (name, runner, progress, now, until)
WHERE j.name = step.name AND j.runner = step.runner AND j.state = 'running'";

/// Changed outcomes: jobs, generations, partitions, offsets, verdicts and event ids before, verdicts, event ids,
/// times.
pub(super) const INSERT_CHANGES: &str = "
INSERT INTO outcome_changes (
    job, generation, partition, log_offset, verdict_before, event_id_before, verdict, event_id, changed_at)
SELECT * FROM unnest(
    $1::text[], $2::int[], $3::int[], $4::bigint[], $5::text[], $6::uuid[], $7::text[], $8::uuid[],
    $9::timestamptz[])";

/// What the job `$5` changed of the generations `$1` and partitions `$2` from the offsets `$3` to before `$4`.
pub(super) const CHANGES: &str = "
SELECT c.generation, c.partition, c.log_offset, c.verdict_before, c.event_id_before, c.verdict, c.event_id
FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[])
     AS wanted (generation, partition, from_offset, to_offset)
JOIN outcome_changes AS c USING (generation, partition)
WHERE c.job = $5 AND c.log_offset >= wanted.from_offset AND c.log_offset < wanted.to_offset";

/// What any job changed at the generations `$1`, partitions `$2` and offsets `$3`. Jobs are few, and of each the key
/// tells at once whether it changed something there.
pub const CHANGES_AT: &str = "
SELECT c.job, c.generation, c.partition, c.log_offset, c.verdict_before, c.event_id_before, c.verdict, c.event_id,
       c.changed_at
FROM unnest($1::int[], $2::int[], $3::bigint[]) AS wanted (generation, partition, log_offset)
CROSS JOIN replay_jobs AS j
JOIN outcome_changes AS c
    ON c.job = j.name AND c.generation = wanted.generation AND c.partition = wanted.partition
   AND c.log_offset = wanted.log_offset
ORDER BY c.generation, c.partition, c.log_offset, c.changed_at, c.job";
