//! Every statement about deliveries. Like those of plans they are set-based, and take rows in the
//! order of their keys or of the log.
//!
//! Statistics may be from before a backlog, when the indexes of what is parked and waits were empty. What is
//! changed by its key therefore has its state compared through `coalesce`, so that no such index fits and
//! the key is what is left.

pub use crate::store::stored::ENDPOINT_NAMES;

/// Moves the frontiers of the generations `$1` and partitions `$2` to the offsets `$3` with the stamps `$4`,
/// each from where its stamp is `$5`, or this one already; tells which were moved.
pub const MOVE_FRONTIERS: &str = "
INSERT INTO delivery_frontiers AS f (generation, partition, next_offset, stamp, previous)
SELECT new.generation, new.partition, new.next_offset, new.stamp, new.previous
FROM unnest($1::int[], $2::int[], $3::bigint[], $4::uuid[], $5::uuid[])
     AS new (generation, partition, next_offset, stamp, previous)
WHERE new.previous IS NULL OR EXISTS (
    SELECT FROM delivery_frontiers AS known
    WHERE (known.generation, known.partition) = (new.generation, new.partition))
ORDER BY new.generation, new.partition
ON CONFLICT (generation, partition) DO UPDATE SET
    next_offset = excluded.next_offset, stamp = excluded.stamp, previous = excluded.previous
WHERE f.stamp IN (excluded.previous, excluded.stamp)
RETURNING generation, partition";

/// Frontiers of the generations `$1` and partitions `$2` and of the generations before these, and whether there
/// were deliveries before there were any.
pub const FRONTIERS: &str = "
SELECT f.generation, f.partition, f.next_offset, f.stamp
FROM unnest($1::int[], $2::int[]) AS wanted (generation, partition)
JOIN delivery_frontiers AS f
    ON f.partition = wanted.partition AND f.generation BETWEEN 1 AND wanted.generation
UNION ALL
SELECT generation, partition, next_offset, stamp FROM delivery_frontiers WHERE generation = 0";

/// Which of the endpoints `$1` and events `$2` are recorded.
pub const LOOK_KEYS: &str = "
SELECT d.endpoint, d.event_id
FROM unnest($1::text[], $2::uuid[]) AS wanted (endpoint, event_id)
JOIN deliveries AS d USING (endpoint, event_id)";

/// In which of the lines of endpoints `$1` and accounts `$2` something is parked.
pub const LOOK_LINES: &str = "
SELECT wanted.endpoint, wanted.account
FROM unnest($1::text[], $2::text[]) AS wanted (endpoint, account)
WHERE EXISTS (
    SELECT FROM deliveries AS u
    WHERE u.endpoint = wanted.endpoint AND u.account = wanted.account
      AND u.state IN ('parked', 'waiting'))";

/// Holds the heads of the lines of endpoints `$1` and accounts `$2`, so that none ends while something
/// is put behind it: whoever ends it afterwards sees what waits. Tells whether all are held: one that ended
/// just now is not, and its line may have another head.
pub const HOLD_HEADS: &str = "
WITH heads AS MATERIALIZED (
    SELECT FROM unnest($1::text[], $2::text[]) AS wanted (endpoint, account)
    JOIN deliveries AS d USING (endpoint, account)
    WHERE d.state = 'parked'
), held AS MATERIALIZED (
    SELECT FROM unnest($1::text[], $2::text[]) AS wanted (endpoint, account)
    JOIN deliveries AS d USING (endpoint, account)
    WHERE d.state = 'parked'
    ORDER BY d.endpoint, d.account
    FOR UPDATE OF d
)
SELECT (SELECT count(*) FROM heads) = (SELECT count(*) FROM held) AS are_held";

/// New deliveries, recorded at `$15`. One of an ordered endpoint that is parked waits if something of
/// its line is parked. One that is recorded already only becomes delivered.
pub const RECORD: &str = "
INSERT INTO deliveries (
    endpoint, event_id, account, number, is_ordered, state, due_at, failures, attempts,
    attempted_at, duration_ms, status, answer, attributes, data, recorded_at)
