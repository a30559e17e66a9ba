//! Every statement about cases. `?1` of one that writes many rows is a JSON array with one element a row.

/// Decides on the letters of an array of `[generation, partition, offset]`: the state, the operator, the reason,
/// now. A case that is in none of the states of the array `?6` is left alone.
pub(super) const DECIDE: &str = "
INSERT INTO dead_letter_cases (
    generation, partition, log_offset, state, operator, reason, decided_at, changed_at)
SELECT value ->> 0, value ->> 1, value ->> 2, ?2, ?3, ?4, ?5, ?5 FROM json_each(?1) WHERE true
ON CONFLICT (generation, partition, log_offset) DO UPDATE SET
    state = excluded.state, operator = excluded.operator, reason = excluded.reason,
    decided_at = excluded.decided_at, changed_at = excluded.changed_at,
    problem = NULL, runner = NULL, leased_until = NULL
WHERE state IN (SELECT value FROM json_each(?6))";

/// The cases within an array of `[generation, partition, from, to]`, `to` excluded.
pub(super) const CASES: &str = "
SELECT c.generation, c.partition, c.log_offset, c.state, c.operator, c.reason, c.problem, c.decided_at,
       c.changed_at
FROM json_each(?1) AS wanted
CROSS JOIN dead_letter_cases AS c
    ON c.generation = wanted.value ->> 0 AND c.partition = wanted.value ->> 1
   AND c.log_offset >= wanted.value ->> 2 AND c.log_offset < wanted.value ->> 3
ORDER BY c.generation, c.partition, c.log_offset";

/// Takes letters over: the runner, now, until when, at most how many.
pub(super) const LEASE: &str = "
UPDATE dead_letter_cases SET runner = ?1, leased_until = ?3
WHERE id IN (
    SELECT id FROM dead_letter_cases
    WHERE state = 'requested' AND NOT EXISTS (
        SELECT 1 FROM dead_letter_cases AS held
        WHERE held.state = 'requested' AND held.leased_until > ?2 AND held.runner <> ?1)
    ORDER BY decided_at, generation, partition, log_offset LIMIT ?4)
RETURNING generation, partition, log_offset";

/// Settles cases that the runner `?2` has, at `?3`: an array of `[generation, partition, offset, state, problem]`.
pub(super) const SETTLE: &str = "
UPDATE dead_letter_cases AS c SET
    state = settled.value ->> 3, problem = settled.value ->> 4, changed_at = ?3,
    runner = NULL, leased_until = NULL
FROM json_each(?1) AS settled
WHERE c.generation = settled.value ->> 0 AND c.partition = settled.value ->> 1
  AND c.log_offset = settled.value ->> 2 AND c.runner = ?2 AND c.state = 'requested'";
