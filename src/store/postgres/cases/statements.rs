//! Every statement about cases. Each parameter of one that writes many rows is an array with one element a row.

/// Decides on the letters at the generations `$1`, partitions `$2` and offsets `$3`: the state, the operator, the
/// reason, now. A case that is in none of the states `$8` is left alone.
pub(super) const DECIDE: &str = "
INSERT INTO dead_letter_cases AS c (
    generation, partition, log_offset, state, operator, reason, decided_at, changed_at)
SELECT letter.generation, letter.partition, letter.log_offset, $4, $5, $6, $7, $7
FROM unnest($1::int[], $2::int[], $3::bigint[]) AS letter (generation, partition, log_offset)
ORDER BY letter.generation, letter.partition, letter.log_offset
ON CONFLICT (generation, partition, log_offset) DO UPDATE SET
    state = excluded.state, operator = excluded.operator, reason = excluded.reason,
    decided_at = excluded.decided_at, changed_at = excluded.changed_at,
    problem = NULL, runner = NULL, leased_until = NULL
WHERE c.state = ANY ($8)";

/// The cases of the generations `$1` and partitions `$2` from the offsets `$3` to before `$4`.
pub(super) const CASES: &str = "
SELECT c.generation, c.partition, c.log_offset, c.state, c.operator, c.reason, c.problem, c.decided_at,
       c.changed_at
FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[])
     AS wanted (generation, partition, from_offset, to_offset)
JOIN dead_letter_cases AS c USING (generation, partition)
WHERE c.log_offset >= wanted.from_offset AND c.log_offset < wanted.to_offset
ORDER BY c.generation, c.partition, c.log_offset";

/// Takes letters over: the runner, now, until when, at most how many.
pub(super) const LEASE: &str = "
WITH free AS MATERIALIZED (
    SELECT generation, partition, log_offset FROM dead_letter_cases
    WHERE state = 'requested' AND NOT EXISTS (
        SELECT FROM dead_letter_cases AS held
        WHERE held.state = 'requested' AND held.leased_until > $2 AND held.runner <> $1)
    ORDER BY decided_at, generation, partition, log_offset LIMIT $4
    FOR UPDATE SKIP LOCKED
)
UPDATE dead_letter_cases AS c SET runner = $1, leased_until = $3
FROM free
WHERE c.generation = free.generation AND c.partition = free.partition AND c.log_offset = free.log_offset
RETURNING c.generation, c.partition, c.log_offset";

/// Settles the cases at the generations `$1`, partitions `$2` and offsets `$3` that the runner `$6` has: their
/// states and problems, and now.
pub(super) const SETTLE: &str = "
UPDATE dead_letter_cases AS c SET
    state = settled.state, problem = settled.problem, changed_at = $7, runner = NULL, leased_until = NULL
FROM unnest($1::int[], $2::int[], $3::bigint[], $4::text[], $5::text[])
     AS settled (generation, partition, log_offset, state, problem)
WHERE c.generation = settled.generation AND c.partition = settled.partition
  AND c.log_offset = settled.log_offset AND c.runner = $6 AND c.state = 'requested'";