SELECT new.endpoint, new.event_id, new.account, new.number, new.is_ordered,
       CASE WHEN new.state = 'parked' AND new.is_ordered AND EXISTS (
                SELECT FROM deliveries AS u
                WHERE u.endpoint = new.endpoint AND u.account = new.account
                  AND u.state IN ('parked', 'waiting'))
            THEN 'waiting' ELSE new.state END,
       new.due_at, new.failures, (new.attempted_at IS NOT NULL)::int,
       new.attempted_at, new.duration_ms, new.status, new.answer, new.attributes, new.data, $15
FROM unnest(
    $1::text[], $2::uuid[], $3::text[], $4::text[], $5::bool[], $6::text[], $7::timestamptz[],
    $8::int[], $9::timestamptz[], $10::bigint[], $11::int[], $12::text[], $13::text[], $14::text[])
    WITH ORDINALITY AS new (
        endpoint, event_id, account, number, is_ordered, state, due_at,
        failures, attempted_at, duration_ms, status, answer, attributes, data, place)
ORDER BY new.place
ON CONFLICT (endpoint, event_id) DO UPDATE SET
    state = 'delivered', due_at = NULL, lease = deliveries.lease + 1,
    attempts = deliveries.attempts + 1, attempted_at = excluded.attempted_at,
    duration_ms = excluded.duration_ms, status = excluded.status, answer = excluded.answer,
    state_since = greatest(
        excluded.recorded_at, coalesce(deliveries.state_since, deliveries.recorded_at)), reason = NULL
WHERE excluded.state = 'delivered' AND deliveries.state <> 'delivered'";

/// Attempts that failed.
pub const INSERT_ATTEMPTS: &str = "
INSERT INTO delivery_attempts (endpoint, event_id, attempted_at, duration_ms, status, answer)
SELECT * FROM unnest(
    $1::text[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::int[], $6::text[])";

/// Leases for the endpoints `$1`, at most `$2` each, of what is due at `$3`; they end at `$4`.
pub const CLAIM: &str = "
WITH due AS MATERIALIZED (
    SELECT d.*
    FROM unnest($1::text[], $2::bigint[]) AS wanted (endpoint, take)
    CROSS JOIN LATERAL (
        SELECT p.endpoint, p.event_id, p.due_at
        FROM deliveries AS p
        WHERE p.endpoint = wanted.endpoint AND p.state = 'parked' AND p.due_at <= $3
        ORDER BY p.due_at, p.id
        LIMIT wanted.take
        FOR UPDATE SKIP LOCKED
    ) AS d
)
UPDATE deliveries AS d SET due_at = $4, lease = d.lease + 1
FROM due
WHERE d.endpoint = due.endpoint AND d.event_id = due.event_id
RETURNING due.due_at AS was_due_at, d.id, d.endpoint, d.event_id, d.account, d.lease, d.failures,
          d.recorded_at, d.attributes, d.data";

/// Ends of leases at `$11`: endpoints, events, leases, states, due times, failures, attempts. Finds the lines
/// of ordered endpoints in which something has ended with that.
pub const SETTLE: &str = "
WITH settled AS (
    UPDATE deliveries AS d SET
        state = s.state, due_at = s.due_at, failures = s.failures,
        state_since = CASE WHEN s.state = 'parked' THEN d.state_since
                      ELSE greatest($11, coalesce(d.state_since, d.recorded_at)) END,
        attempts = d.attempts + (s.attempted_at IS NOT NULL)::int,
        attempted_at = coalesce(s.attempted_at, d.attempted_at),
        duration_ms = CASE WHEN s.attempted_at IS NULL THEN d.duration_ms ELSE s.duration_ms END,
        status = CASE WHEN s.attempted_at IS NULL THEN d.status ELSE s.status END,
        answer = CASE WHEN s.attempted_at IS NULL THEN d.answer ELSE s.answer END
    FROM unnest(
        $1::text[], $2::uuid[], $3::int[], $4::text[], $5::timestamptz[], $6::int[],
        $7::timestamptz[], $8::bigint[], $9::int[], $10::text[])
        AS s (endpoint, event_id, lease, state, due_at, failures,
              attempted_at, duration_ms, status, answer)
    WHERE d.endpoint = s.endpoint AND d.event_id = s.event_id
      AND d.lease = s.lease AND coalesce(d.state = 'parked', false)
    RETURNING d.endpoint, d.account, d.is_ordered, d.state
)
SELECT endpoint, account FROM settled WHERE is_ordered AND state IN ('delivered', 'exhausted')";

/// Makes the next of the lines of endpoints `$1` and accounts `$2` due at `$3` where nothing is parked.
pub const RELEASE: &str = "
WITH next AS MATERIALIZED (
    SELECT n.endpoint, n.event_id
    FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS f (endpoint, account)) AS freed
    CROSS JOIN LATERAL (
        SELECT w.endpoint, w.event_id FROM deliveries AS w
        WHERE w.endpoint = freed.endpoint AND w.account = freed.account AND w.state = 'waiting'
        ORDER BY w.id LIMIT 1
        FOR UPDATE
    ) AS n
    WHERE NOT EXISTS (
        SELECT FROM deliveries AS p
        WHERE p.endpoint = freed.endpoint AND p.account = freed.account AND p.state = 'parked')
)
UPDATE deliveries AS d SET state = 'parked', due_at = $3
FROM next
WHERE d.endpoint = next.endpoint AND d.event_id = next.event_id";

/// The next lines after the endpoint `$1` and account `$2`, at most `$3`, by leaps from one to the next; those
/// in which something waits behind nothing, and the last one. What is parked in a line comes first.
pub const LOOK_AT_LINES: &str = "
WITH RECURSIVE lines (endpoint, account, state, place) AS (
    SELECT first.endpoint, first.account, first.state, 1::bigint
    FROM (
        SELECT endpoint, account, state FROM deliveries
        WHERE state IN ('parked', 'waiting') AND (endpoint, account) > ($1, $2)
        ORDER BY endpoint, account, state, id LIMIT 1
    ) AS first
    UNION ALL
    SELECT next.endpoint, next.account, next.state, lines.place + 1
    FROM lines
    CROSS JOIN LATERAL (
        SELECT d.endpoint, d.account, d.state FROM deliveries AS d
        WHERE d.state IN ('parked', 'waiting')
          AND (d.endpoint, d.account) > (lines.endpoint, lines.account)
        ORDER BY d.endpoint, d.account, d.state, d.id LIMIT 1
    ) AS next
    WHERE lines.place < $3
)
SELECT endpoint, account, state = 'waiting' AS is_stranded, place AS count
FROM lines
WHERE state = 'waiting' OR place = (SELECT max(place) FROM lines)
ORDER BY place";

/// Removes at most `$4` deliveries to the endpoint `$1` in the state `$2` that ended before `$3`.
pub const REMOVE: &str = "
WITH old AS MATERIALIZED (
    SELECT endpoint, event_id FROM deliveries
    WHERE endpoint = $1 AND state = $2 AND coalesce(state_since, recorded_at) < $3
    ORDER BY coalesce(state_since, recorded_at), id LIMIT $4
    FOR UPDATE SKIP LOCKED
), attempts AS (
    DELETE FROM delivery_attempts AS a USING old
    WHERE a.endpoint = old.endpoint AND a.event_id = old.event_id
)
DELETE FROM deliveries AS d USING old
WHERE d.endpoint = old.endpoint AND d.event_id = old.event_id";

/// Reports the process `$1` until `$3`, forgets those that were reported until before `$2`, and counts those that
/// are left.
pub const ATTEND: &str = "
WITH reported AS (
    INSERT INTO callback_processes (id, seen_until) VALUES ($1, $3)
    ON CONFLICT (id) DO UPDATE SET seen_until = excluded.seen_until
), gone AS (
    DELETE FROM callback_processes WHERE id <> $1 AND seen_until < $2
)
SELECT count(*) + 1 AS processes, coalesce(bool_and(id > $1), true) AS is_first
FROM callback_processes WHERE id <> $1 AND seen_until >= $2";

/// The conditions of a selection: of the endpoint `$1` and the state `$2`, with the number `$3`, the event `$4`,
/// from `$5` to before `$6`, where these are set.
macro_rules! selected {
    ($begin:literal, $($end:literal),+) => {
        concat!(
            $begin,
            " WHERE endpoint = $1 AND state = $2
      AND ($3::text IS NULL OR number = $3) AND ($4::uuid IS NULL OR event_id = $4)
      AND ($5::timestamptz IS NULL OR coalesce(state_since, recorded_at) >= $5)
      AND ($6::timestamptz IS NULL OR coalesce(state_since, recorded_at) < $6) ",
            $($end),+
        )
    };
}

/// Gives at most `$7` selected deliveries up at `$8` for the reason `$10`, those parked longest first, unless
/// they may be leased: due between `$8` and `$9`.
pub const GIVE_UP: &str = selected!(
    "
WITH chosen AS MATERIALIZED (
    SELECT endpoint, event_id FROM deliveries",
    "AND (state = 'waiting' OR due_at <= $8 OR due_at > $9)
    ORDER BY coalesce(state_since, recorded_at), id LIMIT $7
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries AS d SET
    state = 'exhausted', state_since = $8, due_at = NULL, lease = d.lease + 1, reason = $10
FROM chosen
WHERE d.endpoint = chosen.endpoint AND d.event_id = chosen.event_id
RETURNING d.endpoint, d.account"
);

/// States of all endpoints.
pub const ENDPOINTS: &str = "
SELECT name, availability, reason, open_since, probe_at, probes, changed_at, version, known_since
FROM endpoints ORDER BY name";

/// Notes since when the endpoints `$1` are known, `$2` each, where that is not noted. With deliveries that are
/// older than any note they are known from the beginning.
pub const REGISTER: &str = "
INSERT INTO endpoints AS e (name, availability, reason, probes, changed_at, version, known_since)
SELECT wanted.name, 'active', '', 0, to_timestamp(0), 0,
       CASE WHEN store.is_older THEN to_timestamp(0) ELSE wanted.since END
FROM unnest($1::text[], $2::timestamptz[]) AS wanted (name, since), (
    SELECT NOT EXISTS (SELECT FROM endpoints WHERE known_since IS NOT NULL)
       AND (EXISTS (SELECT FROM delivery_frontiers WHERE generation > 0)
            OR EXISTS (SELECT FROM deliveries)) AS is_older) AS store
ORDER BY wanted.name
ON CONFLICT (name) DO UPDATE SET known_since = excluded.known_since
WHERE e.known_since IS NULL";

/// Changes an endpoint's state, if its version is `$8`; writes no row otherwise.
pub const CHANGE_ENDPOINT: &str = "
INSERT INTO endpoints AS e (
    name, availability, reason, open_since, probe_at, probes, changed_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8 + 1)
ON CONFLICT (name) DO UPDATE SET
    availability = excluded.availability, reason = excluded.reason,
    open_since = excluded.open_since, probe_at = excluded.probe_at, probes = excluded.probes,
    changed_at = excluded.changed_at, version = excluded.version
WHERE e.version = $8";

/// Selected deliveries, those first that came into their state last, at most `$7`. No index has numbers: one
/// would make every delivery dearer.
pub const LIST: &str = selected!(
    "
SELECT id, endpoint, event_id, number, state, recorded_at, coalesce(state_since, recorded_at) AS since,
       reason, due_at, attempts, attempted_at, duration_ms, status, answer
FROM deliveries",
    "
ORDER BY coalesce(state_since, recorded_at) DESC, id DESC LIMIT $7"
);

/// How many are selected, counted up to `$7` from the newest on: the others are removed meanwhile, and every one
/// that is gone but not yet vacuumed would be looked up in the table.
pub const COUNT: &str = selected!(
    "
SELECT count(*) AS count FROM (
    SELECT FROM deliveries",
    "ORDER BY coalesce(state_since, recorded_at) DESC, id DESC LIMIT $7) AS counted"
);

/// What the deliveries to the endpoint `$1` in the state `$2` come to, counted up to `$3`. They are counted in
/// the order of the states' own index, so that no other is read for the few that are in a rare state, and as
/// [`COUNT`] does. The oldest of what has ended is not looked for.
pub const TALLY: &str = "
SELECT (
    SELECT count(*) FROM (
        SELECT FROM deliveries WHERE endpoint = $1 AND state = $2
        ORDER BY coalesce(state_since, recorded_at) DESC, id DESC LIMIT $3) AS counted) AS count, (
    SELECT coalesce(state_since, recorded_at) FROM deliveries
    WHERE $2 IN ('parked', 'waiting') AND endpoint = $1 AND state = $2
    ORDER BY coalesce(state_since, recorded_at), id LIMIT 1) AS oldest_at, (
    SELECT min(due_at) FROM deliveries
    WHERE $2 = 'parked' AND endpoint = $1 AND state = 'parked' AND due_at IS NOT NULL) AS due_at";

/// Attempts of the delivery `$1`, `$2` that failed.
pub const FAILED_ATTEMPTS: &str = "
SELECT attempted_at, duration_ms, status, answer
FROM delivery_attempts WHERE endpoint = $1 AND event_id = $2
ORDER BY attempted_at";

/// Makes at most `$7` selected deliveries of a state that have ended due at `$8`, those first that come first
/// in an order.
macro_rules! redelivering {
    ($after:literal, $order:literal) => {
        selected!(
            "
WITH chosen AS MATERIALIZED (
    SELECT endpoint, event_id, coalesce(state_since, recorded_at) AS since FROM deliveries",
            $after,
            " ORDER BY ",
            $order,
            " LIMIT $7
    FOR UPDATE
)
UPDATE deliveries AS d SET
    state = CASE WHEN d.is_ordered THEN 'waiting' ELSE 'parked' END,
    state_since = $8, reason = NULL, due_at = $8, failures = 0, lease = d.lease + 1
FROM chosen
WHERE d.endpoint = chosen.endpoint AND d.event_id = chosen.event_id
RETURNING d.id, d.endpoint, d.account, chosen.since"
        )
    };
}

/// Makes deliveries due anew that were delivered before `$11`, from after the time `$9` and the id `$10`.
pub const REDELIVER_DELIVERED: &str = redelivering!(
    "AND state = 'delivered' AND coalesce(state_since, recorded_at) < $11
      AND (coalesce(state_since, recorded_at), id) > ($9, $10)",
    "coalesce(state_since, recorded_at), id"
);

/// Makes deliveries due anew that were given up, from after the id `$9`.
pub const REDELIVER_EXHAUSTED: &str = redelivering!("AND state = 'exhausted' AND id > $9", "id");

/// Makes at most `$7` selected deliveries that are parked until after `$9` due at `$8`. What somebody
/// else is about to take is left to them.
pub const HASTEN: &str = selected!(
    "
WITH chosen AS MATERIALIZED (
    SELECT endpoint, event_id FROM deliveries",
    "AND state = 'parked' AND due_at > $9
    LIMIT $7
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries AS d SET due_at = $8, failures = 0, lease = d.lease + 1
FROM chosen
WHERE d.endpoint = chosen.endpoint AND d.event_id = chosen.event_id"
);
